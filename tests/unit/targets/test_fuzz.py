"""What reads bytes from disk, given random and mutated ones: what was written, DataError, or a result that can be.

In files all of these bytes stand behind checksums, which chance does not pass, but an attacker does.
"""

import math
import random
import zlib

import numpy as np
import pytest
import torch
import zstandard

from pyasr.base.errors import DataError
from pyasr.ops import pack_topk
from pyasr.ops.lattice import Lattice
from pyasr.targets import index, lattice_file
from pyasr.targets.block import BlockCoder

K, NUM_SENONES = 5, 40
COUNTS = [3_000, pytest.param(1_000_000, marks=pytest.mark.full)]


def mutated(draw, data):
    """A few bytes changed, cut off or added; at times all of them random."""
    data = bytearray(data)
    if draw.randrange(10) == 0:
        return draw.randbytes(draw.randrange(2 * len(data)))
    for _ in range(draw.randrange(1, 4)):
        at, how = draw.randrange(len(data) + 1), draw.randrange(8)
        if how == 0:
            data.insert(at, draw.randrange(256))
        elif how == 1:
            del data[at:]
        elif at < len(data):
            data[at] = draw.choice((0, 255, draw.randrange(256), data[at] ^ 1 << draw.randrange(8)))
    return bytes(data)


def inputs(count, whole, packed_at=0):
    """Seeded mutations of `whole`; every second one of what is compressed in it, from packed_at on, compressed anew."""
    raw, compressor = zstandard.ZstdDecompressor().decompress(whole[packed_at:]), zstandard.ZstdCompressor(level=1)
    for seed in range(count):
        draw = random.Random(seed)
        if seed % 2:
            yield seed, mutated(draw, whole)
        else:
            head = whole[:packed_at] if draw.randrange(4) else mutated(draw, whole[:packed_at] or b"\0")
            yield seed, head + compressor.compress(mutated(draw, raw))


@pytest.mark.parametrize("count", COUNTS)
def test_blocks(count):
    coder = BlockCoder(K, NUM_SENONES)
    out = np.empty((6, coder.row_bytes), np.uint8)
    rows = pack_topk(torch.from_numpy(np.random.default_rng(0).normal(size=(6, NUM_SENONES)).astype(np.float32)), K)
    whole, read = coder.compress(rows.numpy()), 0
    coder.decompress(whole, 6, out)
    assert (out == rows.numpy()).all()
    for seed, data in inputs(count, whole):
        try:
            coder.decompress(data, 6, out)
        except DataError:
            continue
        except Exception as error:
            raise AssertionError(f"input {seed}") from error
        ids = [int.from_bytes(row[:8].tobytes(), "little") >> 12 * i & 4095 for row in out for i in range(K)]
        assert max(ids) < NUM_SENONES, seed
        read += 1
    assert 0 < read < count


@pytest.mark.parametrize("count", COUNTS)
def test_indices(count):
    summary = index.Summary(0.5, 1.0, 0.875)
    entries = [index.CutEntry(f"cut-{n}", 256 * n + 7, summary, (9,) * (n + 1), (1,) * (n + 1)) for n in range(4)]
    whole, read = index.ShardIndex.of(entries, 40).pack(), 0
    for seed, data in inputs(count, whole):
        try:
            found = index.ShardIndex.unpack(data, 40)
        except ValueError:
            continue
        except Exception as error:
            raise AssertionError(f"input {seed}") from error
        assert len(found.offsets) == len(found) and found.end >= 40, seed
        for number in range(len(found)):
            found.entry(number)
        read += 1
    assert 0 < read < count


@pytest.mark.parametrize("count", COUNTS)
def test_headers(count):
    entry = index.CutEntry("cut-ü", 300, index.Summary(0.5, 1.0, 0.875), (7, 8), (1, 2))
    assert index.read_header(entry.header) == entry
    for seed in range(count):
        data = bytearray(mutated(random.Random(seed), entry.header))
        if seed % 2 and len(data) > 12:  # as one who wants to be believed
            data[8:12] = zlib.crc32(data[12:]).to_bytes(4, "little")
        try:
            found = index.read_header(bytes(data))
        except Exception as error:
            raise AssertionError(f"input {seed}") from error
        assert found is None or len(found.sizes) == len(found.checksums) == index.num_blocks(found.num_rows), seed


@pytest.mark.parametrize("count", COUNTS)
def test_lattices(count):
    lattice = Lattice(
        np.array([0, 0, 1, 2, 3], np.int32), np.array([1, 2, 3, 3, 4], np.int32), np.array([2, 0, 1, 2, 3], np.int32),
        np.array([0, 0, 1, 1, 2], np.int32), np.full(5, 0.5, np.float32),
        np.array([math.inf] * 4 + [0.0], np.float32),
    )  # fmt: skip
    referred = lattice_file.ReferredLattice(lattice, np.array([2, 1, 3], np.int32))
    whole, read = lattice_file.pack(referred), 0
    for seed, data in inputs(count, whole, packed_at=12):
        try:
            found = lattice_file.unpack(data)
        except DataError:
            continue
        except Exception as error:
            raise AssertionError(f"input {seed}") from error
        assert len(found.reference) == found.lattice.num_frames, seed
        read += 1
    assert 0 < read < count
