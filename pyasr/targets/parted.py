"""A store of very many cuts, of which a few parts at a time are in memory."""

from __future__ import annotations

import bisect
import collections
from pathlib import Path
from typing import Any

import torch

from pyasr.base.errors import DataError
from pyasr.targets.index import Summary
from pyasr.targets.shard import is_shard
from pyasr.targets.store import PosteriorStore


class PartedStore:
    """Reads like a `PosteriorStore`, but knows the cuts of the parts that were opened last, and no others.

    Who asks for a cut has opened its part before. In memory are the names of all shards, some hundred bytes each, and
    the indices of at most `open_parts` parts. Passed to another process it carries its place alone.
    """

    def __init__(self, folder: str | Path, open_parts: int) -> None:
        self._store, self._open_parts = PosteriorStore.open(folder), open_parts
        self._names: list[str] | None = None
        self._parts: collections.OrderedDict[str, PosteriorStore] = collections.OrderedDict()
        self.folder, self.k, self.num_senones = self._store.folder, self._store.k, self._store.num_senones
        self.fingerprint = self._store.fingerprint

    def __reduce__(self) -> tuple[Any, ...]:
        return PartedStore, (self.folder, self._open_parts)

    @property
    def metadata(self) -> dict[str, Any]:
        return self._store.metadata

    def open_part(self, part: str) -> None:
        """Make the cuts of a part known. DataError when the store has none of it."""
        if part in self._parts:
            self._parts.move_to_end(part)
            return
        names = self._names_of(part)
        if not names:
            self._names = None  # sealed since, perhaps
            names = self._names_of(part)
        if not names:
            raise DataError(f"{self.folder}: no posteriors of part {part}; label its manifest")
        self._parts[part] = self._store.of_shards(part, names)
        if len(self._parts) > self._open_parts:
            self._parts.popitem(last=False)

    def __contains__(self, cut_id: str) -> bool:
        return any(cut_id in store for store in self._parts.values())

    def has_all(self, cut_id: str) -> bool:
        """See `PosteriorStore.has_all`."""
        return any(store.has_all(cut_id) for store in self._parts.values())

    def packed(self, cut_id: str) -> torch.Tensor:
        """See `PosteriorStore.packed`."""
        return self._part_with(cut_id).packed(cut_id)

    def summary(self, cut_id: str) -> Summary:
        """See `PosteriorStore.summary`."""
        return self._part_with(cut_id).summary(cut_id)

    def _part_with(self, cut_id: str) -> PosteriorStore:
        for store in reversed(self._parts.values()):
            if cut_id in store:
                return store
        raise DataError(f"{self.folder}: no posteriors of cut {cut_id} in parts {', '.join(self._parts)}; label it")

    def _names_of(self, part: str) -> list[str]:
        """In the order of sealing, which is that of the names of one part."""
        if self._names is None:
            # By name alone: keys to sort by time would take more memory than the names.
            self._names = sorted(filter(is_shard, self._store.shard_folder.names()))
        ends = [bisect.bisect_left(self._names, part + end) for end in (".", "/")]  # "/" comes right behind "."
        return self._names[slice(*ends)]
