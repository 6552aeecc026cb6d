"""A part of a corpus in many manifests: they are read a few at a time, shuffled as far as those reach, and left again.

The unit is a window: `buffer` manifests, drawn from all of them, whose cuts make batches together. What a window holds
is a function of seed, source, pass and its number, so a training goes on at any place by reading that window alone:
nothing is skipped over, and no list of all cuts is ever in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyasr.base.errors import DataError
from pyasr.base.seeds import rng
from pyasr.corpora.manifest import iterate_lines, parse_cut
from pyasr.corpora.shards import manifest_names, part_of
from pyasr.targets.parted import PartedStore
from pyasr.train.plan import BatchPlan, Stretch, batches_of_pass, stretches
from pyasr.train.targets import StoredTargets, Targets


@dataclass(frozen=True)
class CutLine:
    """A cut as it stands in a manifest: what a plan names it by. part: the manifest's name, and the store's part."""

    part: str
    number: int
    text: str


class Manifests:
    """The manifests (.jsonl, .jsonl.gz) of a folder: their names alone are in memory."""

    def __init__(self, folder: str | Path) -> None:
        self.folder, self.names = Path(folder), manifest_names(folder)

    def lines(self, name: str) -> Iterator[CutLine]:
        part = part_of(name)
        for number, text in enumerate(iterate_lines(self.folder / name), 1):
            yield CutLine(part, number, text)


class LazyCuts:
    """Cuts by their lines."""

    def __init__(self, folder: Path, targets: Targets) -> None:
        self._folder, self._targets = folder, targets

    def __getitem__(self, line: CutLine) -> Any:
        """The cut; its targets are open then, also in a process that reads batches alone."""
        self._targets.open_part(line.part)
        return parse_cut(line.text, f"{self._folder}/{line.part}:{line.number}")


@dataclass(frozen=True)
class LazySource:
    """In the place of a `pyasr.train.source.Source`. buffer: manifests of a window."""

    manifests: Manifests
    targets: Targets
    buffer: int = 4

    @classmethod
    def of_store(cls, manifests: Manifests, folder: str | Path, buffer: int = 4, **options: Any) -> LazySource:
        """With stored targets, each manifest's in a part of the store in `folder`. options: see `StoredTargets`."""
        # Twice, because the batches of one window are still being made while the next is planned.
        return cls(manifests, StoredTargets(PartedStore(folder, 2 * buffer), **options), buffer)

    @property
    def cuts(self) -> LazyCuts:
        return LazyCuts(self.manifests.folder, self.targets)

    @property
    def windows(self) -> int:
        """Of a pass."""
        return -(-len(self.manifests.names) // self.buffer)

    @property
    def size(self) -> dict[str, float]:
        """For a digest; how many utterances there are nobody has counted."""
        return {"manifests": len(self.manifests.names)}

    def key(self) -> Any:
        """What is learnt from, for the key of a checkpoint: manifests by name, and how they are shuffled."""
        return [self.manifests.names, self.buffer, self.targets.key()]

    def stretches(
        self, name: str, batch_s: float, seed: int, begin: float, end: float, first: int = 0
    ) -> Iterator[Stretch]:
        """One a window, read when it is asked for; see `pyasr.train.plan.stretches`. name: of the source.

        A plan's `cuts` are `CutLine`s. Cuts without targets are left out; DataError when no cut has any. DataError
        names a manifest, and the line, that cannot be read.
        """
        read = kept = 0

        def batches_of(epoch: int, window: int) -> list[BatchPlan]:
            nonlocal read, kept
            rows = list(self._window(seed, name, epoch, window))
            found = [(line, duration_s) for line, cut_id, duration_s in rows if cut_id in self.targets]
            read, kept = read + len(rows), kept + len(found)
            plans = batches_of_pass([row[1] for row in found], batch_s, seed, f"{name}/{window}", epoch)
            return [BatchPlan(name, epoch, tuple(found[index][0] for index in plan.cuts)) for plan in plans]

        yield from stretches(begin, end, self.windows, batches_of, first)
        if read and not kept and not first:
            raise DataError(
                f"{self.manifests.folder}: none of {read} utterances of a sub-epoch has targets: label them, or lower"
                " train.student.min_posterior"
            )

    def _window(self, seed: int, name: str, epoch: int, window: int) -> Iterator[tuple[CutLine, str, float]]:
        """Lines with ids and durations; the targets of all of them are open."""
        order = rng(seed, "manifests", name, epoch).permutation(len(self.manifests.names))
        for index in order[window * self.buffer : (window + 1) * self.buffer].tolist():
            for line in self.manifests.lines(self.manifests.names[index]):
                self.targets.open_part(line.part)  # here: a manifest without cuts has no part
                yield line, *_id_and_duration(line, self.manifests.folder)


def _id_and_duration(line: CutLine, folder: Path) -> tuple[str, float]:
    try:
        row = json.loads(line.text)
        return str(row["id"]), float(row["duration"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}/{line.part}:{line.number}: not a Lhotse cut ({error!r})") from error
