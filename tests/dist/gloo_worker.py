"""A worker of the fixture run_workers: a process of its own, which knows functions by the test file they are in."""

import datetime
import importlib.util
import pickle
import sys
import traceback
from pathlib import Path

import torch
import torch.distributed as dist


def work(rank, size, folder, file, name, timeout_s):
    """Function `name` of `file`; its arguments and its result are in files of `folder`."""
    torch.set_num_threads(1)
    timeout = datetime.timedelta(seconds=timeout_s)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size, timeout=timeout)
    try:
        spec = importlib.util.spec_from_file_location(Path(file).stem, file)
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        arguments = pickle.loads((folder / "arguments").read_bytes())
        result = (True, getattr(module, name)(rank, *arguments))
    except Exception:
        result = (False, f"worker {rank}:\n{traceback.format_exc()}")
    (folder / f"{rank}").write_bytes(pickle.dumps(result))
    dist.destroy_process_group()
