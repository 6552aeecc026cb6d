"""Grouped statistics against torch's index_add_ in float64, one thread each."""

from __future__ import annotations

import numpy as np
import torch
from common import best_s, main, row

from pyasr.ops.stats import accumulate_stats

FRAMES = 200_000


def with_torch(features: np.ndarray, keys: np.ndarray, num_keys: int) -> tuple[torch.Tensor, ...]:
    x, k = torch.from_numpy(features).double(), torch.from_numpy(keys)
    total, squares = (torch.zeros(num_keys, x.shape[1], dtype=torch.float64) for _ in range(2))
    count = torch.bincount(k, minlength=num_keys).double()
    return count, total.index_add_(0, k, x), squares.index_add_(0, k, x * x)


def measure() -> list[dict]:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    rows = []
    for dim, num_keys in ((39, 3000), (39, 100_000), (97, 300)):
        features = rng.normal(size=(FRAMES, dim)).astype(np.float32)
        keys = rng.integers(0, num_keys, FRAMES).astype(np.int32)
        for ours, theirs in zip(accumulate_stats(features, keys, num_keys), with_torch(features, keys, num_keys)):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-9, atol=1e-9)
        ours_s = best_s(lambda f=features, k=keys, n=num_keys: accumulate_stats(f, k, n))
        peer_s = best_s(lambda f=features, k=keys, n=num_keys: with_torch(f, k, n))
        name = f"accumulate_stats, D = {dim}, K = {num_keys}"
        rows.append(row(name, "frames/s", FRAMES / ours_s, FRAMES / peer_s, "torch index_add_ in float64"))
    return rows


if __name__ == "__main__":
    main(__doc__.splitlines()[0], measure)
