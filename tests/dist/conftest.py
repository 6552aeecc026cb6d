"""Real workers for tests: N processes joined by gloo, each runs a function and returns what it found."""

import datetime
import os
import pickle
import subprocess
import sys
import traceback

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing


@pytest.fixture
def run_workers(tmp_path_factory):
    """run(size, function, *arguments): function(rank, *arguments) in gloo processes; results by rank."""

    def run(size, function, *arguments, timeout_s=60.0):
        folder = tmp_path_factory.mktemp("workers")
        torch.multiprocessing.start_processes(
            _work, (size, folder, function, arguments, timeout_s), nprocs=size, start_method="fork"
        )
        results = [pickle.loads((folder / f"{rank}").read_bytes()) for rank in range(size)]
        for ok, value in results:
            assert ok, value
        return [value for _, value in results]

    return run


def _work(rank, size, folder, function, arguments, timeout_s):
    torch.set_num_threads(1)
    timeout = datetime.timedelta(seconds=timeout_s)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size, timeout=timeout
    )
    try:
        result = (True, function(rank, *arguments))
    except Exception:
        result = (False, f"worker {rank}:\n{traceback.format_exc()}")
    (folder / f"{rank}").write_bytes(pickle.dumps(result))
    dist.destroy_process_group()


@pytest.fixture(scope="session")
def torchrun():
    """run(script, *arguments): two workers of a script under torchrun, as a user starts them; how it ended."""

    def run(script, *arguments, restarts=0, **environment):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["--max-restarts", str(restarts), "--monitor-interval", "0.2", str(script), *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)

    return run
