"""Training data of a million hours: manifests are read a few at a time, shuffled as far as those reach, and left again.

The unit is a window: `buffer` manifests, drawn from all of them, whose cuts make batches together. What a window holds
is a function of seed, source, epoch and its number, so a training goes on at any place by reading that window alone:
nothing is skipped over, and no list of all cuts is ever in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyasr.base.errors import DataError
from pyasr.base.seeds import rng
from pyasr.corpora.manifest import iterate_lines, parse_cut
from pyasr.targets.parted import PartedStore
from pyasr.targets.shard import part_of
from pyasr.train.plan import BatchPlan, batches_of_pass
from pyasr.train.targets import StoredTargets


@dataclass(frozen=True)
class CutLine:
    """A cut as it stands in a manifest: what a plan names it by. part: the manifest's name, and the store's part."""

    part: str
    number: int
    text: str


@dataclass(frozen=True)
class Place:
    """Where in an endless row of epochs: the next batch of a window."""

    epoch: int = 0
    window: int = 0
    batch: int = 0


class Manifests:
    """The manifests (.jsonl, .jsonl.gz) of a folder: their names alone are in memory."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.names = sorted(n for n in os.listdir(folder) if n.endswith((".jsonl", ".jsonl.gz")))
        except OSError as error:
            raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error
        if not self.names:
            raise DataError(f"{folder}: holds no manifests (.jsonl or .jsonl.gz)")

    def lines(self, name: str) -> Iterator[CutLine]:
        part = part_of(name)
        for number, text in enumerate(iterate_lines(self.folder / name), 1):
            yield CutLine(part, number, text)


@dataclass(frozen=True)
class LazyOptions:
    """batch_s: seconds of a batch, padding included. buffer: manifests of a window."""

    batch_s: float
    seed: int
    buffer: int = 4


def lazy_batches(
    manifests: Manifests, source: str, options: LazyOptions, start: Place = Place()
) -> Iterator[tuple[BatchPlan, Place]]:
    """Batches from a place on, without end, each with the place of the next: each epoch has every cut once.

    A plan's `cuts` are `CutLine`s. DataError names a manifest, and the line, that cannot be read.
    """
    epoch, first_window, first_batch = start.epoch, start.window, start.batch
    while True:
        order = rng(options.seed, "manifests", source, epoch).permutation(len(manifests.names))
        for window in range(first_window, -(-len(order) // options.buffer)):
            chosen = order[window * options.buffer : (window + 1) * options.buffer]
            lines = [line for index in chosen for line in manifests.lines(manifests.names[index])]
            durations = [_duration_s(line, manifests) for line in lines]
            plans = batches_of_pass(durations, options.batch_s, options.seed, f"{source}/{window}", epoch)
            for number, plan in enumerate(plans[first_batch:], first_batch + 1):
                cuts = tuple(lines[index] for index in plan.cuts)
                yield BatchPlan(source, epoch, cuts), Place(epoch, window, number)
            first_batch = 0
        epoch, first_window = epoch + 1, 0


def interleave(
    streams: Mapping[str, Iterator[tuple[BatchPlan, Place]]], amounts: Mapping[str, int], block_batches: int = 1
) -> Iterator[tuple[BatchPlan, Place]]:
    """A sub-epoch: so many batches of each source, in blocks that are spread evenly among each other."""
    placed: list[tuple[float, int, str, int]] = []
    for rank, (source, amount) in enumerate(amounts.items()):
        sizes = [min(block_batches, amount - begin) for begin in range(0, amount, block_batches)]
        placed += [((number + 0.5) / len(sizes), rank, source, size) for number, size in enumerate(sizes)]
    for _, _, source, size in sorted(placed):
        for _ in range(size):
            yield next(streams[source])


class LazyCuts:
    """Cuts by their lines, for `pyasr.train.data.BatchMaker`; opens the part of the store that has their targets."""

    def __init__(self, folder: Path, store: PartedStore | None = None) -> None:
        self._folder, self._store = folder, store

    def __getitem__(self, line: CutLine) -> Any:
        if self._store is not None:
            self._store.open_part(line.part)
        return parse_cut(line.text, f"{self._folder}/{line.part}:{line.number}")


@dataclass(frozen=True)
class LazySource:
    """The place of a `pyasr.train.data.Source` in a `BatchMaker`."""

    cuts: LazyCuts
    targets: StoredTargets

    @classmethod
    def of(cls, manifests: Manifests, store_folder: str | Path, tied: bool = False, open_parts: int = 8) -> LazySource:
        """open_parts: at least the manifests of a window, or parts are opened again and again."""
        store = PartedStore(store_folder, open_parts)
        return cls(LazyCuts(manifests.folder, store), StoredTargets(store, tied))


def _duration_s(line: CutLine, manifests: Manifests) -> float:
    try:
        return float(json.loads(line.text)["duration"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{manifests.folder}/{line.part}:{line.number}: not a Lhotse cut ({error!r})") from error
