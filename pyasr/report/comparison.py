"""Comparisons of systems, computed from the table of results alone.

Counts are pooled over folds, in each of which other speakers are tested, and averaged over seeds: where a fold has
several, each of them counts in proportion, so that every speaker weighs by the words spoken. Intervals are by the
bootstrap over speakers; differences are paired (`pyasr.decode.compare`).

What is expected is the full grid: every fold and seed that the experiment has rows of, in every condition, for each
setting and system in question. A part of the grid whose rows are missing is named; nothing is computed from
half a test part.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyasr.base.errors import ConfigError, DataError
from pyasr.decode.compare import Comparison, compare
from pyasr.decode.score import wer_entry
from pyasr.report.results_table import ResultRow

Side = tuple[str, str]
"""(system, setting)"""

Run = tuple["int | None", int]
"""(fold, seed)"""

Part = tuple["int | None", int, str]
"""(fold, seed, condition): a test part, decoded once."""

NOISY = "noisy"
ALL = "all"


@dataclass(frozen=True)
class Pooled:
    """A system's WER (per cent) in a condition; None when nothing is there. missing: what the grid lacks."""

    wer: float | None
    ci95: tuple[float, float] | None
    missing: tuple[Part, ...]
    expected: int


@dataclass(frozen=True)
class Difference:
    """Base against system in a condition. comparison: None when nothing can be compared, `reason` says why.

    missing: {side: parts of the grid that it lacks}; only what both have is compared. folds, seeds: how many were.
    """

    base: Side
    system: Side
    condition: str
    comparison: Comparison | None
    reason: str
    folds: int
    seeds: int
    missing: dict[Side, tuple[Part, ...]]


@dataclass(frozen=True)
class Results:
    """The rows of one experiment. folds, seeds, systems, settings, conditions: all that occur, in a fixed order.

    grid: the runs that are expected; None: those that the rows are of.
    """

    rows: tuple[ResultRow, ...]
    grid: tuple[Run, ...] | None = None
    _cells: dict[tuple[Side, Part], list[ResultRow]] = field(init=False, repr=False)
    _speakers: dict[tuple[int | None, str], set[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        cells: dict[tuple[Side, Part], list[ResultRow]] = {}
        speakers: dict[tuple[int | None, str], set[str]] = {}
        for row in self.rows:
            cells.setdefault(((row.system, row.setting), (row.fold, row.seed, row.condition)), []).append(row)
            speakers.setdefault((row.fold, row.condition), set()).add(row.speaker)
        object.__setattr__(self, "_cells", cells)
        object.__setattr__(self, "_speakers", speakers)

    @classmethod
    def of(cls, rows: Iterable[ResultRow], experiment: str | None = None) -> Results:
        """The rows of `experiment`; it may be left out when a table holds one only. ConfigError lists what there is."""
        rows = tuple(rows)
        names = list(dict.fromkeys(row.experiment for row in rows))
        if not names:
            raise DataError("the table has no rows yet")
        if experiment is None and len(names) > 1:
            raise ConfigError(f"the table holds the experiments {', '.join(names)}: choose one with --experiment")
        if experiment is not None and experiment not in names:
            raise ConfigError(f"--experiment {experiment}: not in the table, which holds {', '.join(names)}")
        return cls(tuple(row for row in rows if row.experiment == (experiment or names[0])))

    @property
    def experiment(self) -> str:
        return self.rows[0].experiment

    @property
    def runs(self) -> list[Run]:
        """Every run that is expected, in order."""
        runs = set(self.grid) if self.grid is not None else {(row.fold, row.seed) for row in self.rows}
        return sorted(runs, key=lambda run: (-1 if run[0] is None else run[0], run[1]))

    @property
    def settings(self) -> list[str]:
        return list(dict.fromkeys(row.setting for row in self.rows))

    @property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(row.system for row in self.rows))

    @property
    def sides(self) -> list[Side]:
        """Those with a row, setting by setting: a setting need not make every system."""
        there = {(row.system, row.setting) for row in self.rows}
        return [
            (system, setting) for setting in self.settings for system in self.systems if (system, setting) in there
        ]

    @property
    def conditions(self) -> list[str]:
        """Clean first, then by falling signal-to-noise ratio."""
        return sorted({row.condition for row in self.rows}, key=_condition_order)

    def parts(self, conditions: Sequence[str]) -> list[Part]:
        """The full grid in these conditions."""
        return [(fold, seed, condition) for condition in conditions for fold, seed in self.runs]

    def missing(self, side: Side, conditions: Sequence[str]) -> tuple[Part, ...]:
        """Those parts of the grid for which `side` lacks rows, be it of one speaker."""
        return tuple(part for part in self.parts(conditions) if not self._is_whole(side, part))

    def _is_whole(self, side: Side, part: Part) -> bool:
        rows = self._cells.get((side, part), [])
        return bool(rows) and {row.speaker for row in rows} == self._speakers[part[0], part[2]]

    def pooled(self, side: Side, conditions: Sequence[str]) -> Pooled:
        """The WER of `side`, pooled over folds and `conditions`, with its interval."""
        missing = self.missing(side, conditions)
        parts = [part for part in self.parts(conditions) if part not in missing]
        expected = len(self.parts(conditions))
        if not parts:
            return Pooled(None, None, missing, expected)
        entry = wer_entry(self.counts(side, parts))
        return Pooled(entry["wer"], tuple(entry["ci95"]), missing, expected)

    def difference(self, base: Side, system: Side, condition: str) -> Difference:
        """The paired difference in a condition, or in those that `NOISY` or `ALL` stand for."""
        missing, parts = self.common((base, system), self.members(condition))
        comparison, reason = None, "missing"
        if parts:
            try:
                comparison, reason = compare(*(self.counts(side, parts) for side in (base, system))), ""
            except DataError as error:
                reason = str(error)
        folds, seeds = len({part[0] for part in parts}), len({part[1] for part in parts})
        return Difference(base, system, condition, comparison, reason, folds, seeds, missing)

    def common(
        self, sides: Sequence[Side], conditions: Sequence[str]
    ) -> tuple[dict[Side, tuple[Part, ...]], list[Part]]:
        """({side: parts of the grid that it lacks}, the parts that all have)."""
        missing = {side: self.missing(side, conditions) for side in sides}
        lacking = {part for parts in missing.values() for part in parts}
        return missing, [part for part in self.parts(conditions) if part not in lacking]

    def members(self, condition: str) -> list[str]:
        """The conditions that a name stands for."""
        if condition in (NOISY, ALL):
            return [name for name in self.conditions if condition == ALL or name != "clean"]
        return [condition]

    def counts(self, side: Side, parts: Sequence[Part]) -> list[dict[str, Any]]:
        """Rows of these parts for `pyasr.decode`, with counts times a whole number, so that all seeds of a part sum to
        the same."""
        seeds: dict[tuple[int | None, str], int] = {}
        for fold, _, condition in parts:
            seeds[fold, condition] = seeds.get((fold, condition), 0) + 1
        multiple = math.lcm(*seeds.values())
        rows = []
        for part in parts:
            weight = multiple // seeds[part[0], part[2]]
            for row in self._cells[side, part]:
                counts = {name: weight * count for name, count in row.counts.items()}
                rows.append({"id": row.speaker, "speaker": row.speaker, **counts})
        return rows

    def notes(self) -> list[str]:
        """What a reader has to know about where the rows come from."""
        notes = ["revisions: " + ", ".join(dict.fromkeys(row.revision for row in self.rows))]
        for setting in self.settings:
            options = {row.options for row in self.rows if row.setting == setting}
            if len(options) > 1:
                notes.append(
                    f"the rows of setting {setting} were made with {len(options)} different sets of options: run the"
                    " experiment again to replace the older ones"
                )
        return notes

    def side(self, given: str, option: str) -> tuple[str, str | None]:
        """(system, setting or None) of "SYSTEM" or "SYSTEM@SETTING"; ConfigError lists what there is."""
        system, at, setting = given.partition("@")
        if system not in self.systems:
            raise ConfigError(f"{option} {given}: no such system; the table has {', '.join(self.systems)}")
        if at and setting not in self.settings:
            raise ConfigError(f"{option} {given}: no such setting; the table has {', '.join(self.settings)}")
        return system, setting if at else None

    def pairs(self, base: str, system: str) -> list[tuple[Side, Side]]:
        """The two sides; setting by setting, in those that have rows of both, unless both name theirs."""
        (base_system, base_setting), (other_system, other_setting) = (
            self.side(base, "--base"), self.side(system, "--system"),
        )  # fmt: skip
        if base_setting and other_setting:
            pairs = [((base_system, base_setting), (other_system, other_setting))]
        else:
            pairs = [
                ((base_system, base_setting or name), (other_system, other_setting or name)) for name in self.settings
            ]
            there = set(self.sides)
            pairs = [pair for pair in pairs if there.issuperset(pair)]
        return [pair for pair in pairs if pair[0] != pair[1]]


def describe_parts(parts: Sequence[Part]) -> str:
    """ "fold 3 seed 1, fold 4 seed 1 (snr20, snr10)" """
    by_run: dict[tuple[int | None, int], list[str]] = {}
    for fold, seed, condition in parts:
        by_run.setdefault((fold, seed), []).append(condition)
    by_conditions: dict[tuple[str, ...], list[str]] = {}
    for (fold, seed), conditions in by_run.items():
        name = f"seed {seed}" if fold is None else f"fold {fold} seed {seed}"
        by_conditions.setdefault(tuple(conditions), []).append(name)
    return "; ".join(f"{', '.join(runs)} ({', '.join(names)})" for names, runs in by_conditions.items())


def _condition_order(name: str) -> tuple[int, float, str]:
    snr = re.fullmatch(r"snr(-?\d+)", name)
    return (0, 0.0, "") if name == "clean" else (1, -float(snr[1]), "") if snr else (2, 0.0, name)
