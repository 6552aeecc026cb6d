"""The posterior store: the k highest posteriors of each frame of many cuts, in a folder.

    store.json              {"version", "num_senones", "k", "metadata", "digest" of these}
    shards/NUMBER.shard     written once, whole or not at all, see `pyasr.targets.shard`
    .lock                   writers take turns with it to give a finished shard its number

Any number of processes may write at once, each into shards of its own. What is sealed stays: a labelling that was
killed goes on with what is `missing`, and loses what its writers had not sealed, at most `max_bytes` each. Of a cut
that two writers put at the same time, the one that was sealed first counts.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyasr.base.artifact import digest, plain, read_json, write_json
from pyasr.base.errors import DataError
from pyasr.ops.topk import packed_row_bytes, unpack_topk
from pyasr.targets.shard import (
    ShardEntry,
    ShardWriter,
    read_index,
    read_rows,
    remove_dead_temporaries,
    shard_names,
)

MAX_SHARD_BYTES = 64 << 20
"""Where a writer begins a new shard: 1.3 million frames at 50 bytes, 11 hours of speech at 30 ms."""

_VERSION = 1
_OPEN_FILES = 16


class PosteriorStore:
    """Made by `create` or `open`, never by hand.

    folder; num_senones; k; row_bytes; metadata: what `create` was given.
    Opening reads store.json alone; the indices of the shards are read when they are first needed, and what was sealed
    later by others is seen after `refresh`. A store may be read by many threads, and be passed to other processes,
    by fork or pickled: it carries its path, and files are opened where they are read.
    """

    def __init__(self, folder: Path, num_senones: int, k: int, metadata: dict[str, Any], fingerprint: str) -> None:
        self.folder, self.num_senones, self.k, self.metadata = folder, num_senones, k, metadata
        self.row_bytes = packed_row_bytes(k, num_senones)
        self._fingerprint = fingerprint
        self._shards: dict[str, dict[str, ShardEntry]] | None = None  # None: not read yet
        self._entries: dict[str, ShardEntry] = {}
        self._file = functools.lru_cache(_OPEN_FILES)(functools.partial(_open_shard, self._shard_folder))

    @classmethod
    def create(cls, folder: str | Path, num_senones: int, k: int = 20, **metadata: Any) -> PosteriorStore:
        """An empty store, or the one that a killed run made with the same arguments, to go on with.

        metadata: what JSON can hold: whose posteriors these are. ValueError for a k or number of senones that cannot
        be; DataError when the folder has a store with other arguments, or shards without store.json, or cannot be
        written.
        """
        folder = Path(folder)
        packed_row_bytes(k, num_senones)  # raises for sizes that cannot be
        try:
            metadata = json.loads(json.dumps(plain(metadata), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise DataError(f"{folder}: metadata must be what JSON can hold: {error}") from error
        wanted = {"version": _VERSION, "num_senones": num_senones, "k": k, "metadata": metadata}
        if (folder / "store.json").exists():
            store = cls.open(folder)
            found = {"version": _VERSION, "num_senones": store.num_senones, "k": store.k, "metadata": store.metadata}
            for key in wanted:
                if found[key] != wanted[key]:
                    raise DataError(
                        f"{folder}: holds a posterior store whose {key} is {found[key]}, not {wanted[key]};"
                        " delete the folder or choose another"
                    )
            return store
        shards = folder / "shards"
        if shards.is_dir() and shard_names(shards):
            raise DataError(f"{folder}: holds shards but no store.json; delete the folder or choose another")
        try:
            shards.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot write {folder}: {error.strerror}; choose another folder") from error
        write_json(folder / "store.json", {**wanted, "digest": digest(wanted)})
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> PosteriorStore:
        """The store in a folder. DataError when store.json is missing, damaged or of another version."""
        path = Path(folder) / "store.json"
        content = read_json(path)
        try:
            found = content.pop("digest")
            if content["version"] != _VERSION:
                raise ValueError(f"version {content['version']}, this is for version {_VERSION}")
            if digest(content) != found:
                raise ValueError("it does not match its digest")
            return cls(Path(folder), content["num_senones"], content["k"], content["metadata"], found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not a posterior store, or damaged ({error!r}); label again") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return PosteriorStore.open, (self.folder,)

    def __repr__(self) -> str:
        return f"PosteriorStore({str(self.folder)!r}, num_senones={self.num_senones}, k={self.k})"

    @property
    def _shard_folder(self) -> Path:
        return self.folder / "shards"

    def refresh(self) -> None:
        """See what others have sealed, or deleted, since. DataError names a shard with a damaged index."""
        names, known = shard_names(self._shard_folder), self._shards or {}
        fresh = {
            name: read_index(self._shard_folder, name, self._fingerprint, self.row_bytes)
            for name in names
            if name not in known
        }
        if len(known) + len(fresh) > len(names):
            self._file.cache_clear()
        self._shards = {name: fresh[name] if name in fresh else known[name] for name in names}
        entries: dict[str, ShardEntry] = {}
        for of_shard in self._shards.values():
            for cut_id, entry in of_shard.items():
                entries.setdefault(cut_id, entry)
        self._entries = entries

    def _index(self) -> dict[str, ShardEntry]:
        if self._shards is None:
            self.refresh()
        return self._entries

    def _entry(self, cut_id: str) -> ShardEntry:
        entry = self._index().get(cut_id)
        if entry is None:
            self.refresh()
            entry = self._entries.get(cut_id)
        if entry is None:
            raise DataError(f"{self.folder}: no posteriors of cut {cut_id}; label it")
        return entry

    def __len__(self) -> int:
        return len(self._index())

    def __iter__(self) -> Iterator[str]:
        """Ids of the cuts, sorted: whoever wrote them, and when."""
        return iter(sorted(self._index()))

    def __contains__(self, cut_id: object) -> bool:
        return cut_id in self._index()

    def missing(self, cut_ids: Iterable[str]) -> list[str]:
        """Those that are not sealed by now, in their order: what is left to label."""
        self.refresh()
        return [cut_id for cut_id in cut_ids if cut_id not in self._entries]

    def num_rows(self, cut_id: str) -> int:
        """Frames stored of a cut. DataError when it is not there."""
        return self._entry(cut_id).num_rows

    def packed(self, cut_id: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows as `pyasr.ops.pack_topk` made them: uint8 (stop - start, row_bytes).

        Only the blocks of 256 frames that hold the range are read, and their checksums are verified. DataError names
        the cut that is not there, a range that is not within it, and store, shard, cut and frames of damage.
        """
        entry = self._entry(cut_id)
        stop = entry.num_rows if stop is None else stop
        if not 0 <= start <= stop <= entry.num_rows:
            raise DataError(f"{self.folder}: cut {cut_id} has {entry.num_rows} frames, {start}..{stop} is not in it")
        file, what = self._file(entry.shard), f"{self._shard_folder / entry.shard}: cut {cut_id}"
        return torch.from_numpy(read_rows(file, entry, self.row_bytes, start, stop, what))

    def frames(self, cut_id: str, start: int = 0, stop: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Senone ids int32 (T, k) and log-probabilities float32 (T, k), natural log, descending, T = stop - start;
        see `pyasr.ops.unpack_topk`. Errors as in `packed`."""
        return unpack_topk(self.packed(cut_id, start, stop), self.k, self.num_senones)

    def verify(self) -> int:
        """Read everything and check all checksums; return the number of frames. DataError as in `packed`."""
        self.refresh()
        return sum(len(self.packed(cut_id)) for cut_id in self)

    def writer(self, max_bytes: int = MAX_SHARD_BYTES) -> StoreWriter:
        """A context manager to put cuts into the store; a shard is sealed when it has grown to `max_bytes`."""
        if max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}")
        return StoreWriter(self, max_bytes)


class StoreWriter:
    """Made by `PosteriorStore.writer`; used by one thread of one process, in a `with` block.

    What was put is sealed, and seen by readers, at the end of the block; when an error ends it, too, for each cut is
    whole; and whenever `max_bytes` are reached. Entering removes what killed writers left.
    """

    def __init__(self, store: PosteriorStore, max_bytes: int) -> None:
        self._store, self._max_bytes = store, max_bytes
        self._put: set[str] = set()
        self._shard: ShardWriter | None = None
        self._entered = False

    def __enter__(self) -> StoreWriter:
        remove_dead_temporaries(self._store._shard_folder)
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
        if not isinstance(cut_id, str) or not cut_id:
            raise DataError(f"{store.folder}: cut id {cut_id!r} is not a name")
        if cut_id in self._put or cut_id in store:
            raise DataError(f"{store.folder}: cut {cut_id} is stored already; put what `missing` returns")
        rows = torch.from_numpy(packed) if isinstance(packed, np.ndarray) else packed
        try:
            unpack_topk(rows, store.k, store.num_senones)
        except (DataError, TypeError, ValueError) as error:
            raise DataError(
                f"{store.folder}: cut {cut_id} does not fit a store of k = {store.k} and {store.num_senones} senones:"
                f" {error}"
            ) from error
        if self._shard is None:
            self._shard = ShardWriter(store._shard_folder, store._fingerprint, store.row_bytes)
        try:
            self._shard.put(cut_id, rows.contiguous().numpy())
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
            self._shard.seal(self._store.folder / ".lock")
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


def _open_shard(folder: Path, shard: str) -> io.FileIO:
    path = folder / shard
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); label again") from error
