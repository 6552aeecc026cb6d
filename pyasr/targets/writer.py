"""Putting cuts into a posterior store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pyasr.base.errors import DataError
from pyasr.ops.topk import summarise_topk
from pyasr.targets.index import Summary
from pyasr.targets.shard import ShardWriter, new_name

if TYPE_CHECKING:
    from pyasr.targets.store import PosteriorStore


class StoreWriter:
    """Made by `PosteriorStore.writer`; used by one thread of one process, in a `with` block.

    What was put is sealed, and seen by readers, at the end of the block; when an error ends it, too, for each cut is
    whole; and whenever `max_bytes` are reached. Entering removes what killed writers left.
    """

    def __init__(self, store: PosteriorStore, max_bytes: int, part: str) -> None:
        self._store, self._max_bytes, self._part = store, max_bytes, part
        self._put: set[str] = set()
        self._shard: ShardWriter | None = None
        self._entered = False

    def __enter__(self) -> StoreWriter:
        self._store.shard_folder.remove_dead_temporaries()
        self._store.refresh()
        self._entered = True
        return self

    def put(self, cut_id: str, packed: torch.Tensor | np.ndarray) -> None:
        """Add a cut. packed: uint8 (T, row_bytes) of `pyasr.ops.pack_topk` with the k and senones of the store.

        DataError names the cut whose rows do not fit the store, or that is there already (in this writer, or sealed
        when the writer last looked: at its begin and at each shard); and when the disk is full.
        """
        if not self._entered:
            raise RuntimeError("put outside of the writer's with block")
        store = self._store
        if not isinstance(cut_id, str) or not 0 < len(cut_id) < 10000:
            raise DataError(f"{store.folder}: cut id {cut_id!r} is not a name")
        if cut_id in self._put or store.has_all(cut_id):
            raise DataError(f"{store.folder}: cut {cut_id} is stored already; put what `missing` returns")
        rows = torch.from_numpy(packed) if isinstance(packed, np.ndarray) else packed
        try:
            summary = Summary(*summarise_topk(rows, store.k, store.num_senones))
        except (DataError, TypeError, ValueError) as error:
            raise DataError(
                f"{store.folder}: cut {cut_id} does not fit a store of k = {store.k} and {store.num_senones} senones:"
                f" {error}"
            ) from error
        if self._shard is None:
            self._shard = ShardWriter(store.shard_folder, store.fingerprint, store.coder)
        try:
            self._shard.put(cut_id, rows.contiguous().numpy(), summary)
        except BaseException:  # an interrupt in the middle, too: what was written does not fit the index any more
            self._discard()
            raise
        self._put.add(cut_id)
        if self._shard.num_bytes >= self._max_bytes:
            self._seal()

    def _seal(self) -> None:
        if self._shard is None:
            return
        try:
            self._shard.seal(new_name(self._part))
        except BaseException:
            self._discard()
            raise
        self._shard = None
        self._store.refresh()

    def _discard(self) -> None:
        self._shard.discard()
        self._shard = None
        self._entered = False

    def __exit__(self, *_: object) -> None:
        self._seal()
        self._entered = False
