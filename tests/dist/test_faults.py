"""A worker that dies or hangs: the others say so in time, torchrun starts all again, and nothing is lost."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pyasr.train.loop import TrainingData
from pyasr.train.source import Source
from pyasr.train.targets import HardTargets

SCRIPT = Path(__file__).with_name("faulty_training.py")


@pytest.fixture(scope="session")
def data(tones):
    targets = HardTargets(tones.senones)
    return TrainingData(
        {"transcribed": Source(tones.cuts[:9], targets)}, Source(tones.cuts[9:], targets), tones.frontend
    )


def torchrun(folder, data, fault, restarts):
    folder.mkdir()
    (folder / "data.pickle").write_bytes(pickle.dumps(data))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", str(restarts), "--monitor-interval", "0.2", str(SCRIPT), str(folder), fault]
    begun = time.monotonic()
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=500, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return run, time.monotonic() - begun


@pytest.fixture(scope="session")
def undisturbed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "undisturbed"
    run, _ = torchrun(folder, data, "none", 0)
    assert run.returncode == 0, run.stderr
    return torch.load(folder / "final.pt", weights_only=True)


def test_a_killed_worker_is_started_again_and_nothing_is_lost(data, tmp_path, undisturbed):
    run, _ = torchrun(tmp_path / "killed", data, "kill", 1)
    assert run.returncode == 0, run.stderr
    assert "begins at step 0" in run.stdout and "begins at step 3" in run.stdout
    final = torch.load(tmp_path / "killed" / "final.pt", weights_only=True)
    assert all(torch.equal(final[name], undisturbed[name]) for name in undisturbed)


def test_a_hung_worker_ends_the_others_with_an_error_in_time(data, tmp_path):
    run, _ = torchrun(tmp_path / "hung", data, "hang", 0)
    assert run.returncode != 0
    assert "worker 0 of 2: another worker has ended, or has not answered" in run.stderr
    assert (tmp_path / "hung" / "checkpoint").is_dir(), "the checkpoint is still there"
