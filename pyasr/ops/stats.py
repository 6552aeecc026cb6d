"""Statistics of feature frames grouped by a key: what trees and diagonal Gaussians are estimated from."""

from __future__ import annotations

import numpy as np

from pyasr import _core
from pyasr.ops.arrays import checked


def accumulate_stats(
    features: np.ndarray,
    keys: np.ndarray,
    num_keys: int,
    weights: np.ndarray | None = None,
    num_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted count, sum and sum of squares of the frames of each key.

    features: float32 (T, D). keys: int32 (T,) in [-1, num_keys); frames with -1 are left out.
    weights: float32 (T,), all one when None.
    Returns count float64 (K,), sum float64 (K, D), sumsq float64 (K, D); K = num_keys. Sums run over the
    frames in order whatever num_threads. ValueError names the frame of a key out of range or of a value
    or weight that is not finite; TypeError for other types (nothing is converted silently).
    """
    if weights is not None and len(weights) != len(features):
        raise ValueError(f"number of weights: {len(weights)} is not {len(features)}")
    return _core.accumulate_stats(
        checked("features", features, np.float32, 2),
        checked("keys", keys, np.int32, 1),
        checked("weights", np.empty(0, np.float32) if weights is None else weights, np.float32, 1),
        num_keys,
        num_threads,
    )
