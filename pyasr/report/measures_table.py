"""The table of measures, measures.csv beside the table of results: what else is known of the networks of each run.

One row per experiment x setting x fold x seed x system x measure. Columns:

    experiment, setting, recipe, fold, seed, system, options, revision     as in `pyasr.report.results_table`
    measure      one of MEASURES
    value        a number in the measure's unit
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyasr.base.errors import DataError
from pyasr.report.table_file import RunKey, RunRow, TableFile, need, of_run


@dataclass(frozen=True)
class Measure:
    """what: with its unit. better, worse: of one system beside another, after a number of per cent. timed: not found
    again by a second run."""

    what: str
    better: str
    worse: str
    lower_is_better: bool = True
    timed: bool = False

    @property
    def short(self) -> str:
        """Without the unit."""
        return self.what.partition(",")[0]

    def reduction(self, base: float, system: float) -> float:
        """By how much the system is better than the base, in per cent of the base; DataError where that is zero."""
        if base <= 0:
            raise DataError(f"{self.what} of the base is {base:g}: nothing is relative to that")
        change = 100.0 * (system - base) / base
        return -change if self.lower_is_better else change


def _fewer(what: str, timed: bool = False) -> Measure:
    return Measure(what, f"fewer {what}", f"more {what}", timed=timed)


MEASURES = {
    "parameters": _fewer("parameters"),
    "sub_epochs": _fewer("sub-epochs"),
    "dev_loss": Measure("loss on dev, nats a frame", "lower loss on dev", "higher loss on dev"),
    "dev_frame_accuracy": Measure(
        "frame accuracy on dev, per cent", "higher frame accuracy on dev", "lower frame accuracy on dev", False
    ),
    "train_s": _fewer("seconds of training", timed=True),
    "frames_per_s": Measure(
        "frames a second in training", "more frames a second in training", "fewer frames a second in training", False,
        timed=True,
    ),
    "bytes_per_row": _fewer("bytes a stored frame"),
    "kept": Measure("probability kept of a frame", "more probability kept", "less probability kept", False),
    "gtc_bytes_per_step": _fewer("bytes a worker sends in a step"),
}  # fmt: skip
"""dev_loss: cross-entropy to the aligned senones, the least of all sub-epochs. train_s: without looks at dev.
frames_per_s: of 30 ms, of all workers, beside whatever else the machine did. bytes_per_row, kept: means over the stored
frames that a student learnt from. gtc_bytes_per_step: with all padding; mean over the last steps of all sub-epochs."""

COLUMNS = (
    "experiment", "setting", "recipe", "fold", "seed", "system", "measure", "value", "options", "revision",
)  # fmt: skip


@dataclass(frozen=True)
class MeasureRow(RunRow):
    """A row of the table."""

    measure: str
    value: float

    @property
    def key(self) -> tuple[RunKey, str, str]:
        """What it is about: no two rows of a table share it."""
        return self.run, self.system, self.measure

    @property
    def found(self) -> float | None:
        """What the same revision has to find again: of times nothing."""
        return None if MEASURES[self.measure].timed else self.value

    @property
    def fields(self) -> list[Any]:
        """In the order of the columns, as they are written."""
        return [*self.run_fields, self.measure, f"{self.value:.12g}", self.options, self.revision]


def _row(fields: Mapping[str, str]) -> MeasureRow:
    need(fields, "experiment", "setting", "recipe", "system", "measure", "options", "revision")
    if fields["measure"] not in MEASURES:
        raise DataError(f"measure {fields['measure']!r} is unknown; there are {', '.join(MEASURES)}")
    try:
        value = float(fields["value"])
    except ValueError as error:
        raise DataError(f"value is {fields['value']!r}, not a number") from error
    if not math.isfinite(value):
        raise DataError(f"value is {fields['value']!r}, not finite")
    return MeasureRow(**of_run(fields), measure=fields["measure"], value=value)


_TABLE = TableFile(COLUMNS, "run, system and measure", _row)
read_measures, append_measures = _TABLE.read, _TABLE.append
