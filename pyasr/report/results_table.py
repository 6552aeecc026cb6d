"""The table of results, recipes/NAME/results.csv: what every comparison of word errors is computed from.

One row per experiment x setting x fold x seed x system x condition x speaker. Columns:

    experiment   name of the experiment            setting    name of its setting, "default" where there is one only
    recipe       what was run                      fold       of the rotation, from 0; empty: the official split
    seed                                           system     mono, tri, tri_sat, teacher, supervised, student, ...
    condition    clean, snr20, ...                 speaker
    sub, del, ins, words                           counts of the speaker's words; no texts
    settings     JSON object: the options by which the setting differs from the recipe
    options      digest of all options but fold and seed, so that a changed recipe is noticed
    revision     of the code; "A+B" when stages of one run were made by two
    command      what makes the run again; CORPUS and NOISE stand for folders
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyasr.base.errors import DataError
from pyasr.report.table_file import RunKey, RunRow, TableFile, json_object, need, of_run, whole_number

COLUMNS = (
    "experiment", "setting", "recipe", "fold", "seed", "system", "condition", "speaker",
    "sub", "del", "ins", "words", "settings", "options", "revision", "command",
)  # fmt: skip


@dataclass(frozen=True)
class ResultRow(RunRow):
    """A row of the table."""

    condition: str
    speaker: str
    substitutions: int
    deletions: int
    insertions: int
    words: int
    settings: dict[str, Any] = field(hash=False)
    command: str

    @property
    def key(self) -> tuple[RunKey, str, str, str]:
        """What it is about: no two rows of a table share it."""
        return self.run, self.system, self.condition, self.speaker

    @property
    def counts(self) -> dict[str, int]:
        """{"sub", "del", "ins", "words"}, as `pyasr.decode.score` and `compare` take them."""
        return {
            "sub": self.substitutions, "del": self.deletions, "ins": self.insertions, "words": self.words,
        }  # fmt: skip

    @property
    def origin(self) -> tuple[Any, ...]:
        """With the settings."""
        return *super().origin, self.settings

    @property
    def found(self) -> dict[str, int]:
        """Its counts."""
        return self.counts

    @property
    def fields(self) -> list[Any]:
        """In the order of the columns, as they are written."""
        settings = json.dumps(self.settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return [
            *self.run_fields, self.condition, self.speaker, *self.counts.values(), settings, self.options,
            self.revision, self.command,
        ]  # fmt: skip


def _row(fields: Mapping[str, str]) -> ResultRow:
    need(fields, "experiment", "setting", "recipe", "system", "condition", "speaker", "revision")
    counts = [whole_number(fields, name) for name in ("sub", "del", "ins", "words")]
    if counts[0] + counts[1] > counts[3]:
        raise DataError(f"{counts[0]} substitutions and {counts[1]} deletions in {counts[3]} words")
    return ResultRow(
        **of_run(fields),
        condition=fields["condition"],
        speaker=fields["speaker"],
        substitutions=counts[0],
        deletions=counts[1],
        insertions=counts[2],
        words=counts[3],
        settings=json_object(fields, "settings"),
        command=fields["command"],
    )


_TABLE = TableFile(COLUMNS, "run, system, condition and speaker", _row)
read_table, append_rows, format_table = _TABLE.read, _TABLE.append, _TABLE.format
