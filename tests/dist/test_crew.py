"""Worker 0 runs the recipe, the others take part in its trainings."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from pyasr.dist.options import DistOptions
from pyasr.run.crew import Crew


def job(workers, name="job"):
    return name, workers.rank, workers.total([workers.rank + 1.0])[0]


def run(folder, method):
    shutil.copy(Path(__file__).with_name("crew_job.py"), folder / "tests_crew_job.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    script = str(folder / "tests_crew_job.py")
    return subprocess.run([*command, script, method], capture_output=True, text=True, timeout=500, env=environment)


def test_workers_follow_the_first(tmp_path):
    done = run(tmp_path, "ddp")
    assert done.returncode == 0, done.stderr
    for line in (f"{name}: worker {rank} of 2, sum 3.0" for name in ("first", "second") for rank in (0, 1)):
        assert line in done.stdout


def test_several_workers_need_a_method(tmp_path):
    done = run(tmp_path, "none")
    assert done.returncode != 0 and "choose how they train together" in done.stderr


def test_alone_and_emulated():
    assert Crew([None]).train(job, None) == ("job", 0, 1.0)
    bmuf = DistOptions(method="bmuf", emulated_workers=3)
    crew = Crew([bmuf])
    assert crew.train(partial(job, name="emulated"), bmuf) == ("emulated", 0, 6.0)
    assert crew.train(job, DistOptions(method="gtc", emulated_workers=2)) == ("job", 0, 3.0)
    crew.dismiss()
