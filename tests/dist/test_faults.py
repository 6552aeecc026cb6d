"""A worker that dies or hangs: the others say so in time, torchrun starts all again, and nothing is lost."""

import pickle
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


@pytest.fixture(scope="session")
def train(torchrun, data):
    def run(folder, fault, restarts=0):
        folder.mkdir()
        (folder / "data.pickle").write_bytes(pickle.dumps(data))
        return torchrun(SCRIPT, folder, fault, restarts=restarts)

    return run


@pytest.fixture(scope="session")
def undisturbed(train, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "undisturbed"
    run = train(folder, "none")
    assert run.returncode == 0, run.stderr
    return torch.load(folder / "final.pt", weights_only=True)


def test_a_killed_worker_is_started_again_and_nothing_is_lost(train, tmp_path, undisturbed):
    run = train(tmp_path / "killed", "kill", restarts=1)
    assert run.returncode == 0, run.stderr
    assert "begins at step 0" in run.stdout and "begins at step 3" in run.stdout
    final = torch.load(tmp_path / "killed" / "final.pt", weights_only=True)
    assert all(torch.equal(final[name], undisturbed[name]) for name in undisturbed)


def test_a_hung_worker_ends_the_others_with_an_error_in_time(train, tmp_path):
    run = train(tmp_path / "hung", "hang")
    assert run.returncode != 0
    assert "worker 0 of 2: another worker has ended, or has not answered" in run.stderr
    assert (tmp_path / "hung" / "checkpoint").is_dir(), "the checkpoint is still there"
