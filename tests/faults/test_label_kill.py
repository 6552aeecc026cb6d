"""A labelling that is killed twenty times and run again ends in the store of one that was left alone."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, Recording

from pyasr.corpora import write_cuts
from pyasr.features.network import NetworkFrontend
from pyasr.features.options import LfbeOptions
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.nn.options import NetworkOptions
from pyasr.targets import PosteriorStore
from pyasr.targets.verify import verify

LABEL = Path(__file__).resolve().parent / "label_killed.py"
MANIFESTS, CUTS_EACH = 24, 12
SEED = 5


def make_corpus(folder):
    draw = np.random.default_rng(SEED)
    torch.manual_seed(SEED)
    frontend = NetworkFrontend(LfbeOptions(num_mel_bins=16), np.full(16, 8, np.float32), np.full(16, 2, np.float32))
    options = NetworkOptions(layers=2, units=64, bidirectional=True, delay_frames=0)
    network = Network(AcousticModel(frontend.dim, 60, options).eval(), frontend, "x")
    for target in ("left", "killed"):
        network.save(folder / target / "network")
    for number in range(MANIFESTS):
        cuts = []
        for cut in range(CUTS_EACH):
            path = folder / f"{number}-{cut}.flac"
            soundfile.write(path, draw.normal(scale=0.1, size=draw.integers(4000, 40000)), 16000)
            recording = Recording.from_file(path, recording_id=path.stem)
            cuts.append(MonoCut(path.stem, 0.0, recording.duration, 0, recording=recording))
        for target in ("left", "killed"):
            write_cuts(folder / target / f"cuts-{number:02d}.jsonl.gz", cuts)


def label(folder, milliseconds=0):
    command = [sys.executable, str(LABEL), str(folder), str(milliseconds)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def content(folder):
    store = PosteriorStore.open(folder / "store")
    assert list(verify(store)) == []
    return {cut_id: store.packed(cut_id).numpy().tobytes() for cut_id in store}


@pytest.mark.full
def test_labelling_killed_twenty_times_ends_in_the_same_store(tmp_path):
    make_corpus(tmp_path)
    ended = label(tmp_path / "left")
    assert ended.returncode == 0, ended.stderr
    whole_ms = int(ended.stdout.split()[-1])
    expected = content(tmp_path / "left")
    assert len(expected) == MANIFESTS * CUTS_EACH

    draw, kills, moments, sealed = random.Random(SEED), 0, [], 0
    while kills < 20:
        # Moments from just after the start to the end of what one run would take; when all is done before, from anew.
        moments.append(draw.randrange(1, whole_ms))
        ended = label(tmp_path / "killed", moments[-1])
        if ended.returncode == 0:
            assert content(tmp_path / "killed") == expected, moments
            for path in (tmp_path / "killed" / "store" / "shards").iterdir():
                path.unlink()
            sealed = 0
            continue
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        kills += 1
        if (tmp_path / "killed" / "store" / "store.json").exists():
            found = content(tmp_path / "killed")
            assert sealed <= len(found) and all(expected[cut_id] == rows for cut_id, rows in found.items()), moments
            sealed = len(found)
    ended = label(tmp_path / "killed")
    assert ended.returncode == 0, ended.stderr
    assert content(tmp_path / "killed") == expected, moments
    assert not list((tmp_path / "killed" / "store").rglob(".tmp-*"))
