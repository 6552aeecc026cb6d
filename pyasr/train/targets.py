"""What a network learns to say: senones of alignments, or posteriors of a teacher, stored or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from pyasr.base.errors import DataError
from pyasr.ops import unpack_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.parted import PartedStore


class Targets(ABC):
    """Of cuts. columns: the fields of `pyasr.train.data.Batch` that `stacked` gives values for."""

    columns: ClassVar[tuple[str, ...]]

    @property
    def of_every_phase(self) -> bool:
        """Whether there are some of every phase of stacking, or of the first alone."""
        return True

    @abstractmethod
    def __contains__(self, cut_id: str) -> bool: ...

    def open_part(self, part: str) -> None:  # noqa: B027 - most know all their cuts
        """Make the cuts of a part known to what does not know all at once."""

    def weight(self, cut_id: str) -> float:
        """What the loss of a cut is multiplied by."""
        return 1.0

    @abstractmethod
    def key(self) -> Any:
        """For the key of a checkpoint."""

    @abstractmethod
    def stacked(
        self, cut_id: str, num_frames: int, stack: int, phase: int, speed: float
    ) -> tuple[torch.Tensor, ...]:
        """Of each of T stacks of frames at a phase a row, a tensor a column. num_frames: 10 ms frames of the cut as it
        is heard, at `speed` times its own."""


@dataclass(frozen=True)
class HardTargets(Targets):
    """senones: cut_id -> int32 (T10,), the senone of each 10 ms frame."""

    senones: Mapping[str, np.ndarray]
    columns: ClassVar[tuple[str, ...]] = ("senones",)

    def __contains__(self, cut_id: str) -> bool:
        return cut_id in self.senones

    def key(self) -> None:
        """They are known by their cuts."""

    def stacked(self, cut_id: str, num_frames: int, stack: int, phase: int, speed: float) -> tuple[torch.Tensor]:
        """int64 (T,): of each stack of frames that of its middle.

        num_frames: 10 ms frames of the cut as it is heard, at `speed` times its own. DataError when the
        alignment has another length.
        """
        senones = self.senones[cut_id]
        if speed == 1.0 and len(senones) != num_frames:
            raise DataError(
                f"{cut_id}: {num_frames} frames of audio, {len(senones)} in its alignment; align again (stage senones)"
            )
        centres = _centres(num_frames, stack, phase, speed).clip(max=len(senones) - 1)
        return (torch.from_numpy(senones[centres].astype(np.int64)),)


@dataclass(frozen=True)
class StoredTargets(Targets):
    """Of a store whose metadata says how many `phases` it has: 1 (phase 0 alone), or as many as frames are stacked.

    tied: with one phase, frames of the others learn from those of phase 0 that begin up to 20 ms before.
    min_posterior: cuts whose highest posterior is lower on average have no targets. weighted: the loss of a cut is
    multiplied by that mean.
    """

    store: PosteriorStore | PartedStore
    tied: bool = False
    min_posterior: float = 0.0
    weighted: bool = False
    columns: ClassVar[tuple[str, ...]] = ("ids", "logp")

    @property
    def of_every_phase(self) -> bool:
        return self.tied or self.phases > 1

    @property
    def phases(self) -> int:
        return int(self.store.metadata["phases"])

    def __contains__(self, cut_id: str) -> bool:
        """Not of a cut that has lost blocks to a repair of the store."""
        return self.store.has_all(cut_id) and (not self.min_posterior or self._sureness(cut_id) >= self.min_posterior)

    def open_part(self, part: str) -> None:
        """Make the cuts of a part known to a store that does not know all at once."""
        if isinstance(self.store, PartedStore):
            self.store.open_part(part)

    def weight(self, cut_id: str) -> float:
        """What the loss of a cut is multiplied by."""
        return self._sureness(cut_id) if self.weighted else 1.0

    def key(self) -> Any:
        """For the key of a checkpoint."""
        return [self.store.fingerprint, self.tied, self.min_posterior, self.weighted]

    def _sureness(self, cut_id: str) -> float:
        return self.store.summary(cut_id).max_posterior

    def stacked(
        self, cut_id: str, num_frames: int, stack: int, phase: int, speed: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """ids int64 (T, k) and log-probabilities float32 (T, k) of the stacks of frames at a phase.

        num_frames: 10 ms frames of the cut as it is heard, at `speed` times its own; a stack then has the posteriors
        of the stored one around the same sound. DataError when the store has another number of rows than the cut
        has stacks.
        """
        rows = self.store.packed(cut_id)
        expected = num_stacks(num_frames, stack, self.phases)
        if speed == 1.0 and len(rows) != expected:
            raise DataError(
                f"{cut_id}: {len(rows)} rows of stored posteriors, {expected} expected; label again (stage label)"
            )
        # Row r stands for the frames that begin with r (all phases), or with r * stack (one).
        first = _first_frames(num_frames, stack, phase, speed)
        places = first if self.phases > 1 else first // stack
        return self.unpack(rows[torch.from_numpy(places.clip(0, max(0, len(rows) - 1)))])

    def unpack(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """ids int64 (T, k) and log-probabilities float32 (T, k) of rows as the store has them."""
        ids, logp = unpack_topk(rows, self.store.k, self.store.num_senones)
        return ids.long(), logp


@dataclass(frozen=True)
class TeacherTargets(Targets):
    """Of a teacher that is listened to while its student trains, see `pyasr.train.listen`: every cut has them."""

    columns: ClassVar[tuple[str, ...]] = ("places",)

    def __contains__(self, cut_id: str) -> bool:
        return True

    def key(self) -> str:
        """For the key of a checkpoint; which teacher it is says the key of the criterion."""
        return "dense"

    def stacked(self, cut_id: str, num_frames: int, stack: int, phase: int, speed: float) -> tuple[torch.Tensor]:
        """int64 (T,): the 10 ms frame, at the cut's own speed, with which the stack begins that the teacher hears.

        As of stored posteriors, but not yet held within the cut, whose length nobody here knows.
        """
        return (torch.from_numpy(_first_frames(num_frames, stack, phase, speed)),)


def _first_frames(num_frames: int, stack: int, phase: int, speed: float) -> np.ndarray:
    """int64 (T,): of each stack at a phase the first frame of that around the same sound, at the cut's own speed."""
    return _centres(num_frames, stack, phase, speed) - stack // 2


def _centres(num_frames: int, stack: int, phase: int, speed: float) -> np.ndarray:
    """int64 (T,): of each stack of frames at a phase the middle one, in 10 ms frames at the cut's own speed."""
    centres = np.arange(phase, num_frames - stack + 1, stack) + stack // 2
    return centres if speed == 1.0 else np.round((centres + 0.5) * speed - 0.5).astype(np.int64)


def num_stacks(num_frames: int, stack: int, phases: int) -> int:
    """Stacks of frames that begin every `stack` (phases = 1) or every one (phases = stack) of 10 ms frames."""
    return num_frames // stack if phases == 1 else max(0, num_frames - stack + 1)
