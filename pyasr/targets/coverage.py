"""How much of a manifest a store has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pyasr.corpora.manifest import iterate_cuts
from pyasr.corpora.shards import part_of
from pyasr.targets.store import DEFAULT_PART, PosteriorStore

_SHOWN = 10


@dataclass
class Coverage:
    """cuts, hours: of the manifests. missing: the first ids that the store lacks; more: whether there are others."""

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


def coverage(
    store: PosteriorStore, manifests: Iterable[Path], lacks: Callable[[str], object] = lambda cut_id: None
) -> Coverage:
    """Of manifests of Lhotse cuts, one at a time in memory.

    The cuts of a manifest are looked for where labelling puts them: in the part named after it, and in "cuts".
    lacks: told the id of each cut that is missing, or has lost blocks to a repair.
    """
    found, parts = Coverage(), store.parts()
    for path in manifests:
        hours = {cut.id: cut.duration / 3600 for cut in iterate_cuts(path)}
        missing = set(hours)
        for part in dict.fromkeys((part_of(path.name), DEFAULT_PART)):
            for name in parts.get(part, ()):
                missing.difference_update(store.shard(name).index.complete_ids())
        found.cuts += len(hours)
        found.hours += sum(hours.values())
        found.stored += len(hours) - len(missing)
        found.stored_hours += sum(length for cut_id, length in hours.items() if cut_id not in missing)
        for cut_id in filter(missing.__contains__, hours):
            lacks(cut_id)
            if len(found.missing) < _SHOWN:
                found.missing.append(cut_id)
    return found
