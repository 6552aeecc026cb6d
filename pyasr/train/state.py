"""Where a training is, and what it has added up since it last looked at dev: plain values, for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyasr.dist.workers import Workers
from pyasr.train.plan import Place


@dataclass
class Position:
    """sub_epoch: within the phase. places: of each source that the sub-epoch has begun with, the same on all workers
    and for any number of them."""

    phase: int = 0
    sub_epoch: int = 0
    step: int = 0
    places: dict[str, Place] = field(default_factory=dict)

    def following(self, phase_ended: bool) -> Position:
        """At the end of a sub-epoch."""
        if phase_ended:
            return Position(self.phase + 1, step=self.step)
        return Position(self.phase, self.sub_epoch + 1, self.step)


@dataclass
class Sums:
    """Of a sub-epoch and this worker: loss and frames by source, gradient norms, seconds, what the criterion counts."""

    loss: dict[str, float] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    clipped: int = 0
    seconds: float = 0.0
    counts: dict[str, float] = field(default_factory=dict)

    def add(self, source: str, loss: float, frames: int, counts: Mapping[str, float]) -> None:
        self.loss[source] = self.loss.get(source, 0.0) + loss
        self.frames[source] = self.frames.get(source, 0) + frames
        self._count(counts)

    def _count(self, counts: Mapping[str, float]) -> None:
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0.0) + count

    def include(self, other: Sums) -> None:
        """Another worker's."""
        for source, loss in other.loss.items():
            self.add(source, loss, other.frames[source], {})
        self._count(other.counts)
        self.clipped += other.clipped
        self.seconds = max(self.seconds, other.seconds)

    def over_workers(self, workers: Workers) -> Sums:
        """Of all workers."""
        total = Sums()
        for own in workers.gather(vars(self)):
            total.include(Sums(**own))
        return total
