"""Checks of the arrays handed to a kernel: nothing is converted silently."""

from __future__ import annotations

import numpy as np


def checked(name: str, array: np.ndarray, dtype: type, ndim: int) -> np.ndarray:
    """The array, made contiguous (a copy only if it is not). TypeError or ValueError for another dtype or rank."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}, not a NumPy array")
    if array.dtype != dtype:
        raise TypeError(f"{name} is {array.dtype}, not {np.dtype(dtype).name}")
    if array.ndim != ndim:
        raise ValueError(f"{name} has {array.ndim} dimensions, not {ndim}")
    return np.ascontiguousarray(array)
