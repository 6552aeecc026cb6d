"""Alignment with a network: the sounds of tones are found where they were put."""

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, Recording, SupervisionSegment

from pyasr.align.options import NetworkAlignOptions
from pyasr.align.senones import Senones
from pyasr.align.tree import Tree
from pyasr.base.errors import DataError
from pyasr.base.executor import SerialExecutor
from pyasr.features.lfbe import compute_lfbe
from pyasr.features.network import NetworkFrontend
from pyasr.features.options import LfbeOptions
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel
from pyasr.nn.alignment import align_cuts, frame_loglikes
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.nn.options import NetworkOptions

HZ = {"SIL": 0.0, "DO": 400.0, "MI": 900.0, "SO": 2000.0}
LEXICON = Lexicon({"DOMI": [("DO", "MI")], "SO": [("SO",)], "MI": [("MI",)]})
PHONES = PhoneTable(tuple(HZ))
PHONE_FRAMES = 15
SENTENCE = ("SIL", "DO", "MI", "SO", "MI", "SIL")


def tones(phones, seed):
    """float32 samples, PHONE_FRAMES of 10 ms each."""
    time_s = np.arange(160 * PHONE_FRAMES) / 16000
    hiss = np.random.default_rng(seed).normal(scale=0.003, size=(len(phones), len(time_s)))
    return np.concatenate(
        [0.2 * np.sin(2 * np.pi * HZ[phone] * time_s) + row for phone, row in zip(phones, hiss)]
    ).astype(np.float32)


def senone_of(frame, phones):
    return PHONES.id(phones[min(frame // PHONE_FRAMES, len(phones) - 1)]) - 1


@pytest.fixture(scope="module")
def senones():
    """A senone a phone."""
    topology = Topology(states=1, silence_states=1)
    tree = Tree(tuple((node,) for node in range(4)), tuple((-1, pdf, -1, -1) for pdf in range(4)), ())
    return Senones(PHONES, topology, tree, TransitionModel.build(PHONES, topology, tree), np.ones(4))


@pytest.fixture(scope="module")
def network(senones):
    """Trained on tones in random order, at every stacking phase."""
    orders = [np.random.default_rng(seed).choice(list(HZ), 12).tolist() for seed in range(8)]
    frames = np.concatenate([compute_lfbe(tones(order, seed), LfbeOptions()) for seed, order in enumerate(orders)])
    frontend = NetworkFrontend(LfbeOptions(), frames.mean(axis=0), frames.std(axis=0))
    torch.manual_seed(0)
    model = AcousticModel(frontend.dim, 4, NetworkOptions(layers=1, units=16, bidirectional=True, delay_frames=0))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(90):
        order, phase = orders[step % len(orders)], step % 3
        stacked = frontend.stacked(tones(order, step % len(orders)), phase)
        senone_ids = torch.tensor([senone_of(phase + 3 * i + 1, order) for i in range(len(stacked))])
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(stacked)[None])[0], senone_ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Network(model.eval(), frontend, senones.fingerprint)


def make_cut(folder, name, phones, text):
    soundfile.write(folder / f"{name}.flac", tones(phones, 77), 16000)
    recording = Recording.from_file(folder / f"{name}.flac", recording_id=name)
    supervision = SupervisionSegment(name, name, 0.0, recording.duration, text=text, speaker="s")
    return MonoCut(name, 0.0, recording.duration, 0, supervisions=[supervision], recording=recording)


@pytest.fixture
def align(network, senones, tmp_path):
    network.save(tmp_path / "network")
    senones.save(tmp_path / "senones")
    options = NetworkAlignOptions(skip_limit=0.5)
    return lambda cuts: align_cuts(
        cuts, tmp_path / "network", tmp_path / "senones", LEXICON, options, SerialExecutor()
    )


def test_sounds_are_found_where_they_are(align, tmp_path):
    aligned, skipped = align([make_cut(tmp_path, "a", SENTENCE, "DOMI SO MI")])
    truth = np.array([senone_of(frame, SENTENCE) for frame in range(len(aligned["a"]))])
    assert not skipped and aligned["a"].dtype == np.int32
    # Five boundaries, none more than 20 ms off.
    assert aligned["a"][np.diff(aligned["a"], prepend=-1) != 0].tolist() == [0, 1, 2, 3, 2, 0]
    starts, true_starts = (np.flatnonzero(np.diff(row)) for row in (aligned["a"], truth))
    assert np.abs(starts - true_starts).max() <= 2


def test_every_frame_has_the_likelihoods_of_the_stack_around_it(network):
    samples = tones(SENTENCE, 5)
    loglikes, num_frames = frame_loglikes(network, samples), len(network.frontend.frames(samples))
    assert loglikes.shape == (num_frames, 4)
    for frame in (0, 1, 2, 3, 40, num_frames - 2, num_frames - 1):
        stack = min(max(frame - 1, 0), num_frames - 3)
        expected = network.log_posteriors(samples, stack % 3)[stack // 3] - network.log_priors
        np.testing.assert_allclose(loglikes[frame], expected, rtol=1e-5, atol=1e-5)
    assert frame_loglikes(network, samples[:300]).shape == (0, 4)


def test_what_cannot_be_aligned_is_listed_within_a_limit(align, tmp_path):
    good = [make_cut(tmp_path, name, SENTENCE, "DOMI SO MI") for name in ("a", "b", "c")]
    short = make_cut(tmp_path, "short", ("DO",), " ".join(["DOMI"] * 9))
    missing = make_cut(tmp_path, "missing", SENTENCE, "DOMI SO MI")
    (tmp_path / "missing.flac").unlink()
    aligned, skipped = align([*good, short, missing])
    assert list(aligned) == ["a", "b", "c"]
    reasons = {row["id"]: row["reason"] for row in skipped}
    assert reasons["short"].startswith("too short for its transcript") and reasons["missing"].startswith("unreadable")
    with pytest.raises(DataError, match="2 of 3 utterances skipped"):
        align([good[0], short, missing])
    with pytest.raises(DataError, match=r"LA.*lexicon|lexicon.*LA"):
        align([make_cut(tmp_path, "d", SENTENCE, "LA")])
