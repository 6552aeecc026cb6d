"""The batches of a sub-epoch as one worker gets them, made ahead by reading processes."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator

import torch

from pyasr.train.data import Batch
from pyasr.train.plan import BatchPlan
from pyasr.train.share import Group


def make_batches(
    maker: torch.utils.data.Dataset, plans: Iterable[BatchPlan], readers: int
) -> torch.utils.data.DataLoader:
    """In the order of the plans, which are drawn a few ahead. readers: processes; 0: made in this one."""
    return torch.utils.data.DataLoader(maker, batch_size=None, sampler=plans, num_workers=readers)


def feed(
    groups: Iterable[Group], rank: int, maker: torch.utils.data.Dataset, readers: int
) -> Iterator[tuple[Batch, Group]]:
    """A worker's batch of each group."""
    drawn: collections.deque[Group] = collections.deque()

    def plans() -> Iterator[BatchPlan]:
        for group in groups:
            drawn.append(group)
            yield group.plans[rank]

    for batch in make_batches(maker, plans(), readers):
        yield batch, drawn.popleft()
