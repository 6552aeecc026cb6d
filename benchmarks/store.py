"""The posterior store against a file of packed rows of fixed length, each cut with a CRC-32, on one thread.

Rows come from a store that --store names (a teacher's, for figures that mean something), or from logits that glide from
one shape to the next as a teacher's do. They are written to --hours of speech again and again under new ids, and read
back: whole cuts in order, and chunks of 32 frames at random places, unpacked to ids and log-probabilities. Peer and
ours do the same work but for the coding. Rates are of processor time, for it is a core that is asked about. The bound
of reading is unpacking alone, of rows in memory.
"""

from __future__ import annotations

import random
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import main, row

from pyasr.ops import pack_topk, unpack_topk
from pyasr.ops.topk import summarise_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.verify import verify

K, NUM_SENONES, CHUNK = 20, 3183, 32
FRAMES_PER_HOUR = 3600 * 100 // 3


def gliding_rows(num_cuts: int = 24, num_frames: int = 400) -> dict[str, torch.Tensor]:
    """Every 8 frames on average another shape: Gaussian noise minus 2 log rank; between them logits glide."""
    draw = np.random.default_rng(0)
    fall = 2 * np.log1p(np.arange(NUM_SENONES, dtype=np.float32))
    made = {}
    for cut in range(num_cuts):
        shapes = np.stack([-draw.permutation(fall) for _ in range(num_frames // 8 + 2)])
        shapes += 1.5 * draw.standard_normal(shapes.shape, dtype=np.float32)
        at = np.sort(draw.uniform(0, len(shapes) - 1.001, num_frames))
        low, weight = at.astype(int), (at % 1).astype(np.float32)[:, None]
        logits = (1 - weight) * shapes[low] + weight * shapes[low + 1]
        logits += 0.3 * draw.standard_normal(logits.shape, dtype=np.float32)
        made[f"cut-{cut}"] = pack_topk(torch.from_numpy(logits), K)
    return made


class PlainFile:
    """The peer: rows as they are."""

    def __init__(self, path: Path, row_bytes: int) -> None:
        self.path, self.row_bytes, self.cuts = path, row_bytes, {}

    def write(self, cuts: list[tuple[str, torch.Tensor]], num_senones: int) -> None:
        offset = 0
        with open(self.path, "wb", buffering=0) as stream:
            for cut_id, packed in cuts:
                summarise_topk(packed, K, num_senones)  # checked, as the store does
                data = packed.numpy().tobytes()
                self.cuts[cut_id] = (offset, len(packed), zlib.crc32(data))
                offset += stream.write(data)

    def frames(self, stream: Any, cut_id: str, start: int, stop: int, num_senones: int) -> int:
        offset, num_rows, checksum = self.cuts[cut_id]
        stream.seek(offset)  # the checksum is the cut's, so all of it is read
        data = bytearray(stream.read(num_rows * self.row_bytes))
        assert zlib.crc32(data) == checksum
        rows = torch.frombuffer(data, dtype=torch.uint8).view(-1, self.row_bytes)[start:stop]
        return len(unpack_topk(rows, K, num_senones, 1)[0])


def per_s(work: Callable[[], int]) -> float:
    begun = time.process_time()
    count = work()
    return count / (time.process_time() - begun)


def measure(store: str, hours: float) -> list[dict]:
    torch.set_num_threads(1)
    source = PosteriorStore.open(store) if store else None
    rows = {cut_id: source.packed(cut_id) for cut_id in source} if source else gliding_rows()
    num_senones = source.num_senones if source else NUM_SENONES
    rows = {cut_id: packed for cut_id, packed in rows.items() if len(packed) >= CHUNK}
    once = sum(map(len, rows.values()))
    repeats = max(1, round(hours * FRAMES_PER_HOUR / once))
    cuts = [(f"{cut_id}/{n}", packed) for n in range(repeats) for cut_id, packed in rows.items()]
    total = once * repeats
    mean = once / len(rows)
    what = f"{total / FRAMES_PER_HOUR:.1f} h, {len(rows)} distinct cuts of {mean:.0f} frames, S = {num_senones}"
    print(f"{what}, {store or 'synthetic'}")
    with tempfile.TemporaryDirectory() as name:
        ours = PosteriorStore.create(Path(name) / "store", num_senones, K)
        plain = PlainFile(Path(name) / "plain", ours.row_bytes)

        def write() -> int:
            with ours.writer() as writer:
                for cut_id, packed in cuts:
                    writer.put(cut_id, packed)
            return total

        found = [
            ("written", per_s(write), per_s(lambda: plain.write(cuts, num_senones) or total), None),
        ]
        ours = PosteriorStore.open(ours.folder)
        assert len(ours) == len(cuts)
        draw = random.Random(1)
        chunks = [(cut_id, draw.randrange(len(packed) - CHUNK + 1)) for cut_id, packed in draw.choices(cuts, k=4000)]
        with open(plain.path, "rb") as stream:

            def read(of: Callable[[str, int, int], int], places: list[tuple[str, int, int]]) -> float:
                return max(per_s(lambda: sum(of(*place) for place in places)) for _ in range(2))

            def of_ours(cut_id: str, start: int, stop: int) -> int:
                return len(ours.frames(cut_id, start, stop)[0])

            def of_plain(cut_id: str, start: int, stop: int) -> int:
                return plain.frames(stream, cut_id, start, stop, num_senones)

            in_memory = dict(cuts)

            def unpacked(cut_id: str, start: int, stop: int) -> int:
                return len(unpack_topk(in_memory[cut_id][start:stop], K, num_senones, 1)[0])

            for how, places in (
                ("in order", [(cut_id, 0, len(packed)) for cut_id, packed in cuts]),
                (f"in random chunks of {CHUNK}", [(cut_id, start, start + CHUNK) for cut_id, start in chunks]),
            ):
                found.append((f"read {how}", read(of_ours, places), read(of_plain, places), read(unpacked, places)))
        damaged = list(verify(ours))
        assert not damaged, damaged[0]
        bytes_ours = sum(path.stat().st_size for path in Path(name).glob("store/**/*") if path.is_file()) / total
        bytes_plain = plain.path.stat().st_size / total
    print(f"bytes a frame, everything included: {bytes_ours:.2f}, packed rows alone {bytes_plain:.2f}")
    peer = "packed rows in a file"
    rates = [row(f"frames {n}, {what}", "frames/s", a, b, peer, bound) for n, a, b, bound in found]
    return [*rates, row(f"frames a kilobyte holds, {what}", "frames/kB", 1000 / bytes_ours, 1000 / bytes_plain, peer)]


if __name__ == "__main__":
    main(
        __doc__.splitlines()[0],
        measure,
        store=("", "folder of a store to take rows from; none: synthetic ones"),
        hours=(20.0, "hours of speech to write"),
    )
