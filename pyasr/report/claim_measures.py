"""What a claim says of two or three systems, as one number with an interval, from word errors by speaker.

All are paired: a draw of the bootstrap over speakers is the same for every system, so that what makes a speaker hard
for all of them cancels.

    reduction        per cent of the base's errors that the system does not make
    points           by how much the system's WER is lower, in points of per cent
    more_reduction   by how many per cent the system's reduction of the reference's errors is larger than the base's
    more_in_noise    the reduction in noise less the reduction in clean speech, in points of per cent
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pyasr.base.errors import DataError
from pyasr.decode.bootstrap import interval95
from pyasr.decode.compare import Rows, paired_counts, relative_reduction


@dataclass(frozen=True)
class Measured:
    """estimate, ends: in the measure's unit, positive where the system is better; ends of the 95 % interval. sides: WER
    of each, per cent."""

    estimate: float
    ends: tuple[float, float]
    sides: tuple[float, ...]
    speakers: int


def _reduction(errors: np.ndarray, words: np.ndarray) -> np.ndarray:
    return relative_reduction(errors)


def _points(errors: np.ndarray, words: np.ndarray) -> np.ndarray:
    return 100.0 * (errors[:, 0] - errors[:, 1]) / words[:, 0]


def _more_reduction(errors: np.ndarray, words: np.ndarray) -> np.ndarray:
    base, system = errors[:, 0] - errors[:, 1], errors[:, 0] - errors[:, 2]
    # A draw in which the base reduces nothing bounds no ratio: it widens the interval instead of being left out.
    unbounded = np.where(system > base, np.inf, -np.inf)
    return np.where(base > 0, 100.0 * (system / np.where(base > 0, base, 1.0) - 1.0), unbounded)


def _more_in_noise(errors: np.ndarray, words: np.ndarray) -> np.ndarray:
    return relative_reduction(errors[:, 2:]) - relative_reduction(errors[:, :2])


Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]

_STATISTICS: dict[str, Statistic] = {
    "reduction": _reduction,
    "points": _points,
    "more_reduction": _more_reduction,
    "more_in_noise": _more_in_noise,
}
UNITS = {"reduction": "%", "points": "points", "more_reduction": "%", "more_in_noise": "points"}


def measure(name: str, sides: Sequence[Rows]) -> Measured:
    """sides: rows with speaker, sub, del, ins, words. reduction, points: base, system; more_reduction: reference, base,
    system; more_in_noise: base and system in clean speech, base and system in noise.

    DataError when the sides are not paired, or where the measure is not defined.
    """
    # Those of two conditions are pairs of their own: other words, but the same speakers.
    pairs = [sides[:2], sides[2:]] if name == "more_in_noise" else [sides]
    columns = [paired_counts(*pair) for pair in pairs]
    if any(set(found) != set(columns[0]) for found in columns):
        raise DataError("the comparison is not paired: the speakers in noise are not those in clean speech")
    speakers = sorted(columns[0])
    # (U, C, 2): errors and words of speaker and side.
    counts = np.array([[row for found in columns for row in found[speaker]] for speaker in speakers], np.float64)
    if len(speakers) < 2:
        raise DataError("a comparison needs at least two speakers to draw from")
    num_sides = counts.shape[1]

    def statistic(sums: np.ndarray) -> np.ndarray:
        by_side = sums.reshape(len(sums), num_sides, 2)
        return _STATISTICS[name](by_side[..., 0], by_side[..., 1])

    total = counts.sum(axis=0)
    estimate = float(statistic(total.reshape(1, -1))[0])
    if not np.isfinite(estimate):
        raise DataError(f"{name} is not defined: what it is relative to is zero or less")
    ends = interval95(counts.reshape(len(speakers), -1), statistic, seed=0)
    return Measured(estimate, ends, tuple(100.0 * errors / words for errors, words in total), len(speakers))
