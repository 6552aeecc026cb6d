"""Claims, judged from the rows of the tables of results and of measures alone.

A comparison needs the runs on which the settings of all its sides are declared to be run. Where one of them lacks rows,
what there is is shown, but nothing is decided from it; nor from a measure that a single run has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pyasr.base.errors import ConfigError, DataError
from pyasr.report.claim_measures import Measured, measure
from pyasr.report.claim_options import ClaimOptions, ComparisonOptions
from pyasr.report.claim_values import Valued, Values, compare_values, values_of
from pyasr.report.comparison import NOISY, Part, Results, Run, Side
from pyasr.report.measures_table import MEASURES, MeasureRow
from pyasr.report.results_table import ResultRow

HOLDS, FAILS, UNDECIDED, INCOMPLETE, SHOWN = "holds", "fails", "not decided", "incomplete", "shown"
_ORDER = (FAILS, INCOMPLETE, UNDECIDED, HOLDS, SHOWN)


@dataclass(frozen=True)
class Declared:
    """A setting of an experiment file. file: as it was given. options: digest of those that its rows should have."""

    experiment: str
    file: str
    runs: tuple[Run, ...]
    options: str


@dataclass(frozen=True)
class Outcome:
    """A comparison in one condition, which may be a pooled one: of `members`. Of a measure: in one run, or the mean.

    reason: why nothing was measured though rows are there. missing: {side: parts of the grid that it lacks}.
    folds: of how many there is something from all sides.
    """

    condition: str
    members: tuple[str, ...]
    verdict: str
    measured: Measured | Valued | None
    missing: Mapping[Side, tuple[Part, ...]]
    folds: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Level:
    """A side by itself: its WER in per cent with the 95 % interval, or the mean of a measure with least and most."""

    value: float
    ends: tuple[float, float]


@dataclass(frozen=True)
class Compared:
    """outcomes: of each condition, or of each run and their mean; none where there is a gap.

    levels: of base and system in what decides, where the figure over x shows them; None of a side without rows.
    """

    options: ComparisonOptions
    outcomes: tuple[Outcome, ...]
    levels: tuple[Level | None, Level | None] | None = None

    @property
    def verdict(self) -> str:
        return self.outcomes[-1].verdict if self.outcomes else INCOMPLETE

    @property
    def is_empty(self) -> bool:
        """Whether no condition has anything to show."""
        return not any(outcome.measured or outcome.reason for outcome in self.outcomes)


@dataclass(frozen=True)
class Judged:
    """A claim with what its comparisons came to."""

    options: ClaimOptions
    compared: tuple[Compared, ...]

    @property
    def verdict(self) -> str:
        """That of its comparisons that weighs most: one that fails, one with missing rows, one not decided."""
        return min((found.verdict for found in self.compared), key=_ORDER.index)


AnyRow = TypeVar("AnyRow", ResultRow, MeasureRow)


def rows_of(settings: Mapping[str, Declared], rows: Iterable[AnyRow]) -> tuple[AnyRow, ...]:
    """Those of the declared settings."""
    return tuple(row for row in rows if row.setting in settings and settings[row.setting].experiment == row.experiment)


def judge(
    claims: Iterable[ClaimOptions],
    rows: Iterable[ResultRow],
    measures: Iterable[MeasureRow],
    settings: Mapping[str, Declared],
    folds: Sequence[int],
) -> list[Judged]:
    """What the rows of the declared settings say of each claim. folds: that count; none: all.

    ConfigError when a comparison names a setting that is not there.
    """
    kept, values = rows_of(settings, rows), values_of(rows_of(settings, measures))
    return [
        Judged(claim, tuple(_compare(claim, chosen, kept, values, settings, folds) for chosen in claim.comparison))
        for claim in claims
    ]


def notes(rows: Iterable[ResultRow | MeasureRow], settings: Mapping[str, Declared]) -> list[str]:
    """What a reader has to know of where the rows come from."""
    older = {row.setting for row in rows_of(settings, rows) if settings[row.setting].options != row.options}
    if not older:
        return []
    return [
        f"rows of {', '.join(sorted(older))} were made with other options than their files have now; running the"
        " experiment again replaces them"
    ]


def _compare(
    claim: ClaimOptions,
    chosen: ComparisonOptions,
    rows: tuple[ResultRow, ...],
    values: Values,
    settings: Mapping[str, Declared],
    folds: Sequence[int],
) -> Compared:
    if chosen.gap:
        return Compared(chosen, ())
    where = f"claim {claim.name}: {chosen.label}"
    unknown = sorted({setting for _, setting in chosen.sides} - settings.keys())
    if unknown:
        raise ConfigError(f"{where}: no setting {', '.join(unknown)}; there are {', '.join(settings)}")
    grid = _grid(where, chosen, settings, folds)
    if chosen.measure in MEASURES:
        return _compare_values(chosen, values, grid)
    results = Results(rows, grid=grid)
    if chosen.measure == "more_in_noise":
        clean, noisy = ("clean",), chosen.members(NOISY)
        outcomes = (_outcome(results, chosen, NOISY, [clean, noisy]),)
    else:
        outcomes = tuple(_outcome(results, chosen, name, [chosen.members(name)]) for name in chosen.conditions)
    if chosen.x is None:
        return Compared(chosen, outcomes)
    pooled = [results.pooled(side, chosen.members(chosen.conditions[-1])) for side in chosen.sides[-2:]]
    base, system = (Level(one.wer, one.ci95) if one.wer is not None and one.ci95 else None for one in pooled)
    return Compared(chosen, outcomes, (base, system))


def _compare_values(chosen: ComparisonOptions, values: Values, grid: Sequence[Run]) -> Compared:
    name, sides = chosen.measure, chosen.sides
    of_side = {side: {run: values[name, side, run] for run in grid if (name, side, run) in values} for side in sides}
    missing = {side: tuple((*run, name) for run in grid if run not in found) for side, found in of_side.items()}
    runs = [run for run in grid if all(run in found for found in of_side.values())]
    pairs = [tuple(of_side[side][run] for side in sides) for run in runs]
    try:
        each = [compare_values(name, [pair]) for pair in pairs]
        mean, reason = compare_values(name, pairs) if pairs else None, ""
    except DataError as error:
        each, mean, reason = [], None, str(error)
    several_seeds = len({seed for _, seed in grid}) > 1
    outcomes = [
        Outcome(_run_name(run, several_seeds), (name,), _verdict(chosen, found), found, {}, 1)
        for run, found in zip(runs, each)
    ]
    what = outcomes.pop().condition if len(outcomes) == 1 else f"mean of {len(runs)}"
    if mean is None or any(missing.values()):
        verdict = INCOMPLETE
    else:  # one run has nothing beside it that would say by how much another differs
        verdict = UNDECIDED if len(grid) == 1 and chosen.expect != "shown" else _verdict(chosen, mean)
    outcomes.append(Outcome(what, (name,), verdict, mean, missing, len({run[0] for run in runs}), reason))
    if chosen.x is None:
        return Compared(chosen, tuple(outcomes))
    base, system = (_level(list(of_side[side].values())) for side in sides)
    return Compared(chosen, tuple(outcomes), (base, system))


def _level(values: Sequence[float]) -> Level | None:
    return Level(sum(values) / len(values), (min(values), max(values))) if values else None


def _run_name(run: Run, several_seeds: bool) -> str:
    fold, seed = run
    return f"seed {seed}" if fold is None else f"fold {fold}" + f" seed {seed}" * several_seeds


def _grid(
    where: str, chosen: ComparisonOptions, settings: Mapping[str, Declared], folds: Sequence[int]
) -> tuple[Run, ...]:
    declared = [set(settings[setting].runs) for _, setting in chosen.sides]
    runs = [run for run in set.intersection(*declared) if not folds or run[0] in folds]
    if not runs:
        raise ConfigError(f"{where}: no run that the settings of all its sides have in common")
    return tuple(sorted(runs, key=lambda run: (-1 if run[0] is None else run[0], run[1])))


def _outcome(results: Results, chosen: ComparisonOptions, name: str, groups: Sequence[Sequence[str]]) -> Outcome:
    """groups: of conditions; the sides are compared in each of them, in the same runs."""
    members = [condition for group in groups for condition in group]
    missing, parts = results.common(chosen.sides, members)
    if len(groups) > 1:  # of a run all groups or none
        whole = set.intersection(*({part[:2] for part in parts if part[2] in group} for group in groups))
        parts = [part for part in parts if part[:2] in whole]
    measured, reason = None, ""
    if parts:
        sides = [
            results.counts(side, [part for part in parts if part[2] in group])
            for group in groups
            for side in chosen.sides
        ]
        try:
            measured = measure(chosen.measure, sides)
        except DataError as error:
            reason = str(error)
    complete = measured is not None and not any(missing.values())
    verdict = _verdict(chosen, measured) if complete and measured else INCOMPLETE
    return Outcome(name, tuple(members), verdict, measured, missing, len({part[0] for part in parts}), reason)


def _verdict(chosen: ComparisonOptions, measured: Measured | Valued) -> str:
    if chosen.expect == "shown":
        return SHOWN
    low, high = measured.ends
    if chosen.expect == "not_better":
        low, high = -high, -low
    bound = 0.0 if chosen.expect == "better" else -chosen.margin
    return HOLDS if low > bound else FAILS if high < bound else UNDECIDED
