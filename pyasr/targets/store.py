"""The posterior store: the k highest posteriors of each frame of many cuts, in a folder or on object storage.

    store.json              {"format", "num_senones", "k", "quantisation", "metadata", "digest" of these}
    shards/NAME.shard       written once, whole or not at all, see `pyasr.targets.shard`

FORMAT.md has every byte. Any number of processes may write at once, each into shards of its own. What is sealed stays:
a labelling that was killed goes on with what is `missing`, and loses what its writers had not sealed, at most
`max_bytes` each. Of a cut that two writers put at the same time, the one that was sealed first counts.

A shard belongs to a part, which its name begins with. Who reads a store of a million hours opens it a part at a time:
the ids of that part's cuts are then all that is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from pyasr.base.artifact import digest, plain
from pyasr.base.errors import DataError
from pyasr.ops.topk import packed_row_bytes, unpack_topk
from pyasr.targets.block import BlockCoder
from pyasr.targets.files import LocalFolder, RemoteFolder, open_folder
from pyasr.targets.index import Summary
from pyasr.targets.shard import Shard, check_part, shard_names
from pyasr.targets.writer import StoreWriter

MAX_SHARD_BYTES = 256 << 20
"""Where a writer begins a new shard: some ten million frames at k = 20, 80 hours of speech at 30 ms."""

FORMAT = 1
QUANTISATION = "ratio8"
"""Of csrc/posterior/format.h: neighbours' ratios and the tail in 8 bits each."""

MANIFEST = "store.json"
DEFAULT_PART = "cuts"


class PosteriorStore:
    """Made by `create` or `open`, never by hand.

    folder: a Path, or the URL of an fsspec file system; num_senones; k; row_bytes, of a packed row; metadata: what
    `create` was given; part: that whose shards are seen, None for all.
    Opening reads store.json alone; the indices of the shards are read when they are first needed, and what was sealed
    later by others is seen after `refresh`. A store may be read by many threads, and be passed to other processes,
    by fork or pickled: it carries its place, and files are opened where they are read.
    """

    def __init__(self, root: LocalFolder | RemoteFolder, content: dict[str, Any], part: str | None) -> None:
        self._root, self._content = root, content
        self.folder, self.part = root.location, part
        self.num_senones, self.k, self.metadata = content["num_senones"], content["k"], content["metadata"]
        self.row_bytes = packed_row_bytes(self.k, self.num_senones)
        self.fingerprint: str = content["digest"]
        self.coder = BlockCoder(self.k, self.num_senones)
        self.shard_folder = root.child("shards")
        self._shards: dict[str, Shard] | None = None  # None: not read yet
        self._places: dict[str, tuple[Shard, int]] = {}

    @classmethod
    def create(cls, folder: str | Path, num_senones: int, k: int = 20, **metadata: Any) -> PosteriorStore:
        """An empty store, or the one that a killed run made with the same arguments, to go on with.

        metadata: what JSON can hold: whose posteriors these are; by convention `teacher` and `senones`, fingerprints
        of the network and of the senone set. ValueError for a k or number of senones that cannot be; DataError when
        the folder has a store with other arguments, or shards without store.json, or cannot be written.
        """
        packed_row_bytes(k, num_senones)  # raises for sizes that cannot be
        try:
            metadata = json.loads(json.dumps(plain(metadata), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise DataError(f"{folder}: metadata must be what JSON can hold: {error}") from error
        wanted = {
            "format": FORMAT,
            "num_senones": num_senones,
            "k": k,
            "quantisation": QUANTISATION,
            "metadata": metadata,
        }
        root = open_folder(folder)
        if root.exists(MANIFEST):
            found = _read_manifest(root)
            for key in wanted:
                if found[key] != wanted[key]:
                    raise DataError(
                        f"{folder}: holds a posterior store whose {key} is {found[key]}, not {wanted[key]};"
                        " delete the folder or choose another"
                    )
            return cls(root, found, None)
        shards = root.child("shards")
        if shards.exists() and shard_names(shards):
            raise DataError(f"{folder}: holds shards but no store.json; delete the folder or choose another")
        shards.make()
        content = {**wanted, "digest": digest(wanted)}
        root.write_bytes(MANIFEST, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
        return cls(root, content, None)

    @classmethod
    def open(cls, folder: str | Path, part: str | None = None) -> PosteriorStore:
        """The store in a folder, or a part of it. DataError when store.json is missing, damaged, of another format."""
        root = open_folder(folder)
        return cls(root, _read_manifest(root), None if part is None else check_part(part))

    def __reduce__(self) -> tuple[Any, ...]:
        return PosteriorStore.open, (self.folder, self.part)

    def __repr__(self) -> str:
        part = "" if self.part is None else f", part={self.part!r}"
        return f"PosteriorStore({str(self.folder)!r}, num_senones={self.num_senones}, k={self.k}{part})"

    def refresh(self) -> None:
        """See what others have sealed, or deleted, since. DataError names a shard with a damaged index."""
        self._look_at(self.shard_names())

    def of_shards(self, part: str, names: Iterable[str]) -> PosteriorStore:
        """The same store, as if it had these shards alone: for who keeps a list of many thousands of names himself."""
        store = PosteriorStore(self._root, self._content, check_part(part))
        store._look_at(names)
        return store

    def _look_at(self, names: Iterable[str]) -> None:
        names, known = list(names), self._shards or {}
        if not known.keys() <= set(names):
            self.shard_folder.forget()
        self._shards = {name: known[name] if name in known else self.shard(name) for name in names}
        # The first to be sealed counts, but for those that have lost blocks, which count when there is no other.
        places: dict[str, tuple[Shard, int]] = {}
        shards = self._shards.values()
        for shard in shards:
            incomplete = shard.index.incomplete
            for number, cut_id in enumerate(shard.index.cut_ids):
                if number not in incomplete:
                    places.setdefault(cut_id, (shard, number))
        for shard in shards:
            for number in sorted(shard.index.incomplete):
                places.setdefault(shard.index.cut_ids[number], (shard, number))
        self._places = places

    def shard(self, name: str) -> Shard:
        """One of the files in shards/, opened. DataError when it is damaged or another store's."""
        return Shard(self.shard_folder, name, self.fingerprint, self.coder)

    def shard_names(self) -> list[str]:
        """Sealed by now, in the order of sealing."""
        return shard_names(self.shard_folder, self.part)

    def parts(self) -> dict[str, list[str]]:
        """The `shard_names` by part: for who goes through all of a store with the cuts of one part in memory."""
        parts: dict[str, list[str]] = {}
        for name in self.shard_names():
            parts.setdefault(name.split(".")[0], []).append(name)
        return parts

    def _index(self) -> dict[str, tuple[Shard, int]]:
        if self._shards is None:
            self.refresh()
        return self._places

    def _place(self, cut_id: str) -> tuple[Shard, int]:
        place = self._index().get(cut_id)
        if place is None:
            self.refresh()
            place = self._places.get(cut_id)
        if place is None:
            raise DataError(f"{self.folder}: no posteriors of cut {cut_id}; label it")
        return place

    def __len__(self) -> int:
        return len(self._index())

    def __iter__(self) -> Iterator[str]:
        """Ids of the cuts, sorted: whoever wrote them, and when."""
        return iter(sorted(self._index()))

    def __contains__(self, cut_id: object) -> bool:
        return cut_id in self._index()

    def missing(self, cut_ids: Iterable[str]) -> list[str]:
        """Those that are not sealed by now, or have lost blocks to a repair, in their order: what is left to label."""
        self.refresh()
        return [cut_id for cut_id in cut_ids if not self.has_all(cut_id)]

    def has_all(self, cut_id: str) -> bool:
        """Whether a cut is stored, and has lost no blocks to a repair; sealed when the store last looked."""
        place = self._index().get(cut_id)
        return place is not None and place[1] not in place[0].index.incomplete

    def num_rows(self, cut_id: str) -> int:
        """Frames stored of a cut. DataError when it is not there."""
        shard, number = self._place(cut_id)
        return int(shard.index.rows[number])

    def summary(self, cut_id: str) -> Summary:
        """How sure the teacher was of a cut. DataError when it is not there."""
        shard, number = self._place(cut_id)
        return Summary(*shard.index.summaries[number].tolist())

    def packed(self, cut_id: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows as `pyasr.ops.pack_topk` made them: uint8 (stop - start, row_bytes).

        Only the blocks of 256 frames that hold the range are read, and their checksums are verified. DataError names
        the cut that is not there, a range that is not within it, and store, shard, cut and frames of damage.
        """
        shard, number = self._place(cut_id)
        num_rows = int(shard.index.rows[number])
        stop = num_rows if stop is None else stop
        if not 0 <= start <= stop <= num_rows:
            raise DataError(f"{self.folder}: cut {cut_id} has {num_rows} frames, {start}..{stop} is not in it")
        return torch.from_numpy(shard.rows(number, start, stop))

    def frames(self, cut_id: str, start: int = 0, stop: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Senone ids int32 (T, k) and log-probabilities float32 (T, k), natural log, descending, T = stop - start;
        see `pyasr.ops.unpack_topk`. Errors as in `packed`."""
        return unpack_topk(self.packed(cut_id, start, stop), self.k, self.num_senones)

    def writer(self, max_bytes: int = MAX_SHARD_BYTES, part: str | None = None) -> StoreWriter:
        """A context manager to put cuts into the store; a shard is sealed when it has grown to `max_bytes`.

        part: whose shards these are; that of the store, or "cuts", unless given.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}")
        return StoreWriter(self, max_bytes, check_part(part or self.part or DEFAULT_PART))


def _read_manifest(root: LocalFolder | RemoteFolder) -> dict[str, Any]:
    path = f"{root.location}/{MANIFEST}"
    if not root.exists(MANIFEST):
        raise DataError(f"{path}: missing; run the stage that writes it")
    try:
        content = json.loads(root.read(MANIFEST, 0, root.size(MANIFEST)))
        if content.get("format") != FORMAT:
            raise ValueError(f"format {content.get('format')}, this is for format {FORMAT}")
        if digest({key: value for key, value in content.items() if key != "digest"}) != content["digest"]:
            raise ValueError("it does not match its digest")
        if content["quantisation"] != QUANTISATION:
            raise ValueError(f"quantisation {content['quantisation']}, this is for {QUANTISATION}")
        packed_row_bytes(content["k"], content["num_senones"])
        return content
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not a posterior store, or damaged ({error!r}); delete the store and label again"
        ) from error

