"""Typed, validated options read from TOML.

Every package declares its own `Options`; a mistake in a file names the key, the file and the nearest valid name.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pydantic

from pyasr.base.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Options(pydantic.BaseModel):
    """Immutable options; unknown keys are refused, types are not coerced from text."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class GrownOptions(Options):
    """Options of which some, `newer`, are left out of what is dumped while they have their defaults: results that were
    made before there were these stay up to date."""

    newer: ClassVar[tuple[str, ...]] = ()

    @pydantic.model_serializer(mode="wrap")
    def _without_newer_defaults(self, dump: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = {name: type(self).model_fields[name].default for name in self.newer}
        at_default = {name for name, default in defaults.items() if getattr(self, name) == default}
        return {name: value for name, value in dump(self).items() if name not in at_default}


Model = TypeVar("Model", bound=pydantic.BaseModel)


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError names file and line."""
    try:
        with open(path, "rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def validate(
    model: type[Model], values: dict[str, Any], where: str | Callable[[tuple[str, ...]], str]
) -> Model:
    """Make a `model` from plain values; ConfigError has a line for each mistake, which begins with `where`.

    where: a file, an option; or a function from the path of a key to where that key is written.
    """
    try:
        # As JSON, because there strict means what TOML means: "500" is no number, but a list may be a tuple.
        return model.model_validate_json(json.dumps(values, default=str), strict=True)
    except pydantic.ValidationError as error:
        problems = [_explain(model, problem, where) for problem in error.errors()]
        raise ConfigError("\n".join(problems)) from error


def line_of(path: str | Path, key: tuple[str, ...]) -> int | None:
    """The line (from 1) of a TOML file where `key` is written, or the table that it would be in; None if neither is.

    Headers and bare keys are recognised line by line, which covers how recipes are written.
    """
    table: tuple[str, ...] = ()
    found = None
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = tuple(part.strip(" \"'") for part in header[1].split("."))
            if table and table == key[: len(table)]:
                found = number
        elif assignment := re.match(r"\s*([\w.\-\"']+)\s*=", line):
            name = table + tuple(part.strip("\"'") for part in assignment[1].split("."))
            if name == key[: len(name)]:
                return number
    return found


def _explain(
    model: type[pydantic.BaseModel], problem: Any, where: str | Callable[[tuple[str, ...]], str]
) -> str:
    location = [str(part) for part in problem["loc"]]
    written, _ = _walk(model, location)
    place = where if isinstance(where, str) else where(tuple(written))
    key = ".".join(written)
    if problem["type"] != "extra_forbidden":
        return f"{place}: {key}: {problem['msg']} (got {problem['input']!r})"
    _, models = _walk(model, location[:-1])
    valid = sorted({name for found in models for name in found.model_fields})
    near = difflib.get_close_matches(location[-1], valid, n=1, cutoff=0.5)
    hint = f"did you mean {'.'.join([*written[:-1], near[0]])!r}?" if near else f"valid here: {', '.join(valid)}"
    return f"{place}: unknown key {key!r}; {hint}"


def _walk(
    model: type[pydantic.BaseModel], location: list[str]
) -> tuple[list[str], list[type[pydantic.BaseModel]]]:
    """The location as the user wrote it, and the models it may lie in.

    pydantic names the tag of a union's member as a step of its own: it selects that member, and is not written.
    """
    written: list[str] = []
    candidates: list[type[pydantic.BaseModel]] = [model]
    for part in location:
        fields = [found.model_fields[part] for found in candidates if part in found.model_fields]
        tagged = [found for found in candidates if _tag(found) == part]
        if tagged and not fields:
            candidates = tagged
            continue
        written.append(part)
        if part.isdecimal() and not fields:
            continue  # the place in a list: what it is a list of stays
        candidates = [inner for field in fields for inner in _models_in(field.annotation)]
    return written, candidates


def _models_in(annotation: Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [found for argument in typing.get_args(annotation) for found in _models_in(argument)]


def _tag(model: type[pydantic.BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    values = typing.get_args(field.annotation) if field else ()
    return values[0] if values else None


def parse_value(text: str) -> Any:
    """A value as TOML has it: 600, 0.5, true, "text", [20, 10]; what is not TOML is taken as text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
