"""One file of the posterior store: the rows of many cuts, a checksum for every 256 of them, an index at the end.

    magic      8 bytes
    rows       one cut after the other, row_bytes each
    index      JSON {"store": fingerprint, "cuts": [[cut_id, num_rows, [CRC-32 of each block of 256 rows]], ...]}
    trailer    CRC-32 of index, length and magic (4 bytes), length of the index (8), magic (8); little-endian

A checksum covers every byte, so a flipped bit is found wherever it is, and where it is can be said. A shard is written
under a temporary name that its writer holds locked, and gets its own when it is whole and on the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyasr.base.artifact import TEMPORARY
from pyasr.base.errors import DataError

BLOCK_ROWS = 256
_MAGIC = b"pyasrPS1"
_TRAILER = struct.Struct("<IQ8s")
_SUFFIX = ".shard"


@dataclass(frozen=True)
class ShardEntry:
    """Where the rows of a cut are: from byte `offset` of the shard on; checksums: CRC-32 of each block."""

    shard: str
    offset: int
    num_rows: int
    checksums: tuple[int, ...]


class ShardWriter:
    """A new shard below `folder`, which nobody reads until it is sealed."""

    def __init__(self, folder: Path, fingerprint: str, row_bytes: int) -> None:
        self._folder, self._fingerprint, self._row_bytes = folder, fingerprint, row_bytes
        self._cuts: list[tuple[str, int, list[int]]] = []
        with _written(folder):
            self._stream, self._temporary = _open_temporary(folder)
            _write_all(self._stream, _MAGIC)
        self.num_bytes = len(_MAGIC)

    def put(self, cut_id: str, rows: np.ndarray) -> None:
        """rows: uint8 (T, row_bytes), C-contiguous. DataError when they cannot be written; discard the shard then."""
        data = memoryview(rows).cast("B") if rows.size else memoryview(b"")
        step = BLOCK_ROWS * self._row_bytes
        checksums = [zlib.crc32(data[begin : begin + step]) for begin in range(0, len(data), step)]
        with _written(self._folder):
            _write_all(self._stream, data)
        self._cuts.append((cut_id, len(rows), checksums))
        self.num_bytes += len(data)

    def seal(self, lock: Path) -> None:
        """Write the index, flush to the disk, rename. Shards are numbered in the order in which they are sealed;
        `lock` is the file that writers of the same folder take turns with."""
        index = json.dumps({"store": self._fingerprint, "cuts": self._cuts}, separators=(",", ":")).encode()
        with _written(self._folder):
            _write_all(self._stream, index + _trailer(index))
            os.fsync(self._stream.fileno())
            with open(lock, "ab") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                number = max((int(name.split(".")[0]) for name in shard_names(self._folder)), default=0) + 1
                os.replace(self._temporary, self._folder / f"{number:06d}{_SUFFIX}")
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._stream.close()

    def discard(self) -> None:
        """Remove what was written."""
        self._temporary.unlink(missing_ok=True)
        self._stream.close()


def _open_temporary(folder: Path) -> tuple[io.FileIO, Path]:
    """A new file, locked for as long as it is open; without a buffer, which a forked process would write again."""
    while True:
        path = folder / f"{TEMPORARY}{uuid.uuid4().hex}{_SUFFIX}"
        stream = open(path, "xb", buffering=0)  # noqa: SIM115  open until sealed or discarded
        fcntl.flock(stream, fcntl.LOCK_EX)
        if os.fstat(stream.fileno()).st_nlink:
            return stream, path
        stream.close()  # somebody took it for a dead writer's before the lock was on it


def _write_all(stream: io.FileIO, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while len(left):
        left = left[stream.write(left) :]


def remove_dead_temporaries(folder: Path) -> int:
    """Remove what killed writers left, and nothing of those at work; return how many files went."""
    removed = 0
    for path in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), open(path, "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed += 1
    return removed


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write to {folder}: {error.strerror or error}; free space or choose another folder, and label"
            " again: what is sealed is kept"
        ) from error


def _trailer(index: bytes) -> bytes:
    rest = _TRAILER.pack(0, len(index), _MAGIC)[4:]
    return _TRAILER.pack(zlib.crc32(rest, zlib.crc32(index)), len(index), _MAGIC)


def shard_names(folder: Path) -> list[str]:
    """Names of the sealed shards, in the order in which they were sealed. DataError when the folder is missing."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith(_SUFFIX) and name.split(".")[0].isdecimal()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); label again") from error
    return sorted(names, key=lambda name: int(name.split(".")[0]))


def read_index(folder: Path, shard: str, fingerprint: str, row_bytes: int) -> dict[str, ShardEntry]:
    """The cuts of a sealed shard. DataError names it when it is cut short, damaged or another store's."""
    path = folder / shard
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size < len(_MAGIC) + _TRAILER.size:
                raise ValueError("cut short")
            stream.seek(size - _TRAILER.size)
            trailer = stream.read(_TRAILER.size)
            _, length, magic = _TRAILER.unpack(trailer)
            index_begin = size - _TRAILER.size - length
            if magic != _MAGIC or index_begin < len(_MAGIC):
                raise ValueError("cut short, or its end is overwritten")
            stream.seek(index_begin)
            index = stream.read(length)
            if _trailer(index) != trailer:
                raise ValueError("its index does not match the checksum")
            stream.seek(0)
            if stream.read(len(_MAGIC)) != _MAGIC:
                raise ValueError("it does not begin as a shard does")
        content = json.loads(index)
        if content["store"] != fingerprint:
            raise ValueError("it belongs to another store")
        entries, offset = {}, len(_MAGIC)
        for cut_id, num_rows, checksums in content["cuts"]:
            entries[cut_id] = ShardEntry(shard, offset, num_rows, tuple(checksums))
            offset += num_rows * row_bytes
        if offset != index_begin:
            raise ValueError(f"its rows should take {offset - len(_MAGIC)} bytes, not {index_begin - len(_MAGIC)}")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: damaged shard: {error}; delete this file and label again: the cuts of other shards are kept"
        ) from error
    return entries


def read_rows(file: io.FileIO, entry: ShardEntry, row_bytes: int, start: int, stop: int, what: str) -> np.ndarray:
    """Rows start..stop of a cut, uint8 (stop - start, row_bytes); only the blocks that hold them are read.

    DataError names the first and last row of a block that is damaged or missing. what: the cut, for messages.
    """
    begin, end = start - start % BLOCK_ROWS, min(-(-stop // BLOCK_ROWS) * BLOCK_ROWS, entry.num_rows)
    rows = np.empty((max(0, end - begin), row_bytes), np.uint8)
    filled, buffer = 0, memoryview(rows).cast("B") if rows.size else memoryview(b"")
    while filled < len(buffer):
        count = os.preadv(file.fileno(), [buffer[filled:]], entry.offset + begin * row_bytes + filled)
        if count == 0:
            break
        filled += count
    for low in range(begin, end, BLOCK_ROWS):
        high = min(low + BLOCK_ROWS, end)
        first, last = (low - begin) * row_bytes, (high - begin) * row_bytes
        if filled < last or zlib.crc32(buffer[first:last]) != entry.checksums[low // BLOCK_ROWS]:
            raise DataError(
                f"{what}, frames {low}..{high - 1}: {'cut short' if filled < last else 'damaged (checksum)'};"
                " delete this shard and label again: the cuts of other shards are kept"
            )
    return rows[start - begin : stop - begin]
