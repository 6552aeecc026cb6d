"""Values as a reader wants them: durations, memory, digests, options as TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def duration(seconds: float) -> str:
    """12.3 s, 4 min 05 s, 1 h 02 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    return f"{minutes} min {rest_s:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def memory(megabytes: float) -> str:
    """640 MB, 1.5 GB."""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def value(item: Any) -> str:
    """A number, a text or a small structure in one line."""
    if isinstance(item, Mapping):
        return ", ".join(f"{key} {value(inner)}" for key, inner in item.items()) or "none"
    if isinstance(item, (list, tuple)):
        return "; ".join(value(inner) for inner in item) or "none"
    if isinstance(item, float):
        return f"{item:,.4g}" if abs(item) < 1000 else f"{item:,.0f}"
    return f"{item:,}" if isinstance(item, int) and not isinstance(item, bool) else str(item)


def toml(options: Mapping[str, Any]) -> str:
    """Flat options {"gmm.tri.max_leaves": 500} as TOML with sections; what is not set is a comment."""
    sections: dict[str, list[str]] = {"": []}
    for name in sorted(options):
        section, _, key = name.rpartition(".")
        item = options[name]
        line = f"# {key} is not set" if item is None else f"{key} = {_toml_value(item)}"
        sections.setdefault(section, []).append(line)
    blocks = ["\n".join(([f"[{section}]"] if section else []) + lines) for section, lines in sections.items() if lines]
    return "\n\n".join(blocks)


def _toml_value(item: Any) -> str:
    if isinstance(item, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, item)) + "]"
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml_value(inner)}" for key, inner in item.items()) + "}"
    return json.dumps(item, ensure_ascii=False)
