"""The posterior store: the k best posteriors of every frame of many cuts, in a folder.

    store.json         {"version", "num_senones", "k", "metadata"}
    shards/NAME.shard  written once, whole or not at all, by one writer (see `pyasr.targets.shard`)

Many writers may write at once: each makes shards of its own. What is sealed stays, so a labelling that was
killed goes on with what is `missing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from pyasr.base.artifact import TEMPORARY, read_json, write_json
from pyasr.base.errors import DataError
from pyasr.ops import unpack_topk
from pyasr.ops.topk import packed_row_bytes
from pyasr.targets.shard import ShardEntry, ShardWriter, read_index, read_rows

_VERSION = 0  # the layout of shards is still to change; stores of other versions are refused
_MAX_SHARD_BYTES = 256 << 20


class PosteriorStore:
    """Opened by `create` or `open`. Pickling carries the path alone: a worker opens the store for itself."""

    def __init__(self, folder: Path, num_senones: int, k: int, metadata: dict[str, Any]) -> None:
        self.folder, self.num_senones, self.k, self.metadata = folder, num_senones, k, metadata
        self.row_bytes = packed_row_bytes(k, num_senones)
        self._entries = self._read_indices()

    @classmethod
    def create(cls, folder: str | Path, num_senones: int, k: int = 20, **metadata: Any) -> PosteriorStore:
        """A new, empty store. metadata: anything that JSON can hold. DataError when there is a store already."""
        folder = Path(folder)
        if (folder / "store.json").exists():
            raise DataError(f"{folder}: there is a posterior store already; open it, or delete the folder")
        packed_row_bytes(k, num_senones)
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        description = {"version": _VERSION, "num_senones": num_senones, "k": k, "metadata": metadata}
        write_json(folder / "store.json", description)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> PosteriorStore:
        """A store on disk, with what was sealed until now; DataError names what is missing or damaged."""
        folder = Path(folder)
        values = read_json(folder / "store.json")
        try:
            if values["version"] != _VERSION:
                raise ValueError(f"version {values['version']}, expected {_VERSION}")
            return cls(folder, int(values["num_senones"]), int(values["k"]), dict(values["metadata"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder}/store.json: not a posterior store ({error}); label again") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return PosteriorStore.open, (self.folder,)

    def _read_indices(self) -> dict[str, ShardEntry]:
        entries: dict[str, ShardEntry] = {}
        for path in sorted((self.folder / "shards").glob("*.shard")):
            if path.name.startswith(TEMPORARY):
                continue  # a writer is at it, or was killed
            for entry in read_index(path, self.row_bytes):
                entries.setdefault(entry.cut_id, entry)  # two writers made the same cut: either will do
        return entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, cut_id: object) -> bool:
        return cut_id in self._entries

    def missing(self, cut_ids: Iterable[str]) -> list[str]:
        """Those of `cut_ids` that the store lacks, in their order."""
        return [cut_id for cut_id in cut_ids if cut_id not in self._entries]

    def num_rows(self, cut_id: str) -> int:
        """Rows stored of a cut."""
        return self._entry(cut_id).num_rows

    def packed(self, cut_id: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows start..stop of a cut as they are stored: uint8 (T, row_bytes), see `pyasr.ops.pack_topk`.

        DataError names the cut when it is not there, the range when it is not within it, and the shard and the
        rows when they are damaged. Of the shard only the blocks that hold the range are read.
        """
        entry = self._entry(cut_id)
        stop = entry.num_rows if stop is None else stop
        if not 0 <= start <= stop <= entry.num_rows:
            raise DataError(f"{self.folder}: {cut_id} has {entry.num_rows} rows, not {start}..{stop}")
        return torch.from_numpy(read_rows(entry, self.row_bytes, start, stop))

    def frames(self, cut_id: str, start: int = 0, stop: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """ids int32 (T, k) and log-probabilities float32 (T, k) of rows start..stop; errors as `packed`."""
        try:
            return unpack_topk(self.packed(cut_id, start, stop), self.k, self.num_senones)
        except ValueError as error:
            raise DataError(f"{self.folder}: {cut_id}: damaged rows ({error}); label it again") from error

    def _entry(self, cut_id: str) -> ShardEntry:
        try:
            return self._entries[cut_id]
        except KeyError:
            raise DataError(f"{self.folder}: no posteriors of {cut_id}; label it (stage label)") from None

    def writer(self, max_shard_bytes: int = _MAX_SHARD_BYTES) -> StoreWriter:
        """A context manager with `put`; what was put is sealed when it is left without an error, or when a shard
        has grown to `max_shard_bytes`."""
        return StoreWriter(self, max_shard_bytes)


class StoreWriter:
    """Writes the shards of one process, see `PosteriorStore.writer`."""

    def __init__(self, store: PosteriorStore, max_shard_bytes: int) -> None:
        self._store, self._max_shard_bytes = store, max_shard_bytes
        self._put: set[str] = set()
        self._shard: ShardWriter | None = None

    def __enter__(self) -> StoreWriter:
        return self

    def put(self, cut_id: str, packed: torch.Tensor) -> None:
        """Add a cut: uint8 (T, row_bytes) of `pyasr.ops.pack_topk`. DataError for another shape, for a cut that is
        there already, and when the disk is full."""
        if packed.dtype != torch.uint8 or packed.ndim != 2 or packed.shape[1] != self._store.row_bytes:
            raise DataError(
                f"{cut_id}: packed posteriors {packed.dtype} {tuple(packed.shape)}; this store has rows of"
                f" {self._store.row_bytes} bytes (k {self._store.k}, {self._store.num_senones} senones)"
            )
        if cut_id in self._put or cut_id in self._store:
            raise DataError(f"{self._store.folder}: {cut_id} is stored already")
        if self._shard is None:
            self._shard = ShardWriter(self._store.folder / "shards", self._store.row_bytes)
        self._shard.put(cut_id, packed.contiguous().numpy())
        self._put.add(cut_id)
        if self._shard.num_bytes >= self._max_shard_bytes:
            self._seal()

    def _seal(self) -> None:
        if self._shard is not None:
            path, self._shard = self._shard.seal(), None
            for entry in read_index(path, self._store.row_bytes):
                self._store._entries.setdefault(entry.cut_id, entry)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self._seal()
        elif self._shard is not None:
            self._shard.discard()
            self._shard = None
