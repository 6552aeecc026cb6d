"""Claims, judged from the rows of the table of results alone.

A comparison needs the runs on which the settings of all its sides are declared to be run. Where one of them lacks rows,
what there is is shown, but nothing is decided from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyasr.base.errors import ConfigError, DataError
from pyasr.report.claim_measures import Measured, measure
from pyasr.report.claim_options import ClaimOptions, ComparisonOptions
from pyasr.report.comparison import NOISY, Part, Pooled, Results, Run, Side
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
    """A comparison in one condition, which may be a pooled one: of `members`.

    reason: why nothing was measured though rows are there. missing: {side: parts of the grid that it lacks}.
    folds: of how many there is something from all sides.
    """

    condition: str
    members: tuple[str, ...]
    verdict: str
    measured: Measured | None
    missing: Mapping[Side, tuple[Part, ...]]
    folds: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Compared:
    """outcomes: of each condition; none where there is a gap.

    rates: WER of base and system in the condition that decides, where the figure over x shows them.
    """

    options: ComparisonOptions
    outcomes: tuple[Outcome, ...]
    rates: tuple[Pooled, Pooled] | None = None

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


def judge(
    claims: Iterable[ClaimOptions], rows: Iterable[ResultRow], settings: Mapping[str, Declared], folds: Sequence[int]
) -> list[Judged]:
    """What the rows of the declared settings say of each claim. folds: that count; none: all.

    ConfigError when a comparison names a setting that is not there.
    """
    kept = tuple(row for row in rows if row.setting in settings and settings[row.setting].experiment == row.experiment)
    return [
        Judged(claim, tuple(_compare(claim, chosen, kept, settings, folds) for chosen in claim.comparison))
        for claim in claims
    ]


def notes(rows: Iterable[ResultRow], settings: Mapping[str, Declared]) -> list[str]:
    """What a reader has to know of where the rows come from."""
    older = {
        row.setting
        for row in rows
        if row.setting in settings
        and settings[row.setting].experiment == row.experiment
        and settings[row.setting].options != row.options
    }
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
    settings: Mapping[str, Declared],
    folds: Sequence[int],
) -> Compared:
    if chosen.gap:
        return Compared(chosen, ())
    where = f"claim {claim.name}: {chosen.label}"
    unknown = sorted({setting for _, setting in chosen.sides} - settings.keys())
    if unknown:
        raise ConfigError(f"{where}: no setting {', '.join(unknown)}; there are {', '.join(settings)}")
    results = Results(rows, grid=_grid(where, chosen, settings, folds))
    if chosen.measure == "more_in_noise":
        clean, noisy = ("clean",), chosen.members(NOISY)
        outcomes = (_outcome(results, chosen, NOISY, [clean, noisy]),)
    else:
        outcomes = tuple(_outcome(results, chosen, name, [chosen.members(name)]) for name in chosen.conditions)
    rates = None
    if chosen.x is not None:
        base, system = (results.pooled(side, chosen.members(chosen.conditions[-1])) for side in chosen.sides[-2:])
        rates = base, system
    return Compared(chosen, outcomes, rates)


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
    if chosen.expect == "shown" and complete:
        verdict = SHOWN
    return Outcome(name, tuple(members), verdict, measured, missing, len({part[0] for part in parts}), reason)


def _verdict(chosen: ComparisonOptions, measured: Measured) -> str:
    low, high = measured.ci95
    if chosen.expect == "not_better":
        low, high = -high, -low
    bound = 0.0 if chosen.expect == "better" else -chosen.margin
    return HOLDS if low > bound else FAILS if high < bound else UNDECIDED
