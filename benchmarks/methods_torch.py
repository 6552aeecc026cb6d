"""torch's own ways of training by several workers, with the interface of pyasr.dist.Workers."""

from __future__ import annotations

import contextlib

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.distributed.optim import PostLocalSGDOptimizer
from torch.nn.parallel import DistributedDataParallel

RANKS = {f"PowerSGD rank {rank}": rank for rank in (1, 2, 4)}
TORCH = ("DDP bf16 hook", *RANKS, "post-local SGD")


class TorchWorkers:
    """One of the workers of the default group. warmup: steps with plain all-reduce; sync_every: of post-local SGD."""

    def __init__(self, name: str, warmup: int, sync_every: int) -> None:
        self.name, self.warmup, self.sync_every = name, warmup, sync_every
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def attach(self, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        # One bucket: PowerSGD begins its second exchange when the first has ended, in another order on other workers
        # where there are several buckets, and gloo then ends the process.
        self.model = DistributedDataParallel(model, bucket_cap_mb=1000)
        if self.name == "DDP bf16 hook":
            # By its own name DDP refuses it without NCCL; gloo reduces bfloat16 all the same.
            self.model.register_comm_hook(dist.group.WORLD, lambda group, bucket: bf16_compress_hook(group, bucket))
        if self.name in RANKS:
            state = PowerSGDState(None, RANKS[self.name], start_powerSGD_iter=self.warmup)
            self.model.register_comm_hook(state, powerSGD_hook)
        if self.name == "post-local SGD":
            alone, _ = dist.new_subgroups(group_size=1)
            self.model.register_comm_hook(PostLocalSGDState(None, alone, self.warmup), post_localSGD_hook)
            # It counts from 0: models are the same after each `sync_every`-th step.
            averager = PeriodicModelAverager(period=self.sync_every, warmup_steps=self.warmup - 1)
            return PostLocalSGDOptimizer(optimiser, averager)
        return optimiser

    def backward(self, loss: torch.Tensor, clip_norm: float) -> tuple[torch.Tensor, bool]:
        loss.backward()
        return torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip_norm), True

    def skip(self) -> None:
        raise AssertionError("no step of torch's is left out")

    def global_model(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()
