"""Whether all of a store is as it was written, and where it is not."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from pyasr.base.errors import DataError
from pyasr.base.progress import track
from pyasr.ops.topk import summarise_topk
from pyasr.targets.index import SKIPPABLE, CutEntry, read_header
from pyasr.targets.shard import BEGIN, MAGIC
from pyasr.targets.store import PosteriorStore

_PIECE = 1 << 22
_LONGEST_HEADER = 1 << 24


@dataclass(frozen=True)
class Damage:
    """cut_id: None where no cut is at fault, or none can be told. frames: the first and the last; None: all of it."""

    shard: str
    what: str
    cut_id: str | None = None
    frames: tuple[int, int] | None = None

    def __str__(self) -> str:
        cut = "" if self.cut_id is None else f": cut {self.cut_id}"
        return f"{self.shard}{cut}{'' if self.frames is None else ', frames {}..{}'.format(*self.frames)}: {self.what}"


def verify(store: PosteriorStore) -> Iterator[Damage]:
    """Read everything, and give all that is damaged: each byte of each shard is compared or covered by a checksum."""
    for name in track(store.shard_names(), "verifying", unit="shard"):
        yield from verify_shard(store, name)


def verify_shard(store: PosteriorStore, name: str) -> Iterator[Damage]:
    """Of one shard; where its index cannot be used, what the headers of its cuts say is verified."""
    head = store.shard_folder.read(name, 0, BEGIN)
    if head != MAGIC + bytes.fromhex(store.fingerprint):
        yield Damage(name, "does not begin as a shard of this store does")
    try:
        index = store.shard(name).index
    except DataError as error:
        yield Damage(name, f"its index cannot be used: {error}")
        for offset, entry in scan(store, name):
            yield from _verify_cut(store, name, offset, entry)
        return
    for number, offset in enumerate(index.offsets.tolist()):
        yield from _verify_cut(store, name, offset, index.entry(number))


def _verify_cut(store: PosteriorStore, name: str, offset: int, entry: CutEntry) -> Iterator[Damage]:
    header, blocks = read_cut(store, name, offset, entry)
    if header != entry.header:
        yield Damage(name, "the header before its blocks is damaged; the index still has it", entry.cut_id)
    for number, block in enumerate(blocks):
        frames = entry.frames(number)
        if block is None:
            yield Damage(name, "damaged (checksum)", entry.cut_id, frames)
            continue
        if not block:
            continue  # dropped by a repair
        rows = np.empty((frames[1] - frames[0] + 1, store.row_bytes), np.uint8)
        try:
            store.coder.decompress(block, len(rows), rows)
            summarise_topk(torch.from_numpy(rows), store.k, store.num_senones)
        except DataError as error:
            yield Damage(name, f"written so, its checksum is right: {error}", entry.cut_id, frames)


def read_cut(
    store: PosteriorStore, name: str, offset: int, entry: CutEntry
) -> tuple[bytes, list[bytes | None]]:
    """What lies where the cut's header should be, and its blocks: None for damaged ones, b"" for dropped ones."""
    data = store.shard_folder.read(name, offset, entry.num_bytes)
    position = len(entry.header)
    header, blocks = data[:position], []
    for size, checksum in zip(entry.sizes, entry.checksums):
        block, position = data[position : position + size], position + size
        blocks.append(block if len(block) == size and zlib.crc32(block) == checksum else None)
    return header, blocks


def scan(store: PosteriorStore, name: str) -> Iterator[tuple[int, CutEntry]]:
    """The cuts whose headers are whole, with their offsets, without a look at the index."""
    end, position = store.shard_folder.size(name), BEGIN
    while position < end:
        entry = _header_at(store, name, position)
        if entry is not None:
            yield position, entry
            position += entry.num_bytes
        else:
            position = _next_magic(store, name, position + 1)


def _header_at(store: PosteriorStore, name: str, position: int) -> CutEntry | None:
    start = store.shard_folder.read(name, position, 12)
    if len(start) < 12:
        return None
    length = int.from_bytes(start[4:8], "little")
    if not 4 <= length < _LONGEST_HEADER:
        return None
    return read_header(start + store.shard_folder.read(name, position + 12, length - 4))


def _next_magic(store: PosteriorStore, name: str, position: int) -> int:
    magic, end = SKIPPABLE.to_bytes(4, "little"), store.shard_folder.size(name)
    while position < end:
        piece = store.shard_folder.read(name, position, _PIECE)
        found = piece.find(magic)
        if found >= 0:
            return position + found
        position += max(1, len(piece) - len(magic) + 1)
    return end
