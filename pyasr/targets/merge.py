"""Stores joined without writing anything again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyasr.base.errors import DataError
from pyasr.base.progress import track
from pyasr.targets.store import PosteriorStore


def merge_stores(into: str | Path, sources: Sequence[str | Path]) -> PosteriorStore:
    """Take the shards of `sources` over into a store that is made, or goes on, in the folder `into`.

    All must agree in senones, k, quantisation and metadata. Files are linked where they can be, copied elsewhere, and
    never opened; those that are there already are left, so that an interrupted merge goes on. Returns the store.
    """
    opened = [PosteriorStore.open(source) for source in sources]
    first = opened[0]
    for store in opened:
        if store.fingerprint != first.fingerprint:
            raise DataError(
                f"{store.folder} and {first.folder} hold posteriors of different kinds: {_kind(store)}"
                f" and {_kind(first)}"
            )
    target = PosteriorStore.create(into, first.num_senones, first.k, **first.metadata)
    there = set(target.shard_names())
    for store in opened:
        for name in track(store.shard_names(), f"merging {store.folder}", unit="shard"):
            if name not in there:
                target.shard_folder.copy(store.shard_folder, name)
                there.add(name)
    return target


def _kind(store: PosteriorStore) -> str:
    return f"k = {store.k}, {store.num_senones} senones, {store.metadata}"
