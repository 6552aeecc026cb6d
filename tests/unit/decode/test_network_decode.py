"""Likelihoods by a network: from audio, with and without noise, for the senones it was trained for."""

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, Recording, SupervisionSegment

from pyasr.align.senones import Senones
from pyasr.align.tree import Tree
from pyasr.base.errors import DataError
from pyasr.corpora import write_cuts
from pyasr.decode.network_decode import NetworkSource
from pyasr.features.network import NetworkFrontend
from pyasr.features.noise import NoisePool, NoiseSpec
from pyasr.features.options import LfbeOptions
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.nn.options import NetworkOptions

PHONES = PhoneTable(("SIL", "DO", "MI"))


@pytest.fixture
def senones():
    """A senone a phone."""
    topology = Topology(states=1, silence_states=1)
    tree = Tree(tuple((node,) for node in range(3)), tuple((-1, pdf, -1, -1) for pdf in range(3)), ())
    return Senones(PHONES, topology, tree, TransitionModel.build(PHONES, topology, tree), np.ones(3))


@pytest.fixture
def source(senones, tmp_path):
    frontend = NetworkFrontend(LfbeOptions(num_mel_bins=8), np.full(8, 8, np.float32), np.full(8, 2, np.float32))
    torch.manual_seed(0)
    model = AcousticModel(frontend.dim, 3, NetworkOptions(layers=1, units=6, delay_frames=2)).eval()
    model.log_priors.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
    Network(model, frontend, senones.fingerprint).save(tmp_path / "network")
    senones.save(tmp_path / "senones")
    cuts = []
    for name, scale in (("loud", 0.2), ("silent", 0.0)):
        samples = scale * np.random.default_rng(1).normal(size=8000)
        soundfile.write(tmp_path / f"{name}.flac", samples, 16000)
        recording = Recording.from_file(tmp_path / f"{name}.flac", recording_id=name)
        supervision = SupervisionSegment(name, name, 0.0, 0.5, text="DO", speaker="s")
        cuts.append(MonoCut(name, 0.0, 0.5, 0, supervisions=[supervision], recording=recording))
    write_cuts(tmp_path / "cuts.jsonl.gz", cuts)
    return NetworkSource(tmp_path / "network", tmp_path / "senones", tmp_path / "cuts.jsonl.gz")


@pytest.fixture
def noise(tmp_path):
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "hum.wav", np.random.default_rng(2).normal(scale=0.1, size=16000), 16000)
    return NoisePool.open(tmp_path / "noise")


def test_posteriors_are_divided_by_priors(source, tmp_path):
    opened = source.open()
    samples = soundfile.read(tmp_path / "loud.flac", dtype="float32")[0]
    network = Network.load(source.network)
    logp = network.log_posteriors(samples)
    assert logp.shape == (50 // 3, 3)
    np.testing.assert_allclose(opened.loglikes("loud"), logp - np.log([0.5, 0.3, 0.2]), rtol=1e-5, atol=1e-5)
    scaled = NetworkSource(source.network, source.senones, source.cuts, prior_scale=0.0).open()
    np.testing.assert_array_equal(scaled.loglikes("loud"), logp)
    assert opened.tid_to_pdf.tolist() == [-1, 0, 0, 1, 1, 2, 2]


def test_noise_is_the_conditions_own_draw(source, noise):
    noisy = [
        NetworkSource(source.network, source.senones, source.cuts, noise=NoiseSpec(noise, snr_db, seed)).open()
        for snr_db, seed in ((10.0, 1), (10.0, 1), (5.0, 1), (10.0, 2))
    ]
    first, again, louder, other = (opened.loglikes("loud") for opened in noisy)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, louder) and not np.array_equal(first, other)
    with pytest.raises(DataError, match="silent: silent audio: noise cannot be added"):
        noisy[0].loglikes("silent")


def test_other_senones_are_refused(source, senones, tmp_path):
    other = Senones(PhoneTable(("SIL", "DO", "RE")), *(getattr(senones, n) for n in ("topology", "tree")),
                    senones.transitions, senones.occupancy)  # fmt: skip
    other.save(tmp_path / "senones")
    with pytest.raises(DataError, match="network: trained for other senones"):
        source.open()
