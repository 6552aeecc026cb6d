"""What a shard says about its cuts: a header before each, and the same of all at its end. FORMAT.md has the layout."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import zstandard

from pyasr.targets.block import BLOCK_ROWS

SKIPPABLE = 0x184D2A5B
"""Begins a frame that zstandard's tools step over; the last digit is free."""

_HEADER = struct.Struct("<IIIIfff")  # magic, length of what follows it, CRC-32 of what follows that; rows and summary
_COUNTS = struct.Struct("<II")


@dataclass(frozen=True)
class Summary:
    """Of a cut, means over its frames, 0 without any. max_posterior: the highest probability of a frame. entropy: in
    nats, of the k stored classes and the rest as one. kept: probability of the k."""

    max_posterior: float
    entropy: float
    kept: float


@dataclass(frozen=True)
class CutEntry:
    """sizes, checksums: bytes and CRC-32 of each block of 256 frames; of a dropped block both are 0."""

    cut_id: str
    num_rows: int
    summary: Summary
    sizes: tuple[int, ...]
    checksums: tuple[int, ...]

    @property
    def complete(self) -> bool:
        return all(self.sizes)

    @cached_property
    def header(self) -> bytes:
        """What stands before the cut's blocks: a skippable frame of zstandard."""
        s = self.summary
        rest = struct.pack("<Ifff", self.num_rows, s.max_posterior, s.entropy, s.kept)
        rest += struct.pack(f"<{len(self.sizes)}I{len(self.checksums)}I", *self.sizes, *self.checksums)
        rest += self.cut_id.encode()
        return struct.pack("<III", SKIPPABLE, len(rest) + 4, zlib.crc32(rest)) + rest

    def frames(self, block: int) -> tuple[int, int]:
        """The first and the last of a block."""
        return block * BLOCK_ROWS, min(block * BLOCK_ROWS + BLOCK_ROWS, self.num_rows) - 1

    @property
    def num_bytes(self) -> int:
        """Of header and blocks."""
        return len(self.header) + sum(self.sizes)

    def without(self, blocks: Sequence[int]) -> CutEntry:
        """The entry when these blocks are dropped."""

        def keep(values: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(0 if number in blocks else value for number, value in enumerate(values))

        return replace(self, sizes=keep(self.sizes), checksums=keep(self.checksums))


def num_blocks(num_rows: int) -> int:
    return -(-num_rows // BLOCK_ROWS)


def read_header(data: bytes) -> CutEntry | None:
    """The entry whose header stands at the beginning of data; None when none does, or a damaged one."""
    if len(data) < _HEADER.size:
        return None
    magic, length, checksum, num_rows, *summary = _HEADER.unpack_from(data)
    rest, blocks = data[12 : 8 + length], num_blocks(num_rows)
    if magic != SKIPPABLE or len(rest) + 4 != length or zlib.crc32(rest) != checksum or length < 20 + 8 * blocks:
        return None
    numbers = struct.unpack_from(f"<{2 * blocks}I", rest, 16)
    try:
        cut_id = rest[16 + 8 * blocks :].decode()
    except UnicodeDecodeError:
        return None
    return CutEntry(cut_id, num_rows, Summary(*summary), numbers[:blocks], numbers[blocks:])


class ShardIndex:
    """The cuts of a shard as columns: an object a cut would take ten times the memory.

    cut_ids; rows: uint32 (N,); summaries: float32 (N, 3), the fields of `Summary`; offsets: int64 (N,), where in the
    shard each cut's header begins.
    """

    def __init__(
        self,
        cut_ids: list[str],
        rows: np.ndarray,
        summaries: np.ndarray,
        sizes: np.ndarray,
        checksums: np.ndarray,
        begin: int,
    ) -> None:
        self.cut_ids, self.rows, self.summaries = cut_ids, rows, summaries
        self._sizes, self._checksums = sizes, checksums
        self._first_block = np.concatenate([[0], np.cumsum(-(-rows.astype(np.int64) // BLOCK_ROWS))])
        if self._first_block[-1] != len(sizes):
            raise ValueError(f"it has {len(sizes)} blocks, its cuts have {self._first_block[-1]}")
        ends = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])[self._first_block]
        header_bytes = [28 + len(cut_id.encode()) for cut_id in cut_ids]
        headers = np.concatenate([[0], np.cumsum(header_bytes, dtype=np.int64)]) + 8 * self._first_block
        self.offsets = begin + ends[:-1] + headers[:-1]
        self.end = int(begin + ends[-1] + headers[-1])
        dropped = np.flatnonzero(sizes == 0)
        self.incomplete = frozenset((np.searchsorted(self._first_block, dropped, "right") - 1).tolist())

    @classmethod
    def of(cls, entries: Sequence[CutEntry], begin: int) -> ShardIndex:
        """begin: where in the shard the first header stands."""
        summaries = [(e.summary.max_posterior, e.summary.entropy, e.summary.kept) for e in entries]
        return cls(
            [entry.cut_id for entry in entries],
            np.array([entry.num_rows for entry in entries], np.uint32),
            np.array(summaries, np.float32).reshape(-1, 3),
            np.array([size for entry in entries for size in entry.sizes], np.uint32),
            np.array([checksum for entry in entries for checksum in entry.checksums], np.uint32),
            begin,
        )

    def __len__(self) -> int:
        return len(self.cut_ids)

    def complete_ids(self) -> Iterator[str]:
        """Of the cuts that have lost no blocks to a repair."""
        return (cut_id for number, cut_id in enumerate(self.cut_ids) if number not in self.incomplete)

    @property
    def block_bytes(self) -> int:
        """Of all blocks, without headers and the index."""
        return int(self._sizes.sum(dtype=np.int64))

    def entry(self, number: int) -> CutEntry:
        blocks = slice(*self._first_block[number : number + 2].tolist())
        return CutEntry(
            self.cut_ids[number],
            int(self.rows[number]),
            Summary(*self.summaries[number].tolist()),
            tuple(self._sizes[blocks].tolist()),
            tuple(self._checksums[blocks].tolist()),
        )

    def pack(self) -> bytes:
        ids = [cut_id.encode() for cut_id in self.cut_ids]
        columns = (self.rows, self.summaries.T, self._sizes, self._checksums, np.array([*map(len, ids)], np.uint32))
        raw = b"".join(
            [_COUNTS.pack(len(ids), len(self._sizes)), *(np.ascontiguousarray(c).tobytes() for c in columns), *ids]
        )
        return zstandard.ZstdCompressor(level=3, write_checksum=False).compress(raw)

    @classmethod
    def unpack(cls, data: bytes, begin: int) -> ShardIndex:
        """ValueError says what is wrong with data, however it came about."""
        try:
            if zstandard.frame_content_size(data) > 1 << 32:
                raise ValueError("an index of more than 4 GiB")
            raw = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise ValueError(f"its index is no zstandard frame: {error}") from None
        if len(raw) < _COUNTS.size:
            raise ValueError("its index is cut short")
        cuts, blocks = _COUNTS.unpack_from(raw)
        if len(raw) < _COUNTS.size + 20 * cuts + 8 * blocks:
            raise ValueError("its index is cut short")
        position, columns = _COUNTS.size, []
        for count, kind in ((cuts, "<u4"), (3 * cuts, "<f4"), (blocks, "<u4"), (blocks, "<u4"), (cuts, "<u4")):
            columns.append(np.frombuffer(raw, kind, count, position))
            position += 4 * count
        rows, summaries, sizes, checksums, lengths = columns
        ends = position + np.cumsum(lengths, dtype=np.int64)
        if (int(ends[-1]) if cuts else position) != len(raw):
            raise ValueError("its index has names of another length")
        bounds = [position, *ends.tolist()]
        ids = [raw[first:last].decode() for first, last in zip(bounds, bounds[1:])]
        return cls(ids, rows, summaries.reshape(3, cuts).T, sizes, checksums, begin)
