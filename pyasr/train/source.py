"""A part of a corpus in memory. What the loop asks of it `pyasr.train.lazy` answers for parts that do not fit there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyasr.base.errors import DataError
from pyasr.train.plan import Stretch, batches_of_pass, joined, stretches
from pyasr.train.targets import Targets


@dataclass(frozen=True)
class Source:
    """Cuts in a fixed order, with their targets. Batches are drawn from all of them."""

    cuts: Sequence[Any]
    targets: Targets

    @classmethod
    def of(cls, cuts: Sequence[Any], targets: Targets) -> Source:
        """Those of the cuts that have targets; DataError when none has."""
        found = [cut for cut in cuts if cut.id in targets]
        if not found:
            raise DataError(f"none of {len(cuts)} utterances has targets; run the stage that makes them again")
        return cls(found, targets)

    @property
    def durations_s(self) -> list[float]:
        return [cut.duration for cut in self.cuts]

    @property
    def size(self) -> dict[str, float]:
        """For a digest."""
        return {"utterances": len(self.cuts), "hours": sum(self.durations_s) / 3600}

    def key(self) -> Any:
        """What is learnt from, for the key of a checkpoint."""
        return [[cut.id for cut in self.cuts], self.targets.key()]

    def stretches(
        self, name: str, batch_s: float, seed: int, begin: float, end: float, first: int = 0
    ) -> Iterator[Stretch]:
        """All between two points in one; see `pyasr.train.plan.stretches`. name: of the source."""
        durations_s = self.durations_s
        return joined(
            stretches(begin, end, 1, lambda epoch, _: batches_of_pass(durations_s, batch_s, seed, name, epoch))
        )
