"""Typed, validated options read from TOML.

Every package declares its own `Options`; a mistake in a file names the key, the file and the nearest valid name.
"""

from __future__ import annotations

import difflib
import sys
import typing
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from pyasr.base.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Options(pydantic.BaseModel):
    """Immutable options; unknown keys are refused, types are not coerced from text."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=True)


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


def validate(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """Make a `model` from plain values; `where` (a file, an option) begins every line of the ConfigError."""
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError("\n".join(_explain(model, problem, where) for problem in error.errors())) from error


def _explain(model: type[pydantic.BaseModel], problem: Any, where: str) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] != "extra_forbidden":
        return f"{where}: {key}: {problem['msg']} (got {problem['input']!r})"
    valid = sorted(_fields_at(model, location[:-1]))
    near = difflib.get_close_matches(location[-1], valid, n=1, cutoff=0.5)
    hint = f"did you mean {'.'.join([*location[:-1], near[0]])!r}?" if near else f"valid here: {', '.join(valid)}"
    return f"{where}: unknown key {key!r}; {hint}"


def _fields_at(model: type[pydantic.BaseModel], location: list[str]) -> set[str]:
    """Names valid at `location`; a step that is the tag of a union member selects that member."""
    candidates: list[type[pydantic.BaseModel]] = [model]
    for part in location:
        deeper = [
            member
            for candidate in candidates
            if part in candidate.model_fields
            for member in _models_in(candidate.model_fields[part].annotation)
        ]
        tagged = [candidate for candidate in candidates if _tag(candidate) == part]
        candidates = deeper or tagged or candidates
    return {name for candidate in candidates for name in candidate.model_fields}


def _models_in(annotation: Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [found for argument in typing.get_args(annotation) for found in _models_in(argument)]


def _tag(model: type[pydantic.BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    values = typing.get_args(field.annotation) if field else ()
    return values[0] if values else None
