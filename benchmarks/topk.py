"""Packing the 20 best posteriors of a frame against torch's topk and logsumexp, on the same logits and threads.

The peer only selects and normalises, and leaves nothing packed. The bound is the reading of the logits once, at the
bandwidth that torch's sum reaches in this process on a matrix that fits no cache.
"""

from __future__ import annotations

import numpy as np
import torch
from common import best_s, main, row

import pyasr.ops

K = 20
THREADS = 2
BYTES = 200_000_000


def shaped_logits(num_rows: int, num_senones: int) -> torch.Tensor:
    """Gaussian noise minus 2 log rank: a highest posterior of about one half."""
    rng = np.random.default_rng(0)
    logits = np.empty((num_rows, num_senones), np.float32)
    fall = 2 * np.log1p(np.arange(num_senones, dtype=np.float32))
    for frame in logits:
        frame[:] = 1.5 * rng.standard_normal(num_senones, dtype=np.float32) - rng.permutation(fall)
    return torch.from_numpy(logits)


def read_bandwidth() -> float:
    """Bytes a second."""
    data = torch.ones(BYTES // 4)
    return BYTES / best_s(data.sum)


def with_torch(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    highest, ids = logits.topk(K, dim=1)
    return highest - logits.logsumexp(dim=1, keepdim=True), ids


def measure() -> list[dict]:
    torch.set_num_threads(THREADS)
    bandwidth = read_bandwidth()
    rows = []
    for num_senones in (300, 3183, 60000):
        frames = shaped_logits(BYTES // 4 // num_senones, num_senones)
        for logits in (frames, frames.bfloat16()):
            ours_ids, ours = pyasr.ops.unpack_topk(pyasr.ops.pack_topk(logits, K), K, num_senones)
            theirs, ids = with_torch(logits.float())
            same = ours_ids == ids  # torch leaves the order of equal logits open
            assert same.float().mean() > 0.5 and (ours - theirs)[same].abs().max() < 0.3
            ours_s = best_s(lambda x=logits: pyasr.ops.pack_topk(x, K))
            peer_s = best_s(lambda x=logits: with_torch(x), repeats=3)
            dtype = str(logits.dtype).removeprefix("torch.")
            rows.append(
                row(
                    f"pack_topk, k = {K}, S = {num_senones}, {dtype}",
                    "frames/s",
                    len(logits) / ours_s,
                    len(logits) / peer_s,
                    f"torch topk and logsumexp, {THREADS} threads",
                    bound=bandwidth / (num_senones * logits.element_size()),
                )
            )
    return rows


if __name__ == "__main__":
    main(__doc__.splitlines()[0], measure)
