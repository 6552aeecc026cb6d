"""Statistics of phones in context: what questions and trees are made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pyasr.lang.segments import phone_starts
from pyasr.lang.transitions import TransitionModel
from pyasr.ops.stats import accumulate_stats

_COLUMNS_AT_ONCE = 8  # a cache line


@dataclass(frozen=True)
class TreeStats:
    """Only the contexts that were seen have a row.

    windows: int32 (K, 4), rows (left, centre, right, state), sorted by (centre, state, left, right), unique;
    0 is outside the utterance. packed: float64 (K, 1 + 2 D), columns count, sum, sum of squares.
    """

    windows: np.ndarray
    packed: np.ndarray

    @property
    def dim(self) -> int:
        return (self.packed.shape[1] - 1) // 2

    @property
    def total(self) -> np.ndarray:
        """(1 + 2 D,) over all contexts."""
        return self.packed.sum(axis=0)


def collect(features: np.ndarray, alignments: Sequence[np.ndarray], transitions: TransitionModel) -> TreeStats:
    """Statistics of aligned utterances.

    features: float32 (T, D), the frames of all utterances one after the other. alignments: transition ids
    int32, one array an utterance.
    """
    windows = [_frame_windows(tids, transitions) for tids in alignments]
    return collect_frames(features, np.concatenate([np.empty((0, 4), np.int32), *windows]))


def collect_frames(features: np.ndarray, windows: np.ndarray) -> TreeStats:
    """Statistics of frames whose windows are known. features: float32 (T, D). windows: int32 (T, 4)."""
    _, first, inverse = np.unique(_keys(windows), return_index=True, return_inverse=True)
    count, total, squares = accumulate_stats(features, inverse.reshape(-1).astype(np.int32), len(first))
    return TreeStats(windows[first], np.concatenate([count[:, None], total, squares], axis=1))


def merge(parts: Iterable[TreeStats]) -> TreeStats:
    """The statistics of several parts of the data together, summed in their order.

    Parts may be made as they are asked for: beside the sum no more than two are held.
    """
    parts = iter(parts)
    first = next(parts)
    windows, packed, keys = first.windows, first.packed.copy(), _keys(first.windows)
    row_of = np.arange(len(keys))  # where the sum has the rows of `keys`, which are sorted
    for part in parts:
        part_keys = _keys(part.windows)
        place = np.searchsorted(keys, part_keys).clip(max=max(0, len(keys) - 1))
        known = keys[place] == part_keys if len(keys) else np.zeros(len(part_keys), bool)
        packed[row_of[place[known]]] += part.packed[known]
        begin = len(packed)
        # Nothing else refers to the sum: it grows where it lies, without a copy of what may be gigabytes.
        packed.resize((begin + int((~known).sum()), packed.shape[1]), refcheck=False)
        packed[begin:] = part.packed[~known]
        windows = np.concatenate([windows, part.windows[~known]])
        keys = np.concatenate([keys, part_keys[~known]])
        order = np.argsort(keys, kind="stable")
        keys, row_of = keys[order], np.concatenate([row_of, np.arange(begin, len(packed))])[order]
    _permute_rows(packed, row_of)
    return TreeStats(windows[row_of], packed)


def _permute_rows(packed: np.ndarray, order: np.ndarray) -> None:
    """packed[:] = packed[order], some columns at a time to hold no second copy of it."""
    if not np.array_equal(order, np.arange(len(order))):
        for begin in range(0, packed.shape[1], _COLUMNS_AT_ONCE):
            packed[:, begin : begin + _COLUMNS_AT_ONCE] = packed[order, begin : begin + _COLUMNS_AT_ONCE]


def _frame_windows(tids: np.ndarray, transitions: TransitionModel) -> np.ndarray:
    """int32 (T, 4): the row of `windows` that each frame belongs to."""
    starts = phone_starts(tids, transitions)
    phones = np.concatenate([[0], transitions.tid_to_phone[tids[starts]], [0]])
    segment = np.repeat(np.arange(len(starts)), np.diff([*starts, len(tids)]))
    columns = (phones[segment], phones[segment + 1], phones[segment + 2], transitions.tid_to_state[tids])
    return np.stack(columns, axis=1).astype(np.int32)


def _keys(windows: np.ndarray) -> np.ndarray:
    """int64 (K,) that sort as (centre, state, left, right) do; each column below 2^15."""
    keys = np.zeros(len(windows), np.int64)
    for column in (1, 3, 0, 2):
        keys = (keys << 15) + windows[:, column]
    return keys


def loglike(packed: np.ndarray, variance_floor: np.ndarray) -> np.ndarray:
    """Log-likelihood of the frames of each row under its own diagonal Gaussian.

    packed: (..., 1 + 2 D) -> (...,). variance_floor: (D,). No frames: 0.
    """
    dim = len(variance_floor)
    count = packed[..., 0]
    divisor = np.maximum(count, 1e-10)[..., None]
    mean = packed[..., 1 : dim + 1] / divisor
    variance = np.maximum(packed[..., dim + 1 :] / divisor - mean**2, variance_floor)
    return -0.5 * count * (np.log(variance).sum(axis=-1) + dim * (1.0 + np.log(2 * np.pi)))


def floor_of(total: np.ndarray) -> np.ndarray:
    """The variance floor (D,) of trees: a thousandth of the variance of all frames. total: (1 + 2 D,)."""
    dim = (len(total) - 1) // 2
    mean = total[1 : dim + 1] / total[0]
    return np.maximum(1e-3 * (total[dim + 1 :] / total[0] - mean**2), 1e-10)
