"""Splicing of neighbouring frames."""

from __future__ import annotations

import numpy as np


def splice(frames: np.ndarray, left: int, right: int) -> np.ndarray:
    """Set each frame beside its neighbours, as Kaldi's splice-feats, edge frames repeated.

    (T, D) -> (T, D * (left + 1 + right)), the dtype kept; block j holds frame t - left + j.
    """
    length, dim = frames.shape
    if length == 0:
        return np.empty((0, dim * (left + 1 + right)), frames.dtype)
    rows = np.arange(length)[:, None] + np.arange(-left, right + 1)
    return frames[np.clip(rows, 0, length - 1)].reshape(length, -1)
