"""One file of the posterior store: rows of many cuts, checksummed in blocks, with an index at its end.

    magic (8)  blocks of at most 256 rows, one cut after the other
    index: JSON {"row_bytes", "cuts": [[cut_id, offset, rows, [crc32 of each block]], ...]}
    crc32 of the index (4)  length of the index (8)  magic (8)          integers little-endian
"""

from __future__ import annotations

import json
import os
import struct
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyasr.base.artifact import TEMPORARY
from pyasr.base.errors import DataError

BLOCK_ROWS = 256
_MAGIC = b"pyasrK\x00\x01"
_TRAILER = struct.Struct("<IQ8s")


@dataclass(frozen=True)
class ShardEntry:
    """Where the rows of a cut are."""

    path: Path
    cut_id: str
    offset: int
    num_rows: int
    checksums: tuple[int, ...]


class ShardWriter:
    """Writes a new shard below `folder` under a temporary name, which nothing reads, until it is sealed."""

    def __init__(self, folder: Path, row_bytes: int) -> None:
        self._row_bytes = row_bytes
        self._path = folder / f"{uuid.uuid4().hex}.shard"
        self._temporary = folder / f"{TEMPORARY}{self._path.name}"
        self._index: list[list] = []
        try:
            self._stream = open(self._temporary, "xb")  # noqa: SIM115  open from here to `seal`
            self._stream.write(_MAGIC)
        except OSError as error:
            raise self._not_written(error) from error
        self.num_bytes = len(_MAGIC)

    def put(self, cut_id: str, rows: np.ndarray) -> None:
        """rows: uint8 (T, row_bytes), C-contiguous."""
        blocks = [rows[begin : begin + BLOCK_ROWS].tobytes() for begin in range(0, len(rows), BLOCK_ROWS)]
        self._index.append([cut_id, self.num_bytes, len(rows), [zlib.crc32(block) for block in blocks]])
        try:
            self._stream.writelines(blocks)
        except OSError as error:
            raise self._not_written(error) from error
        self.num_bytes += rows.nbytes

    def seal(self) -> Path:
        """Write the index, flush to the disk, give the file its name, which is returned."""
        content = {"row_bytes": self._row_bytes, "cuts": self._index}
        index = json.dumps(content, separators=(",", ":")).encode()
        try:
            self._stream.write(index)
            self._stream.write(_TRAILER.pack(zlib.crc32(index), len(index), _MAGIC))
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            os.replace(self._temporary, self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise self._not_written(error) from error
        return self._path

    def discard(self) -> None:
        """Remove what was written."""
        self._stream.close()
        self._temporary.unlink(missing_ok=True)

    def _not_written(self, error: OSError) -> DataError:
        return DataError(
            f"cannot write {self._path}: {error.strerror or error}; free space or choose another folder, and run again:"
            " sealed shards are kept"
        )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_index(path: Path, row_bytes: int) -> list[ShardEntry]:
    """The entries of a sealed shard; DataError names the shard when it is truncated or damaged."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size < len(_MAGIC) + _TRAILER.size:
                raise ValueError("truncated")
            stream.seek(size - _TRAILER.size)
            checksum, length, magic = _TRAILER.unpack(stream.read(_TRAILER.size))
            begin = size - _TRAILER.size - length
            if magic != _MAGIC or begin < len(_MAGIC):
                raise ValueError("truncated or not a shard")
            stream.seek(begin)
            index = stream.read(length)
            if zlib.crc32(index) != checksum:
                raise ValueError("the index does not match its checksum")
            stream.seek(0)
            if stream.read(len(_MAGIC)) != _MAGIC:
                raise ValueError("its begin is not that of a shard")
        content = json.loads(index)
        if content["row_bytes"] != row_bytes:
            raise ValueError(f"rows of {content['row_bytes']} bytes, those of this store have {row_bytes}")
        entries = [
            ShardEntry(path, str(cut_id), int(offset), int(rows), tuple(map(int, checksums)))
            for cut_id, offset, rows, checksums in content["cuts"]
        ]
        for entry in entries:
            end, blocks = entry.offset + entry.num_rows * row_bytes, -(-entry.num_rows // BLOCK_ROWS)
            if not len(_MAGIC) <= entry.offset <= end <= begin or len(entry.checksums) != blocks:
                raise ValueError(f"the rows of {entry.cut_id} do not fit into it")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path}: damaged shard ({error}); delete it and label again: only its cuts are redone"
        ) from error
    return entries


def read_rows(entry: ShardEntry, row_bytes: int, start: int, stop: int) -> np.ndarray:
    """Rows start..stop of a cut: uint8 (stop - start, row_bytes).

    DataError names shard, cut and rows of a damaged block.
    """
    first, last = start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)
    begin, end = first * BLOCK_ROWS, min(last * BLOCK_ROWS, entry.num_rows)
    try:
        with open(entry.path, "rb") as stream:
            stream.seek(entry.offset + begin * row_bytes)
            content = stream.read((end - begin) * row_bytes)
    except OSError as error:
        raise DataError(f"{entry.path}: cannot be read ({error.strerror or error}); label again") from error
    for block in range(first, last):
        low = (block - first) * BLOCK_ROWS
        high = min(low + BLOCK_ROWS, end - begin)
        if zlib.crc32(content[low * row_bytes : high * row_bytes]) != entry.checksums[block]:
            raise DataError(
                f"{entry.path}: {entry.cut_id}, rows {begin + low}..{begin + high - 1}: damaged (checksum); delete the"
                " shard and label again: only its cuts are redone"
            )
    rows = np.frombuffer(content, np.uint8).reshape(-1, row_bytes)
    return rows[start - begin : stop - begin].copy()
