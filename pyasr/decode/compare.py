"""Paired comparison of two systems recognised on the same utterances.

The relative reduction of word errors, 100 (E_baseline - E_other) / E_baseline, with a bootstrap over speakers in
which both systems see the same draw: what makes a speaker hard for both cancels. A difference "holds" when the
95 % interval excludes zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyasr.base.errors import DataError
from pyasr.decode.bootstrap import REPLICATES, interval95
from pyasr.decode.score import Counts, counts_by, total, wer


@dataclass(frozen=True)
class Comparison:
    """baseline_wer, other_wer: per cent. relative_reduction, ci95: per cent of the baseline's errors, positive when
    the other system makes fewer. speakers: how many were drawn from."""

    baseline_wer: float
    other_wer: float
    relative_reduction: float
    ci95: tuple[float, float]
    speakers: int

    @property
    def holds(self) -> bool:
        """Whether the interval excludes zero."""
        return self.ci95[0] > 0 or self.ci95[1] < 0


def compare(
    baseline: Iterable[Mapping[str, Any]],
    other: Iterable[Mapping[str, Any]],
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Comparison:
    """Compare two systems from rows that hold speaker, sub, del, ins, words.

    The rows may be utterances of score files or rows of a results table, of one condition or several, one seed or
    several: they are pooled by speaker. DataError when the speakers or their numbers of words differ (then the
    comparison is not paired), when there is one speaker only, or when the baseline makes no error.
    """
    pooled = counts_by(baseline), counts_by(other)
    _check_paired(*pooled)
    # Columns: errors of the baseline, errors of the other.
    errors = np.array([[_errors(side[speaker]) for side in pooled] for speaker in pooled[0]], dtype=np.float64)
    if len(errors) < 2:
        raise DataError("a comparison needs at least two speakers to draw from")
    if errors[:, 0].sum() == 0:
        raise DataError("the baseline makes no word error: a relative difference is not defined")
    return Comparison(
        baseline_wer=wer(total(pooled[0].values())),
        other_wer=wer(total(pooled[1].values())),
        relative_reduction=float(_relative_reduction(errors.sum(axis=0, keepdims=True))[0]),
        ci95=interval95(errors, _relative_reduction, seed, replicates),
        speakers=len(errors),
    )


def _errors(counts: Counts) -> int:
    return counts["sub"] + counts["del"] + counts["ins"]


def _relative_reduction(sums: np.ndarray) -> np.ndarray:
    """(R, 2) errors -> (R,) per cent. A draw without baseline errors: 0 when the other has none too, else -inf."""
    baseline, other = sums[:, 0], sums[:, 1]
    reduction = 100.0 * (baseline - other) / np.where(baseline > 0, baseline, 1.0)
    return np.where(baseline > 0, reduction, np.where(other > 0, -np.inf, 0.0))


def _check_paired(baseline: Mapping[str, Counts], other: Mapping[str, Counts]) -> None:
    only = sorted(baseline.keys() ^ other.keys())
    if only:
        raise DataError(
            f"the comparison is not paired: {len(only)} speakers are in one system's rows only,"
            f" the first is {only[0]!r}"
        )
    for speaker, counts in baseline.items():
        words = counts["words"], other[speaker]["words"]
        if words[0] != words[1]:
            raise DataError(
                f"the comparison is not paired: speaker {speaker!r} has {words[0]} words in the baseline's rows and"
                f" {words[1]} in the other's; the same conditions, folds and seeds are needed on both sides"
            )
