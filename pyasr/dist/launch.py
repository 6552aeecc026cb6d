"""Joining the workers that torchrun has started."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from pyasr.base.errors import PyasrError
from pyasr.dist.comm import Comm, ProcessGroupComm


def started_workers() -> int:
    """How many torchrun, or a launcher that sets its variables, has started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def started_rank() -> int:
    """The number of this one among them."""
    return int(os.environ["RANK"]) if started_workers() > 1 else 0


def join(timeout_s: float, deterministic: bool = False) -> Comm:
    """The group of all started workers: NCCL where there are GPUs, one for each worker of a machine, else gloo.

    timeout_s: an exchange that takes longer ends with `WorkerLost`. PyasrError when the group cannot be made.
    """
    timeout = timedelta(seconds=timeout_s)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.is_available() and torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if on_gpu:
        torch.cuda.set_device(local)
    try:
        store, rank, size = _meet(timeout)
        dist.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=size, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise PyasrError(
            f"worker {os.environ.get('RANK')} of {os.environ.get('WORLD_SIZE')} did not find the others at"
            f" {os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}: {error}; start all with torchrun"
        ) from error
    return ProcessGroupComm(deterministic=deterministic, timeout=timeout)


def _meet(timeout: timedelta) -> tuple[dist.Store, int, int]:
    """As env:// does, but with keys of their own for each restart: torchrun keeps one store over all of them (torch
    2.13), in which a worker would find the address of one that is dead. Several machines count restarts each by
    themselves; for them TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives each restart a new store."""
    store, rank, size = next(dist.rendezvous("env://", timeout=timeout))
    store.set_timeout(timeout)
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        store = dist.PrefixStore(f"restart_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    return store, rank, size


def leave() -> None:
    """The end of `join`: threads of a group that is still there when Python ends can abort the process."""
    dist.destroy_process_group()


class Jobs:
    """What worker 0 tells the others to do, over a gloo group of its own that may be silent for days."""

    def __init__(self) -> None:
        self._group = dist.new_group(backend="gloo", timeout=timedelta(days=30))

    def tell(self, job: object | None) -> None:
        """By worker 0: something that pickle takes; None: there is nothing more to do."""
        dist.broadcast_object_list([job], group=self._group, group_src=0)

    def hear(self) -> object | None:
        """By the others: the next job."""
        told: list[object | None] = [None]
        dist.broadcast_object_list(told, group=self._group, group_src=0)
        return told[0]
