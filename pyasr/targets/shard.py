"""One file of the posterior store: cuts one after the other, and an index at the end. FORMAT.md has the layout.

A checksum covers every byte, so a flipped bit is found wherever it is, and where it is can be said.
"""

from __future__ import annotations

import datetime
import re
import struct
import uuid
import zlib
from collections.abc import Sequence

import numpy as np

from pyasr.base.errors import DataError
from pyasr.targets.block import BLOCK_ROWS, BlockCoder
from pyasr.targets.files import LocalFolder, RemoteFolder
from pyasr.targets.index import CutEntry, ShardIndex, Summary

MAGIC = b"pyasrPF1"
BEGIN = len(MAGIC) + 32
"""Where the first cut stands: behind the magic and the store's fingerprint."""
TRAILER = struct.Struct("<IQ32s8s")
_SUFFIX = ".shard"
_TAIL_BYTES = 1 << 16  # read at once: trailer and, of most shards, the index
_PART = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")


class ShardWriter:
    """A new shard in `folder`, which nobody reads until it is sealed. fingerprint: 64 hexadecimal digits."""

    def __init__(self, folder: LocalFolder | RemoteFolder, fingerprint: str, coder: BlockCoder) -> None:
        self._fingerprint, self._coder = bytes.fromhex(fingerprint), coder
        self._entries: list[CutEntry] = []
        self._file = folder.create()
        self.num_bytes = 0
        try:
            self._write(MAGIC + self._fingerprint)
        except BaseException:
            self.discard()
            raise

    def put(self, cut_id: str, rows: np.ndarray, summary: Summary) -> None:
        """rows: uint8 (T, row_bytes). DataError when they cannot be written; discard the shard then."""
        blocks = [self._coder.compress(rows[begin : begin + BLOCK_ROWS]) for begin in range(0, len(rows), BLOCK_ROWS)]
        sizes, checksums = tuple(map(len, blocks)), tuple(map(zlib.crc32, blocks))
        self.put_blocks(CutEntry(cut_id, len(rows), summary, sizes, checksums), blocks)

    def put_blocks(self, entry: CutEntry, blocks: Sequence[bytes]) -> None:
        """blocks: compressed already; nothing for those that the entry says are dropped."""
        self._write(b"".join([entry.header, *blocks]))
        self._entries.append(entry)

    def seal(self, name: str) -> None:
        """Write the index and give the shard its name."""
        index = ShardIndex.of(self._entries, BEGIN).pack()
        self._write(index + _trailer(index, self._fingerprint))
        self._file.seal(name)

    def discard(self) -> None:
        """Remove what was written."""
        self._file.discard()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.num_bytes += len(data)


def _trailer(index: bytes, fingerprint: bytes) -> bytes:
    rest = TRAILER.pack(0, len(index), fingerprint, MAGIC)[4:]
    return TRAILER.pack(zlib.crc32(rest, zlib.crc32(index)), len(index), fingerprint, MAGIC)


def new_name(part: str) -> str:
    """A name that no other shard has; names of a part sort by the time of sealing."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{part}.{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}{_SUFFIX}"


def repaired_name(name: str) -> str:
    """A new name in the place of an old one among the names of a part."""
    return f"{name.rsplit('-', 1)[0]}-{uuid.uuid4().hex[:8]}{_SUFFIX}"


def check_part(part: str) -> str:
    if not _PART.match(part):
        raise ValueError(f"part {part!r}: 1 to 100 of A-Z, a-z, 0-9, _ and - make the name of a part")
    return part


def is_shard(name: str) -> bool:
    """Whether a file in shards/ is a sealed shard, by its name."""
    return name.endswith(_SUFFIX) and name.count(".") == 2


def shard_names(folder: LocalFolder | RemoteFolder, part: str | None = None) -> list[str]:
    """Names of the sealed shards, of one part if given, in the order of sealing. DataError when there is no folder."""
    names = list(filter(is_shard, folder.names()))
    if part is not None:
        names = [name for name in names if name.split(".")[0] == part]
    return sorted(names, key=lambda name: (name.split(".")[1], name))


class Shard:
    """A sealed shard. Opening reads its index; DataError names it when it is cut short, damaged or another store's."""

    def __init__(self, folder: LocalFolder | RemoteFolder, name: str, fingerprint: str, coder: BlockCoder) -> None:
        self._folder, self.name, self._coder = folder, name, coder
        self.what = f"{folder.location}/{name}"
        self.num_bytes = folder.size(name)
        try:
            self.index = self._read_index(fingerprint)
        except (ValueError, UnicodeDecodeError) as error:
            raise DataError(
                f"{self.what}: damaged shard: {error}; `python -m pyasr.targets repair` saves what can be saved of it"
            ) from error

    def _read_index(self, fingerprint: str) -> ShardIndex:
        tail = self._folder.read(self.name, max(0, self.num_bytes - _TAIL_BYTES), _TAIL_BYTES)
        if self.num_bytes < BEGIN + TRAILER.size or len(tail) < TRAILER.size:
            raise ValueError("cut short")
        _, length, owner, magic = TRAILER.unpack(tail[-TRAILER.size :])
        begin = self.num_bytes - TRAILER.size - length
        if magic != MAGIC or begin < BEGIN:
            raise ValueError("cut short, or its end is overwritten")
        missing = length + TRAILER.size - len(tail)
        if missing > 0:
            tail = self._folder.read(self.name, begin, missing) + tail
        index = tail[-TRAILER.size - length : -TRAILER.size]
        if _trailer(index, owner) != tail[-TRAILER.size :]:
            raise ValueError("its index does not match the checksum")
        if owner.hex() != fingerprint:
            raise ValueError("it belongs to another store")
        columns = ShardIndex.unpack(index, BEGIN)
        if columns.end != begin:
            raise ValueError(f"its cuts should end at byte {columns.end}, not {begin}")
        return columns

    def rows(self, number: int, start: int, stop: int) -> np.ndarray:
        """Rows start..stop of a cut, uint8 (stop - start, row_bytes); only the blocks that hold them are read.

        DataError names the cut, and the first and last row of a block that is damaged or missing.
        """
        entry = self.index.entry(number)
        low, high = start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)
        if start == stop:
            return np.empty((0, self._coder.row_bytes), np.uint8)
        begin = int(self.index.offsets[number]) + len(entry.header) + sum(entry.sizes[:low])
        data = self._folder.read(self.name, begin, sum(entry.sizes[low:high]))
        rows = np.empty((stop - low * BLOCK_ROWS, self._coder.row_bytes), np.uint8)
        self._decode(entry, data, low, rows)
        return rows[start - low * BLOCK_ROWS :]

    def _decode(self, entry: CutEntry, data: bytes, low: int, out: np.ndarray) -> None:
        """The blocks from number `low` on, side by side in data, into out: the rows from low * 256 on."""
        view, position = memoryview(data), 0
        for number, first in enumerate(range(0, len(out), BLOCK_ROWS), low):
            size, num_rows = entry.sizes[number], min(BLOCK_ROWS, entry.num_rows - number * BLOCK_ROWS)
            block, position = view[position : position + size], position + size
            begin = number * BLOCK_ROWS
            frames = f"{self.what}: cut {entry.cut_id}, frames {begin}..{begin + num_rows - 1}"
            if not size:
                raise DataError(f"{frames}: dropped by a repair; label again")
            if zlib.crc32(block) != entry.checksums[number]:
                raise DataError(
                    f"{frames}: {'cut short' if len(block) < size else 'damaged (checksum)'};"
                    " `python -m pyasr.targets repair` drops it and lists what to label again"
                )
            try:
                self._coder.decompress(block, num_rows, out[first : first + BLOCK_ROWS])
            except DataError as error:
                raise DataError(f"{frames}: {error}; its checksum is right, so it was written so") from error
