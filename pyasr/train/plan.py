"""Which batches a sub-epoch has, in which order: a function of the options, the seed and the sub-epoch alone.

A pass over a source is a row of windows, each planned by itself when its turn comes: a source in memory has one, one of
many manifests as many as it takes (`pyasr.train.lazy`). So a sub-epoch of any length goes on at any place by planning
the window it lies in, and nothing else.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyasr.base.seeds import rng
from pyasr.train.options import PhaseOptions

_JITTER = 0.15


@dataclass(frozen=True)
class BatchPlan:
    """cuts: what the source's `cuts` are asked for. epoch: the pass over it, which augmentation is drawn by."""

    source: str
    epoch: int
    cuts: tuple[Any, ...]


Place = tuple[int, int]
"""Of a source within a sub-epoch: a window, counted from the first of them, and how many of its batches are done."""


@dataclass(frozen=True)
class Stretch:
    """The batches of a source that a sub-epoch takes in a row.

    number: as in `Place`. begin, end: of all that the sub-epoch takes of the source, 0 to 1.
    """

    number: int
    begin: float
    end: float
    batches: Sequence[BatchPlan]


@dataclass(frozen=True)
class Planned:
    """A batch. place: of its source, once it is done. at: of the sub-epoch, 0 to 1."""

    plan: BatchPlan
    place: Place
    at: float


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


def stretches(
    begin: float, end: float, windows: int, batches_of: Callable[[int, int], Sequence[BatchPlan]], first: int = 0
) -> Iterator[Stretch]:
    """What lies between two points in an endless row of passes: 1.5 is the middle of the second.

    windows: of a pass. batches_of: a pass and one of its windows. first: the number of the stretch to begin with.
    """
    begin, end = begin * windows, end * windows
    for number, place in enumerate(range(math.floor(begin) + first, math.ceil(end)), first):
        batches = batches_of(*divmod(place, windows))
        low, high = (min(max(point - place, 0.0), 1.0) for point in (begin, end))
        taken = batches[round(low * len(batches)) : round(high * len(batches))]
        yield Stretch(number, *((place + share - begin) / (end - begin) for share in (low, high)), taken)


def joined(parts: Iterator[Stretch]) -> Iterator[Stretch]:
    """All of them as one: for a source in memory, whose batches can be counted before they are spread."""
    yield Stretch(0, 0.0, 1.0, [batch for part in parts for batch in part.batches])


def sub_epoch(
    number: int,
    phase: PhaseOptions,
    sources: Mapping[str, Callable[[float, float, int], Iterator[Stretch]]],
    start: Mapping[str, Place],
) -> Iterator[Planned]:
    """The batches of sub-epoch `number` (from 0) of a phase that are not done, planned as they are asked for.

    sources: of each the stretches between two points, from one on. start: the place of each that has begun.
    A sub-epoch of a fraction of a pass goes on where the one before it ended. Blocks of the sources are spread evenly
    among each other.
    """
    amounts = {"transcribed": phase.transcribed, "untranscribed": phase.untranscribed}
    streams = [
        _stream(sources[name], number * amount, (number + 1) * amount, phase.block_batches, start.get(name, (0, 0)))
        for name, amount in amounts.items()
        if amount
    ]
    # Of those at the same place the source named first comes first.
    return heapq.merge(*streams, key=lambda planned: planned.at)


def _stream(
    source: Callable[[float, float, int], Iterator[Stretch]], begin: float, end: float, block_batches: int, start: Place
) -> Iterator[Planned]:
    first, done = start
    for stretch in source(begin, end, first):
        blocks = -(-len(stretch.batches) // block_batches)
        for index, plan in enumerate(stretch.batches[done:], done):
            at = stretch.begin + (stretch.end - stretch.begin) * (index // block_batches + 0.5) / blocks
            yield Planned(plan, (stretch.number, index + 1), at)
        done = 0
