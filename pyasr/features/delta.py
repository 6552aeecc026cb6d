"""Delta features."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np


def add_deltas(frames: np.ndarray, order: int = 2, window: int = 2) -> np.ndarray:
    """Append regression deltas, as Kaldi's add-deltas, edge frames repeated.

    (T, D) -> (T, D * (order + 1)) float32: the frames, their deltas, the deltas of those.
    """
    if len(frames) == 0:
        return np.empty((0, frames.shape[1] * (order + 1)), np.float32)
    options = knf.DeltaOptions(order=order, window=window)
    return knf.compute_deltas(options, np.ascontiguousarray(frames, np.float32))
