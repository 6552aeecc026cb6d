"""How much of a manifest a store has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pyasr.targets.store import PosteriorStore

_SHOWN = 10


@dataclass
class Coverage:
    """cuts, hours: of the manifest. missing: the first ids that the store lacks; more: whether there are others."""

    cuts: int = 0
    hours: float = 0.0
    stored: int = 0
    stored_hours: float = 0.0
    missing: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the hours."""
        return self.stored_hours / self.hours if self.hours else 1.0

    @property
    def more(self) -> bool:
        return self.cuts - self.stored > len(self.missing)


def coverage(store: PosteriorStore, cuts: Iterable[Any]) -> Coverage:
    """Of Lhotse cuts, one at a time."""
    found = Coverage()
    for cut in cuts:
        found.cuts += 1
        found.hours += cut.duration / 3600
        if store.has_all(cut.id):
            found.stored += 1
            found.stored_hours += cut.duration / 3600
        elif len(found.missing) < _SHOWN:
            found.missing.append(cut.id)
    return found
