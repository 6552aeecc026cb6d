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
from pyasr.decode.score import Counts, counts_by

Rows = Iterable[Mapping[str, Any]]
"""With speaker, sub, del, ins, words."""


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
    baseline: Rows,
    other: Rows,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Comparison:
    """Compare two systems from rows that hold speaker, sub, del, ins, words.

    The rows may be utterances of score files or rows of a results table, of one condition or several, one seed or
    several: they are pooled by speaker. DataError when the speakers or their numbers of words differ (then the
    comparison is not paired), when there is one speaker only, or when the baseline makes no error.
    """
    counts = np.array(list(paired_counts(baseline, other).values()), dtype=np.float64)
    errors = counts[:, :, 0]
    if len(errors) < 2:
        raise DataError("a comparison needs at least two speakers to draw from")
    if errors[:, 0].sum() == 0:
        raise DataError("the baseline makes no word error: a relative difference is not defined")
    words = counts[:, 0, 1].sum()
    rates = [100.0 * float(count) / words for count in errors.sum(axis=0)]
    return Comparison(
        baseline_wer=rates[0],
        other_wer=rates[1],
        relative_reduction=float(relative_reduction(errors.sum(axis=0, keepdims=True))[0]),
        ci95=interval95(errors, relative_reduction, seed, replicates),
        speakers=len(errors),
    )


def paired_counts(*sides: Rows) -> dict[str, list[tuple[int, int]]]:
    """{speaker: (errors, words) of each side}; DataError when the sides' speakers or numbers of words differ."""
    pooled = [counts_by(side) for side in sides]
    for other in pooled[1:]:
        _check_paired(pooled[0], other)
    if not any(counts["words"] for counts in pooled[0].values()):
        raise DataError("no reference words: a word error rate is not defined")
    return {speaker: [(_errors(side[speaker]), side[speaker]["words"]) for side in pooled] for speaker in pooled[0]}


def _errors(counts: Counts) -> int:
    return counts["sub"] + counts["del"] + counts["ins"]


def relative_reduction(sums: np.ndarray) -> np.ndarray:
    """(R, 2) errors of baseline and other -> (R,) per cent.

    A draw without baseline errors: 0 when the other has none too, else -inf.
    """
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
