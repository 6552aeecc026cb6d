"""Fixtures for everybody: a corpus of tones, whose senones are known and which networks learn in a second; a Dask
cluster; and the folders of real speech, which not every machine has."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment

from pyasr.base.executor import SerialExecutor
from pyasr.base.seeds import rng
from pyasr.features.network import NetworkFrontend, estimate_frontend
from pyasr.features.options import LfbeOptions

TONES_HZ = (0.0, 400.0, 900.0, 2000.0)
NUM_SENONES = len(TONES_HZ)


@dataclass(frozen=True)
class Tones:
    """cuts: 12, of 0.5 to 2 s. senones: cut_id -> int32 (T10,)."""

    cuts: list
    senones: dict
    frontend: NetworkFrontend


def _make_cut(folder, number):
    draws = rng(number, "tones")
    phones = draws.integers(NUM_SENONES, size=draws.integers(4, 14))
    frames = np.repeat(phones, 15)
    time_s = np.arange(len(frames) * 160) / 16000
    samples = 0.2 * np.sin(2 * np.pi * np.repeat(np.array(TONES_HZ)[frames], 160) * time_s)
    samples = samples + draws.normal(scale=0.003, size=len(samples))
    path = folder / f"tone-{number}.flac"
    soundfile.write(path, samples, 16000)
    duration = len(samples) / 16000
    supervision = SupervisionSegment(path.stem, path.stem, 0.0, duration, speaker=f"s{number % 3}")
    recording = Recording.from_file(path, recording_id=path.stem)
    cut = MonoCut(path.stem, 0.0, duration, 0, supervisions=[supervision], recording=recording)
    return cut, frames.astype(np.int32)


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones")
    made = [_make_cut(folder, number) for number in range(12)]
    cuts = [cut for cut, _ in made]
    frontend = estimate_frontend(cuts, LfbeOptions(num_mel_bins=16), SerialExecutor())
    return Tones(cuts, {cut.id: senones for cut, senones in made}, frontend)


class DaskCluster:
    """A scheduler and worker processes, started as a user does. Without nannies, which would start dead ones again."""

    def __init__(self, folder):
        self._folder, self._file = folder, folder / "scheduler.json"
        self._scheduler = self._start("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", self._file)
        self._workers = []

    def _start(self, what, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *map(str, arguments)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])  # for tests' jobs
        with open(self._folder / f"{what}.log", "a") as log:
            return subprocess.Popen(
                command, cwd=self._folder, env={**os.environ, **threads, "PYTHONPATH": path}, stdout=log, stderr=log
            )

    def address(self, workers=2):
        """Of the scheduler, with so many workers started."""
        self._workers = [worker for worker in self._workers if worker.poll() is None]
        while len(self._workers) < workers:
            arguments = ("--scheduler-file", self._file, "--nthreads", "1", "--no-nanny", "--no-dashboard")
            self._workers.append(self._start("worker", *arguments))
        while not self._file.exists():
            assert self._scheduler.poll() is None, (self._folder / "scheduler.log").read_text()
            time.sleep(0.05)
        return json.loads(self._file.read_text())["address"]

    def kill_worker(self):
        self._workers[0].kill()
        assert self._workers.pop(0).wait() == -signal.SIGKILL

    def close(self):
        for process in (*self._workers, self._scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def make_dask_cluster(tmp_path_factory):
    pytest.importorskip("distributed", reason="needs the extra dask: pip install '.[dask]'")
    made = []

    def make():
        made.append(DaskCluster(tmp_path_factory.mktemp("dask")))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture(scope="session")
def dask_cluster(make_dask_cluster):
    """Shared by tests: each asks for its address, which replaces workers that others have killed."""
    return make_dask_cluster()


@pytest.fixture(scope="session")
def an4_dir() -> Path:
    """The AN4 corpus: set PYASR_AN4_DIR to run the tests that need it."""
    return _folder("PYASR_AN4_DIR")


@pytest.fixture(scope="session")
def noise_dir() -> Path:
    """Recorded noise with train/ and test/: set PYASR_NOISE_DIR to run the tests that need it."""
    return _folder("PYASR_NOISE_DIR")


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    if not Path(value).is_dir():
        pytest.fail(f"{variable}={value} is not a folder")
    return Path(value).resolve()
