"""Worker 0 runs the recipe, the others take part in its trainings."""

import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from pyasr.dist.options import DistOptions
from pyasr.run.crew import Crew


def job(workers, name="job"):
    return name, workers.rank, workers.total([workers.rank + 1.0])[0]


@pytest.fixture
def run(torchrun, tmp_path):
    def with_method(method):
        script = shutil.copy(Path(__file__).with_name("crew_job.py"), tmp_path / "tests_crew_job.py")
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        return torchrun(script, method, PYTHONPATH=path)

    return with_method


def test_workers_follow_the_first(run):
    done = run("ddp")
    assert done.returncode == 0, done.stderr
    for line in (f"{name}: worker {rank} of 2, sum 3.0" for name in ("first", "second") for rank in (0, 1)):
        assert line in done.stdout


def test_several_workers_need_a_method(run):
    done = run("none")
    assert done.returncode != 0 and "choose how they train together" in done.stderr


def test_alone_and_emulated():
    assert Crew([None]).train(job, None) == ("job", 0, 1.0)
    bmuf = DistOptions(method="bmuf", emulated_workers=3)
    crew = Crew([bmuf])
    assert crew.train(partial(job, name="emulated"), bmuf) == ("emulated", 0, 6.0)
    assert crew.train(job, DistOptions(method="gtc", emulated_workers=2)) == ("job", 0, 3.0)
    crew.dismiss()
