"""What workers say to each other: an all-gather and a mean, over torch.distributed or within one process.

All that `pyasr.dist` does goes through a `Comm`, so that the same code runs under torchrun and emulated
(`pyasr.dist.emulate`). Sums are taken in the order of the ranks where `deterministic` is asked for: gloo's and NCCL's
own all-reduce add in another order, which depends on their version and on the size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

import torch
import torch.distributed as dist

from pyasr.base.errors import PyasrError

Result = TypeVar("Result")


class WorkerLost(PyasrError):
    """Another worker has ended, or has not answered within the time that is allowed."""


class Pending(Generic[Result]):
    """An exchange under way; wait() ends it, in the order in which exchanges were begun on every worker."""

    def __init__(self, wait: Callable[[], Result]) -> None:
        self.wait = wait


class Comm(Protocol):
    """A group of `size` workers, of which this one is `rank`. All make the same calls in the same order."""

    rank: int
    size: int

    def gather(self, tensor: torch.Tensor) -> Pending[list[torch.Tensor]]:
        """Everyone's tensor, by rank, on the device of tensor; the same shape and dtype on all. Not to be changed
        before wait()."""

    def mean(self, tensor: torch.Tensor) -> Pending[None]:
        """Replace tensor, a contiguous float tensor, by its mean over the workers: the same bits on all."""

    def first(self, tensor: torch.Tensor) -> None:
        """Replace tensor, contiguous, by that of rank 0."""

    def split(self, members: Sequence[Sequence[int]]) -> Comm:
        """The group of this worker, of disjoint groups that hold every rank once."""


class Alone:
    """The group of a single worker."""

    rank, size = 0, 1

    def gather(self, tensor: torch.Tensor) -> Pending[list[torch.Tensor]]:
        return Pending(lambda: [tensor])

    def mean(self, tensor: torch.Tensor) -> Pending[None]:
        return Pending(lambda: None)

    def first(self, tensor: torch.Tensor) -> None:
        return

    def split(self, members: Sequence[Sequence[int]]) -> Comm:
        return self


class ProcessGroupComm:
    """A process group of torch.distributed; group None: the default one.

    deterministic: means are sums in the order of ranks (an all-gather: N times the traffic and memory), the numbers
    of `pyasr.dist.emulate`. timeout: of groups that are split off. Errors of the group, among them its own timeout,
    become WorkerLost.
    """

    def __init__(
        self, group: dist.ProcessGroup | None = None, deterministic: bool = False, timeout: timedelta | None = None
    ) -> None:
        self.group, self.deterministic, self._timeout = group, deterministic, timeout
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self._cuda = dist.get_backend(group) == "nccl"

    def gather(self, tensor: torch.Tensor) -> Pending[list[torch.Tensor]]:
        sent = tensor.cuda() if self._cuda else tensor.cpu()
        received = [torch.empty_like(sent) for _ in range(self.size)]
        work = self._guarded(lambda: dist.all_gather(received, sent, group=self.group, async_op=True))

        def wait() -> list[torch.Tensor]:
            self._guarded(work.wait)
            return [part.to(tensor.device) for part in received]

        return Pending(wait)

    def mean(self, tensor: torch.Tensor) -> Pending[None]:
        if self.deterministic:
            return mean_in_rank_order(self, tensor)
        moved = tensor.cuda() if self._cuda else tensor
        work = self._guarded(lambda: dist.all_reduce(moved, group=self.group, async_op=True))

        def wait() -> None:
            self._guarded(work.wait)
            if moved is not tensor:
                tensor.copy_(moved)
            tensor.div_(self.size)

        return Pending(wait)

    def first(self, tensor: torch.Tensor) -> None:
        moved = tensor.cuda() if self._cuda else tensor
        self._guarded(lambda: dist.broadcast(moved, group=self.group, group_src=0))
        if moved is not tensor:
            tensor.copy_(moved)

    def split(self, members: Sequence[Sequence[int]]) -> Comm:
        """Made of the default group's ranks; every worker makes every group, as torch.distributed asks."""
        ranks = dist.get_process_group_ranks(self.group or dist.group.WORLD)
        enumerated = [[ranks[member] for member in row] for row in members]
        group, _ = dist.new_subgroups_by_enumeration(enumerated, timeout=self._timeout)
        return ProcessGroupComm(group, self.deterministic, self._timeout)

    def _guarded(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except RuntimeError as error:
            raise lost(self.rank, self.size, error) from error


def lost(rank: int, size: int, error: BaseException) -> WorkerLost:
    """What to tell when torch.distributed gives up."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return WorkerLost(
        f"worker {rank} of {size}: another worker has ended, or has not answered within the time allowed"
        f" (train.dist.timeout_s): {reason}. Look for the first error among the workers' outputs; started again"
        " (torchrun --max-restarts N does it), the training goes on from its last checkpoint"
    )


def mean_in_rank_order(comm: Comm, tensor: torch.Tensor) -> Pending[None]:
    """Comm.mean by an all-gather: ((t0 + t1) + t2 + ...) / N."""
    gathering = comm.gather(tensor)

    def wait() -> None:
        parts = gathering.wait()
        total = parts[0].clone()
        for part in parts[1:]:
            total += part
        tensor.copy_(total.div_(comm.size))

    return Pending(wait)


def comm_of(process_group: dist.ProcessGroup | Comm | None) -> Comm:
    """A Comm as it is; a process group, or the default one, wrapped; alone where torch.distributed is not in use."""
    if process_group is not None and not isinstance(process_group, dist.ProcessGroup):
        return process_group
    if process_group is None and not (dist.is_available() and dist.is_initialized()):
        return Alone()
    return ProcessGroupComm(process_group)


def tiers(comm: Comm, group_size: int) -> tuple[Comm, Comm]:
    """Workers 0..g-1, g..2g-1, ... as groups: (the own group, the workers of the same place in all groups)."""
    if group_size < 1 or comm.size % group_size:
        raise ValueError(f"{comm.size} workers do not make groups of {group_size}")
    groups = [range(begin, begin + group_size) for begin in range(0, comm.size, group_size)]
    return comm.split(groups), comm.split(list(zip(*groups)))
