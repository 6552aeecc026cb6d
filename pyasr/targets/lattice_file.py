"""One file of lattices: those of the utterances of a job, with what they are trained towards, an index at the end.

    magic      8 bytes
    lattices   one after the other, each as `pack` makes it
    index      JSON {"key", "cuts": [[cut_id, bytes, CRC-32], ...], "skipped": [{"id", "reason"}, ...], "sizes"}
    trailer    CRC-32 of index, length and magic (4 bytes), length of the index (8), magic (8); little-endian

A checksum covers every byte, so a flipped bit is found, and of which utterance it is can be said. Files are written
whole or not at all.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from pyasr.base.artifact import atomic_path
from pyasr.base.errors import DataError
from pyasr.ops.lattice import Lattice

_MAGIC = b"pyasrLT1"
_TRAILER = struct.Struct("<IQ8s")
_SIZES = struct.Struct("<III")  # states, arcs, frames
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class ReferredLattice:
    """A lattice of T frames and its reference: int32 (T,), the senone of each frame in the alignment."""

    lattice: Lattice
    reference: np.ndarray


def pack(referred: ReferredLattice) -> bytes:
    """Sizes, then compressed: arcs a state, states a frame, steps to the destinations, senones + 1, costs, final
    costs and the reference, in four-byte words whose first, second, ... bytes stand together.

    ValueError when it is too large, or has not a reference senone for each frame.
    """
    lattice, reference = referred.lattice, referred.reference
    num_frames = lattice.num_frames
    if reference.shape != (num_frames,):
        raise ValueError(f"reference of shape {reference.shape} for {num_frames} frames")
    num_states = len(lattice.final_cost)
    times = np.full(num_states, num_frames)
    times[lattice.arc_src] = lattice.arc_time  # a state without arcs has taken all frames
    words = (
        np.bincount(lattice.arc_src, minlength=num_states),
        np.bincount(times, minlength=num_frames + 1),
        lattice.arc_dst - lattice.arc_src,
        lattice.arc_senone + 1,
        lattice.arc_cost.view(np.uint32),
        lattice.final_cost.view(np.uint32),
        reference,
    )
    content = np.concatenate([column.astype("<u4") for column in words])
    if content.nbytes > _MAX_BYTES:
        raise ValueError(f"{content.nbytes} bytes of lattice, more than {_MAX_BYTES}; a smaller lattice_beam helps")
    shuffled = np.ascontiguousarray(content.view(np.uint8).reshape(-1, 4).T).tobytes()
    sizes = _SIZES.pack(num_states, len(lattice.arc_src), num_frames)
    return sizes + zstandard.ZstdCompressor(level=3).compress(shuffled)


def unpack(data: bytes) -> ReferredLattice:
    """The inverse of `pack`. DataError for anything else."""
    try:
        num_states, num_arcs, num_frames = _SIZES.unpack_from(data)
        lengths = (num_states, num_frames + 1, num_arcs, num_arcs, num_arcs, num_states, num_frames)
        size, packed = 4 * sum(lengths), data[_SIZES.size :]
        if size > _MAX_BYTES or zstandard.frame_content_size(packed) != size:
            raise ValueError(f"not the content of {num_states} states, {num_arcs} arcs and {num_frames} frames")
        shuffled = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
    except (struct.error, ValueError, zstandard.ZstdError) as error:
        raise DataError(f"damaged lattice: {error}") from error
    words = np.ascontiguousarray(np.frombuffer(shuffled, np.uint8).reshape(4, -1).T).view("<u4")[:, 0]
    columns = np.split(words, np.cumsum(lengths)[:-1])
    arcs, states, steps, senones, costs, final_costs, reference = columns
    if arcs.sum(dtype=np.uint64) != num_arcs or states.sum(dtype=np.uint64) != num_states:
        raise DataError("damaged lattice: arcs of states, or states of frames, do not add up")
    source = np.repeat(np.arange(num_states), arcs)
    times = np.repeat(np.arange(num_frames + 1), states)
    lattice = Lattice(
        source.astype(np.int32),
        (source + steps).astype(np.int32),
        senones.astype(np.int32) - 1,
        times[source].astype(np.int32),
        costs.view(np.float32),
        final_costs.view(np.float32),
    )
    if lattice.num_frames != num_frames:
        raise DataError(f"damaged lattice: its paths have {lattice.num_frames} frames, not {num_frames}")
    return ReferredLattice(lattice, reference.astype(np.int32))


@dataclass(frozen=True)
class FileIndex:
    """key: of what the lattices were made from. cuts: cut_id -> (offset, bytes, CRC-32). skipped: id and reason.

    sizes: of all lattices together {"frames", "arcs", "lost": frames whose reference is not in the lattice}.
    """

    key: str
    cuts: Mapping[str, tuple[int, int, int]]
    skipped: Sequence[dict[str, str]]
    sizes: Mapping[str, int]


def write_lattices(
    path: Path, key: str, packed: Mapping[str, bytes], skipped: Sequence[dict[str, str]], sizes: Mapping[str, int]
) -> None:
    """Write a file, atomically. packed: cut_id -> what `pack` made."""
    cuts = [[cut_id, len(data), zlib.crc32(data)] for cut_id, data in packed.items()]
    content = {"key": key, "cuts": cuts, "skipped": list(skipped), "sizes": sizes}
    index = json.dumps(content, separators=(",", ":")).encode()
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        stream.write(_MAGIC)
        for data in packed.values():
            stream.write(data)
        stream.write(index + _trailer(index))


def _trailer(index: bytes) -> bytes:
    rest = _TRAILER.pack(0, len(index), _MAGIC)[4:]
    return _TRAILER.pack(zlib.crc32(rest, zlib.crc32(index)), len(index), _MAGIC)


def read_index(path: Path) -> FileIndex:
    """DataError names a file that is missing, cut short or damaged."""
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            index, begin = _index_bytes(stream, size)
        content: dict[str, Any] = json.loads(index)
        cuts, offset = {}, len(_MAGIC)
        for cut_id, length, checksum in content["cuts"]:
            cuts[str(cut_id)] = (offset, int(length), int(checksum))
            offset += int(length)
        if offset != begin:
            raise ValueError(f"its lattices should end at byte {offset}, not {begin}")
        sizes = {name: int(content["sizes"][name]) for name in ("frames", "arcs", "lost")}
        return FileIndex(str(content["key"]), cuts, content["skipped"], sizes)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); make the lattices again") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged file of lattices ({error}); delete it and make the lattices again") from error


def _index_bytes(stream: Any, size: int) -> tuple[bytes, int]:
    """The index and where it begins; ValueError says what is wrong."""
    if size < len(_MAGIC) + _TRAILER.size or stream.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("cut short, or it does not begin as such a file does")
    stream.seek(size - _TRAILER.size)
    trailer = stream.read(_TRAILER.size)
    _, length, magic = _TRAILER.unpack(trailer)
    begin = size - _TRAILER.size - length
    if magic != _MAGIC or begin < len(_MAGIC):
        raise ValueError("cut short, or its end is overwritten")
    stream.seek(begin)
    index = stream.read(length)
    if _trailer(index) != trailer:
        raise ValueError("its index does not match the checksum")
    return index, begin


def read_lattice(path: Path, entry: tuple[int, int, int]) -> ReferredLattice:
    """One lattice of a file. entry: of its index. DataError when it is damaged."""
    offset, length, checksum = entry
    with open(path, "rb") as stream:
        stream.seek(offset)
        data = stream.read(length)
    if len(data) != length or zlib.crc32(data) != checksum:
        raise DataError("damaged lattice: checksum")
    return unpack(data)
