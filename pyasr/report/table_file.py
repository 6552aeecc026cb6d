"""Committed tables, recipes/NAME/*.csv: read with checks that name file and line, appended to whole or not at all.

A table holds the rows of runs. Every row says which run it is of, what of it no other row says (`key`), and what made
it: options and revision. A column `settings` holds a JSON object, a column `fold` nothing for the official split.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pyasr.base.artifact import write_text
from pyasr.base.errors import DataError

RunKey = tuple[str, str, "int | None", int]
"""(experiment, setting, fold, seed)"""


@dataclass(frozen=True)
class RunRow(ABC):
    """What every row says of its run. fold: None for the official split. options: digest of those of the run."""

    experiment: str
    setting: str
    recipe: str
    fold: int | None
    seed: int
    system: str
    options: str
    revision: str

    @property
    def run(self) -> RunKey:
        """Which run it is of."""
        return self.experiment, self.setting, self.fold, self.seed

    @property
    def run_fields(self) -> list[Any]:
        """Experiment to system, as they are written."""
        return [
            self.experiment, self.setting, self.recipe, "" if self.fold is None else self.fold, self.seed, self.system
        ]  # fmt: skip

    @property
    def origin(self) -> tuple[Any, ...]:
        """All that made it but the revision."""
        return self.options, self.recipe

    @property
    @abstractmethod
    def key(self) -> Hashable:
        """What it is about: no two rows of a table share it."""

    @property
    @abstractmethod
    def found(self) -> Any:
        """What the same revision has to find again."""

    @property
    @abstractmethod
    def fields(self) -> list[Any]:
        """In the order of the columns, as they are written."""


Row = TypeVar("Row", bound=RunRow)


@dataclass(frozen=True)
class Appended(Generic[Row]):
    """How many rows were added, replaced, removed (left from other options) and kept; contradicted: kept rows of
    the same revision and options that found something else than the new ones."""

    added: int
    replaced: int
    removed: int
    kept: int
    contradicted: tuple[Row, ...]


@dataclass(frozen=True)
class TableFile(Generic[Row]):
    """A kind of table. unique: what the columns of `key` are called in a message. row: makes a row of {column: text};
    DataError says what is wrong with it."""

    columns: tuple[str, ...]
    unique: str
    row: Callable[[Mapping[str, str]], Row]

    def read(self, path: Path) -> list[Row]:
        """Read and check a table; DataError names file and line of what is damaged."""
        try:
            with open(path, encoding="utf-8", newline="") as stream:
                text = stream.read()
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such table; `python -m pyasr.run experiment FILE.toml` makes one") from error
        except UnicodeDecodeError as error:
            line = Path(path).read_bytes()[: error.start].count(b"\n") + 1
            raise DataError(
                f"{path}:{line}: not UTF-8 ({error.reason}); restore the table from version control"
            ) from error
        return self._parse(path, text)

    def _parse(self, path: Path, text: str) -> list[Row]:
        rows: list[Row] = []
        seen: dict[Any, int] = {}
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        begin = 1
        try:
            for fields in reader:
                if begin == 1:
                    self._check_header(fields)
                else:
                    row = self._row(fields)
                    if row.key in seen:
                        raise DataError(f"the same {self.unique} as line {seen[row.key]}")
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

    def _check_header(self, fields: list[str]) -> None:
        if fields != list(self.columns):
            raise DataError(f"the columns have to be {','.join(self.columns)}")

    def _row(self, fields: list[str]) -> Row:
        if len(fields) != len(self.columns):
            raise DataError(f"{len(fields)} fields where {len(self.columns)} are expected")
        return self.row(dict(zip(self.columns, fields)))

    def format(self, rows: Iterable[Row]) -> str:
        """The text of a table."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(row.fields for row in rows)
        return stream.getvalue()

    def append(self, path: Path, rows: Sequence[Row]) -> Appended[Row]:
        """Add the rows of runs to a table, which is made if there is none; the file is replaced whole or not at all.

        A row that is there already stays as it is when its revision and origin are those of the new one; else the new
        one takes its place. (What a "-dirty" revision made is always replaced: it does not say which code that was.)
        Rows of the same runs that other options had made, and that have no successor, are removed. Two processes may
        append to one table at the same time.
        """
        with _locked(path):
            table = {row.key: row for row in (self.read(path) if path.exists() else [])}
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
                    if old.found != row.found:
                        contradicted.append(old)
                    continue
                added += old is None
                replaced += old is not None and old != row
                kept += old is not None and old == row
                table[row.key] = row  # a replaced row keeps its place
            if added or replaced or removed:
                write_text(path, self.format(table.values()))
        return Appended(added, replaced, len(removed), kept, tuple(contradicted))


def need(fields: Mapping[str, str], *names: str) -> None:
    """DataError where one of them is empty."""
    for name in names:
        if not fields[name]:
            raise DataError(f"{name} is empty")


def whole_number(fields: Mapping[str, str], name: str) -> int:
    """DataError where it is none."""
    text = fields[name]
    if not (text.isascii() and text.isdecimal()):
        raise DataError(f"{name} is {text!r}, not a whole number")
    return int(text)


def of_run(fields: Mapping[str, str]) -> dict[str, Any]:
    """What a `RunRow` is made of; DataError where fold or seed is no number."""
    texts = {name: fields[name] for name in ("experiment", "setting", "recipe", "system", "options", "revision")}
    fold = whole_number(fields, "fold") if fields["fold"] else None
    return {**texts, "fold": fold, "seed": whole_number(fields, "seed")}


def json_object(fields: Mapping[str, str], name: str) -> dict[str, Any]:
    """DataError where it is none."""
    try:
        found = json.loads(fields[name])
    except json.JSONDecodeError as error:
        raise DataError(f"{name} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{name} is not a JSON object")
    return found


def _same_origin(old: RunRow, new: RunRow) -> bool:
    return (old.revision, old.origin) == (new.revision, new.origin) and "-dirty" not in new.revision


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
