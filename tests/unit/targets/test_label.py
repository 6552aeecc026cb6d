"""Labelling: what is stored is what the network says, phase by phase, once."""

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, Recording

from pyasr.base.errors import DataError
from pyasr.base.executor import SerialExecutor
from pyasr.features.audio import load_samples
from pyasr.features.network import NetworkFrontend
from pyasr.features.options import LfbeOptions
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.nn.options import NetworkOptions
from pyasr.ops import pack_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.label import label_cuts

NUM_SENONES, K = 40, 6


@pytest.fixture
def network():
    frontend = NetworkFrontend(LfbeOptions(num_mel_bins=8), np.full(8, 8, np.float32), np.full(8, 2, np.float32))
    torch.manual_seed(1)
    options = NetworkOptions(layers=1, units=6, bidirectional=True, delay_frames=0)
    return Network(AcousticModel(frontend.dim, NUM_SENONES, options).eval(), frontend, "x")


@pytest.fixture
def cuts(tmp_path):
    made = []
    for number, length in enumerate((16000, 8117, 300, 4000)):
        path = tmp_path / f"cut-{number}.flac"
        soundfile.write(path, np.random.default_rng(number).normal(scale=0.1, size=length), 16000)
        recording = Recording.from_file(path, recording_id=path.stem)
        made.append(MonoCut(path.stem, 0.0, recording.duration, 0, recording=recording))
    return made


def label(cuts, network, folder, phases, limit=0.5):
    network.save(folder / "network")
    if not (folder / "store").exists():
        PosteriorStore.create(folder / "store", NUM_SENONES, K, phases=phases)
    skips = label_cuts(cuts, folder / "network", folder / "store", phases, limit, SerialExecutor())
    return skips, PosteriorStore.open(folder / "store")


@pytest.mark.parametrize("phases", [1, 3])
def test_every_stack_has_its_row(cuts, network, tmp_path, phases):
    skips, store = label(cuts, network, tmp_path, phases)
    assert set(store) == {cut.id for cut in cuts} and skips.count == 0
    for cut in cuts:
        samples = load_samples(cut)
        for phase in range(phases):
            expected = pack_topk(torch.from_numpy(network.log_posteriors(samples, phase)), K)
            assert torch.equal(store.packed(cut.id)[phase::phases], expected)
        assert store.num_rows(cut.id) == len(network.phase_log_posteriors(samples, phases))


def test_what_is_stored_is_not_made_again(cuts, network, tmp_path):
    _, store = label(cuts[:2], network, tmp_path, 1)
    shards = {path: path.read_bytes() for path in (store.folder / "shards").iterdir()}
    _, store = label(cuts, network, tmp_path, 1)
    assert len(store) == 4 and all(path.read_bytes() == content for path, content in shards.items())
    label(cuts, network, tmp_path, 1)
    assert len(list((store.folder / "shards").iterdir())) == 2


def test_audio_that_cannot_be_read_is_listed_within_a_limit(cuts, network, tmp_path):
    (tmp_path / "cut-1.flac").unlink()
    skips, store = label(cuts, network, tmp_path, 1)
    assert len(store) == 3 and [row["id"] for row in skips.rows] == ["cut-1"]
    assert "no such file" in skips.rows[0]["reason"]
    with pytest.raises(DataError, match="1 of 4 utterances skipped, more than the limit of 10 %"):
        label(cuts, network, tmp_path, 1, limit=0.1)
