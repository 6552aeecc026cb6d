"""N workers in one process, for experiments on a small machine: the same code and, bit for bit, the same numbers.

Each worker is a thread, and one runs at a time: it goes on until it needs what another has not sent yet, and the turn
passes to the next. So nothing depends on timing, and what is global in a process (torch's random generator) may be
used between two exchanges by a worker that seeds it. Results equal those of gloo workers whose means are taken in the
order of ranks (`ProcessGroupComm(deterministic=True)`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from pyasr.dist.comm import Comm, Pending, WorkerLost, mean_in_rank_order

Result = TypeVar("Result")


class _Turns:
    """Whose turn it is. failed: the first error of a worker; those that wait for it give up."""

    def __init__(self, size: int) -> None:
        self.size, self.turn, self.ended = size, 0, [False] * size
        self.failed: BaseException | None = None
        self.changed = threading.Condition()
        self.slots: dict[tuple, list[torch.Tensor | None]] = {}

    def take(self, rank: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.turn == rank or self.failed is not None)
            if self.failed is not None:
                raise WorkerLost(f"emulated worker {rank}: another one failed: {self.failed}") from self.failed

    def give(self, rank: int) -> None:
        with self.changed:
            following = [(rank + step) % self.size for step in range(1, self.size + 1)]
            self.turn = next((other for other in following if not self.ended[other]), rank)
            self.changed.notify_all()

    def end(self, rank: int, error: BaseException | None) -> None:
        with self.changed:
            self.ended[rank] = True
            if error is not None and self.failed is None:
                self.failed = error
            self.changed.notify_all()
        self.give(rank)


class EmulatedComm:
    """A worker's view of the others; see `run_emulated`.

    members: ranks in the whole, in the group's order. name: tells this group's exchanges from those of others.
    """

    def __init__(self, turns: _Turns, me: int, members: Sequence[int], name: tuple[int, ...] = ()) -> None:
        self._turns, self._me, self._members, self._name = turns, me, tuple(members), name
        self.rank, self.size = self._members.index(me), len(self._members)
        self._begun = self._splits = 0

    def gather(self, tensor: torch.Tensor) -> Pending[list[torch.Tensor]]:
        key = (self._name, self._members, self._begun)
        self._begun += 1
        slot = self._turns.slots.setdefault(key, [None] * self.size)
        slot[self.rank] = tensor.detach().clone()

        def wait() -> list[torch.Tensor]:
            turns = self._turns
            while any(part is None for part in slot):
                if any(turns.ended[member] and slot[place] is None for place, member in enumerate(self._members)):
                    raise WorkerLost(f"emulated worker {self._me}: another one has ended")
                turns.give(self._me)
                turns.take(self._me)
            turns.slots.pop(key, None)
            first = slot[0]
            if any(part.shape != first.shape or part.dtype != first.dtype for part in slot):
                raise ValueError(f"workers exchange different things: {[(p.shape, p.dtype) for p in slot]}")
            return [part.clone() for part in slot]

        return Pending(wait)

    def mean(self, tensor: torch.Tensor) -> Pending[None]:
        return mean_in_rank_order(self, tensor)

    def first(self, tensor: torch.Tensor) -> None:
        tensor.copy_(self.gather(tensor).wait()[0])

    def split(self, members: Sequence[Sequence[int]]) -> Comm:
        mine = next(row for row in members if self.rank in row)
        self._splits += 1
        return EmulatedComm(
            self._turns, self._me, [self._members[rank] for rank in mine], (*self._name, self._splits)
        )


def run_emulated(size: int, worker: Callable[[Comm], Result]) -> list[Result]:
    """worker(comm) for each of `size` emulated workers; their results by rank. The first error is raised here.

    Threads, torch's default generator and files are shared: a worker that draws seeds the generator after each
    exchange, and does not start DataLoader processes.
    """
    turns = _Turns(size)
    results: list[Result | None] = [None] * size

    def run(rank: int) -> None:
        error = None
        try:
            turns.take(rank)
            results[rank] = worker(EmulatedComm(turns, rank, range(size)))
        except BaseException as caught:
            error = caught
        turns.end(rank, error)

    threads = [threading.Thread(target=run, args=(rank,), name=f"worker-{rank}") for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if turns.failed is not None:
        raise turns.failed
    return results
