"""The table of results, recipes/NAME/results.csv: what every comparison of systems is computed from.

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

import contextlib
import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyasr.base.artifact import write_text
from pyasr.base.errors import DataError

COLUMNS = (
    "experiment", "setting", "recipe", "fold", "seed", "system", "condition", "speaker",
    "sub", "del", "ins", "words", "settings", "options", "revision", "command",
)  # fmt: skip

RunKey = tuple[str, str, "int | None", int]
"""(experiment, setting, fold, seed)"""


@dataclass(frozen=True)
class ResultRow:
    """A row of the table. fold: None for the official split."""

    experiment: str
    setting: str
    recipe: str
    fold: int | None
    seed: int
    system: str
    condition: str
    speaker: str
    substitutions: int
    deletions: int
    insertions: int
    words: int
    settings: dict[str, Any] = field(hash=False)
    options: str
    revision: str
    command: str

    @property
    def run(self) -> RunKey:
        """Which run it is of."""
        return self.experiment, self.setting, self.fold, self.seed

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


@dataclass(frozen=True)
class Appended:
    """How many rows were added, replaced, removed (left from other options) and kept; contradicted: kept rows of
    the same revision and options whose counts differ from the new ones."""

    added: int
    replaced: int
    removed: int
    kept: int
    contradicted: tuple[ResultRow, ...]


def read_table(path: Path) -> list[ResultRow]:
    """Read and check a table; DataError names file and line of what is damaged."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            text = stream.read()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such table; `python -m pyasr.run experiment FILE.toml` makes one") from error
    except UnicodeDecodeError as error:
        line = Path(path).read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 ({error.reason}); restore the table from version control") from error
    return _parse(path, text)


def _parse(path: Path, text: str) -> list[ResultRow]:
    rows: list[ResultRow] = []
    seen: dict[Any, int] = {}
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begin = 1
    try:
        for fields in reader:
            if begin == 1:
                _check_header(fields)
            else:
                row = _row(fields)
                if row.key in seen:
                    raise DataError(f"the same run, system, condition and speaker as line {seen[row.key]}")
                seen[row.key] = begin
                rows.append(row)
            begin = reader.line_num + 1
        if begin == 1:
            raise DataError("the table is empty, without even the names of its columns")
        if not text.endswith("\n"):
            begin -= 1
            raise DataError("the last line is cut off")
    except (csv.Error, DataError) as error:
        raise DataError(f"{path}:{begin}: {error}; restore the table from version control") from error
    return rows


def _check_header(fields: list[str]) -> None:
    if fields != list(COLUMNS):
        raise DataError(f"the columns have to be {','.join(COLUMNS)}")


def _row(fields: list[str]) -> ResultRow:
    if len(fields) != len(COLUMNS):
        raise DataError(f"{len(fields)} fields where {len(COLUMNS)} are expected")
    by_name = dict(zip(COLUMNS, fields))
    for name in ("experiment", "setting", "recipe", "system", "condition", "speaker", "revision"):
        if not by_name[name]:
            raise DataError(f"{name} is empty")
    counts = [_count(by_name, name) for name in ("sub", "del", "ins", "words")]
    if counts[0] + counts[1] > counts[3]:
        raise DataError(f"{counts[0]} substitutions and {counts[1]} deletions in {counts[3]} words")
    try:
        settings = json.loads(by_name["settings"])
    except json.JSONDecodeError as error:
        raise DataError(f"settings is not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise DataError("settings is not a JSON object")
    return ResultRow(
        by_name["experiment"],
        by_name["setting"],
        by_name["recipe"],
        _count(by_name, "fold") if by_name["fold"] else None,
        _count(by_name, "seed"),
        by_name["system"],
        by_name["condition"],
        by_name["speaker"],
        *counts,
        settings,
        by_name["options"],
        by_name["revision"],
        by_name["command"],
    )


def _count(fields: dict[str, str], name: str) -> int:
    text = fields[name]
    if not (text.isascii() and text.isdecimal()):
        raise DataError(f"{name} is {text!r}, not a whole number")
    return int(text)


def format_table(rows: Iterable[ResultRow]) -> str:
    """The text of a table."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        fold = "" if row.fold is None else row.fold
        settings = json.dumps(row.settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        writer.writerow([
            row.experiment, row.setting, row.recipe, fold, row.seed, row.system, row.condition, row.speaker,
            *row.counts.values(), settings, row.options, row.revision, row.command,
        ])  # fmt: skip
    return stream.getvalue()


def append_rows(path: Path, rows: Sequence[ResultRow]) -> Appended:
    """Add the rows of runs to a table, which is made if there is none; the file is replaced whole or not at all.

    A row that is there already stays as it is when its revision, options and settings are those of the new one;
    else the new one takes its place. (What a "-dirty" revision made is always replaced: it does not say which code
    that was.) Rows of the same runs that other options had made, and that have no successor, are removed. Two
    processes may append to one table at the same time.
    """
    with _locked(path):
        table = {row.key: row for row in (read_table(path) if path.exists() else [])}
        options = {row.run: row.options for row in rows}
        stale = [key for key, row in table.items() if options.get(row.run, row.options) != row.options]
        new_keys = {row.key for row in rows}
        removed = [key for key in stale if key not in new_keys]
        for key in removed:
            del table[key]
        added = replaced = kept = 0
        contradicted = []
        for row in rows:
            old = table.get(row.key)
            if old is not None and _same_origin(old, row):
                kept += 1
                if old.counts != row.counts:
                    contradicted.append(old)
                continue
            added += old is None
            replaced += old is not None and old != row
            kept += old is not None and old == row
            table[row.key] = row  # a replaced row keeps its place
        if added or replaced or removed:
            write_text(path, format_table(table.values()))
    return Appended(added, replaced, len(removed), kept, tuple(contradicted))


def _same_origin(old: ResultRow, new: ResultRow) -> bool:
    origins = [(row.revision, row.options, row.settings, row.recipe) for row in (old, new)]
    return origins[0] == origins[1] and "-dirty" not in new.revision


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of the table's folder: one that the kernel frees, and that leaves no file in a committed place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
