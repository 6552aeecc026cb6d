"""What a run says: lines on stdout, tables with rich."""

from __future__ import annotations

from typing import Any

import rich.console
import rich.table


def say(text: str) -> None:
    """One line, shown at once even when piped."""
    print(text, flush=True)


def digest_line(seconds: float, peak_memory_mb: float, disk_mb: float, digest: dict[str, Any]) -> str:
    """A stage's digest in one line: its own counts, then what it cost."""
    parts = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in digest.items()]
    parts += [f"{seconds:.1f} s", f"peak memory {peak_memory_mb:.0f} MB", f"disk {disk_mb:.1f} MB"]
    return ", ".join(parts)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_value(item)}" for name, item in value.items()) + ")" if value else "0"
    if isinstance(value, (list, tuple)):
        return "(" + "; ".join(_value(item) for item in value) + ")" if value else "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show_table(columns: list[str], rows: list[list[str]], title: str | None = None) -> None:
    """A table on stdout; numbers belong to the right, so every column but the first is right-aligned
    when all its cells begin with a digit."""
    table = rich.table.Table(title=title, title_justify="left", box=rich.table.box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(row[index][:1].isdigit() or row[index] in ("", "-") for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    rich.console.Console(markup=False, emoji=False, highlight=False).print(table)
