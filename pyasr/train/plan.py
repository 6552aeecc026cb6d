"""Which batches a sub-epoch has, in which order: a function of the options, the seed and the sub-epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyasr.base.seeds import rng
from pyasr.train.options import PhaseOptions

_JITTER = 0.15


@dataclass(frozen=True)
class BatchPlan:
    """cuts: indices into the source's cuts. epoch: the pass over the source, which augmentation is drawn by."""

    source: str
    epoch: int
    cuts: tuple[int, ...]


def batches_of_pass(
    durations_s: Sequence[float], batch_s: float, seed: int, source: str, epoch: int
) -> list[BatchPlan]:
    """All cuts once, in batches of similar length of at most `batch_s` seconds with padding (but at least a cut).

    Lengths are compared with a random 15 % on top, so that the company of a cut changes from pass to pass.
    """
    draws = rng(seed, "order", source, epoch)
    lengths = np.asarray(durations_s, np.float64)
    order = np.argsort(lengths * draws.uniform(1 - _JITTER, 1 + _JITTER, len(lengths)), kind="stable")
    batches: list[list[int]] = []
    longest = 0.0
    for index in order.tolist():
        longest = max(longest, lengths[index])
        if not batches or longest * (len(batches[-1]) + 1) > batch_s:
            batches.append([])
            longest = lengths[index]
        batches[-1].append(index)
    return [BatchPlan(source, epoch, tuple(batches[number])) for number in draws.permutation(len(batches))]


def sub_epoch(
    number: int, phase: PhaseOptions, passes: Mapping[str, Callable[[int], list[BatchPlan]]]
) -> list[BatchPlan]:
    """The batches of sub-epoch `number` (from 0) of a phase.

    passes: for each source a function from a pass to its batches. A sub-epoch of a fraction of a pass goes on
    where the one before it ended. Blocks of the sources are spread evenly among each other.
    """
    amounts = {"transcribed": phase.transcribed, "untranscribed": phase.untranscribed}
    placed: list[tuple[float, int, list[BatchPlan]]] = []
    for rank, (source, amount) in enumerate(amounts.items()):
        batches = _slice(number * amount, (number + 1) * amount, passes[source]) if amount else []
        blocks = [batches[i : i + phase.block_batches] for i in range(0, len(batches), phase.block_batches)]
        placed += [((i + 0.5) / len(blocks), rank, block) for i, block in enumerate(blocks)]
    placed.sort(key=lambda row: row[:2])
    return [batch for _, _, block in placed for batch in block]


def _slice(begin: float, end: float, batches_of: Callable[[int], list[BatchPlan]]) -> list[BatchPlan]:
    """What lies between two points in an endless row of passes: 1.5 is the middle of the second."""
    found = []
    for epoch in range(int(np.floor(begin)), int(np.ceil(end))):
        batches = batches_of(epoch)
        first, last = (round(min(max(point - epoch, 0.0), 1.0) * len(batches)) for point in (begin, end))
        found += batches[first:last]
    return found
