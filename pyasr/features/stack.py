"""Stacking of 10 ms frames into 30 ms frames."""

from __future__ import annotations

import numpy as np


def stack_frames(frames: np.ndarray, factor: int = 3, phase: int = 0) -> np.ndarray:
    """Join `factor` consecutive frames into one, without overlap.

    frames: (T, D). phase: 0..factor-1 frames are dropped at the start, so output frame i begins at
    input frame phase + factor * i. Returns ((T - phase) // factor, factor * D): no incomplete last stack.
    """
    if not 0 <= phase < factor:
        raise ValueError(f"phase {phase} is not in 0..{factor - 1}")
    dim = frames.shape[1]
    stacks = max(0, len(frames) - phase) // factor
    return np.ascontiguousarray(frames[phase : phase + stacks * factor]).reshape(stacks, factor * dim)
