"""Statistics of phones in context: what questions and trees are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyasr.lang.segments import phone_starts
from pyasr.lang.transitions import TransitionModel
from pyasr.ops.stats import accumulate_stats


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
    unique, inverse = _unique(np.concatenate([np.empty((0, 4), np.int32), *windows]))
    count, total, squares = accumulate_stats(features, inverse.astype(np.int32), len(unique))
    return TreeStats(unique, np.concatenate([count[:, None], total, squares], axis=1))


def merge(parts: Sequence[TreeStats]) -> TreeStats:
    """The statistics of several parts of the data together, summed in their order."""
    unique, inverse = _unique(np.concatenate([part.windows for part in parts]))
    packed = np.zeros((len(unique), parts[0].packed.shape[1]))
    begin = 0
    for part in parts:  # rows of one part are unique, so plain indexing adds each once
        end = begin + len(part.windows)
        packed[inverse[begin:end]] += part.packed
        begin = end
    return TreeStats(unique, packed)


def _frame_windows(tids: np.ndarray, transitions: TransitionModel) -> np.ndarray:
    """int32 (T, 4): the row of `windows` that each frame belongs to."""
    starts = phone_starts(tids, transitions)
    phones = np.concatenate([[0], transitions.tid_to_phone[tids[starts]], [0]])
    segment = np.repeat(np.arange(len(starts)), np.diff([*starts, len(tids)]))
    columns = (phones[segment], phones[segment + 1], phones[segment + 2], transitions.tid_to_state[tids])
    return np.stack(columns, axis=1).astype(np.int32)


def _unique(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unique rows sorted by (centre, state, left, right), and for each row given its index among them."""
    base = int(windows.max(initial=0)) + 1
    keys = np.zeros(len(windows), np.int64)
    for column in (1, 3, 0, 2):
        keys = keys * base + windows[:, column]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return windows[first], inverse.reshape(-1)


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
