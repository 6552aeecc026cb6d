"""What a claim says of two networks by a measure of the table of measures: one value of each a run.

There are no speakers to draw from, and a few folds carry no interval that one could believe. So every run is shown
beside the mean, and a claim needs all of them: it holds when each run by itself is beyond the bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyasr.report.comparison import Run, Side
from pyasr.report.measures_table import MEASURES, MeasureRow

Values = dict[tuple[str, Side, Run], float]
"""{(measure, side, run): value}"""


@dataclass(frozen=True)
class Valued:
    """estimate: of the means, in per cent of the base's, positive where the system is better. ends: the least and the
    most of the runs. sides: means of base and system, in the measure's unit."""

    estimate: float
    ends: tuple[float, float]
    sides: tuple[float, float]
    runs: int


def values_of(rows: Iterable[MeasureRow]) -> Values:
    """The rows by what they are about."""
    return {(row.measure, (row.system, row.setting), (row.fold, row.seed)): row.value for row in rows}


def compare_values(name: str, pairs: Sequence[tuple[float, float]]) -> Valued:
    """pairs: of base and system, one or more runs. DataError where the base is zero."""
    reductions = [MEASURES[name].reduction(*pair) for pair in pairs]
    base, system = (sum(column) / len(pairs) for column in zip(*pairs))
    estimate, ends = MEASURES[name].reduction(base, system), (min(reductions), max(reductions))
    return Valued(estimate, ends, (base, system), len(pairs))
