"""Real workers for tests: N processes joined by gloo, each runs a function and returns what it found."""

import importlib
import inspect
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch.multiprocessing


@pytest.fixture
def run_workers(tmp_path_factory, monkeypatch):
    """run(size, function, *arguments): function(rank, *arguments) in gloo processes; results by rank.

    function: one of a test file, by its name there. Processes are forked from a server that has computed nothing: a
    fork of the tests' own process has MKL's locks as threads held them that were just ending, and may wait forever.
    """
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    # torch._dynamo: imported by the first step of an optimiser, which takes a second.
    multiprocessing.set_forkserver_preload(["pyasr.train.loop", "torch._dynamo", "pytest"])

    def run(size, function, *arguments, timeout_s=60.0):
        folder = tmp_path_factory.mktemp("workers")
        (folder / "arguments").write_bytes(pickle.dumps(arguments))
        about = (size, folder, inspect.getfile(function), function.__name__, timeout_s)
        torch.multiprocessing.start_processes(
            importlib.import_module("gloo_worker").work, about, nprocs=size, start_method="forkserver"
        )
        results = [pickle.loads((folder / f"{rank}").read_bytes()) for rank in range(size)]
        for ok, value in results:
            assert ok, value
        return [value for _, value in results]

    return run


@pytest.fixture(scope="session")
def torchrun():
    """run(script, *arguments): two workers of a script under torchrun, as a user starts them; how it ended."""

    def run(script, *arguments, restarts=0, **environment):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["--max-restarts", str(restarts), "--monitor-interval", "0.2", str(script), *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)

    return run
