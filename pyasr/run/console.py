"""What a run says on stdout. (Progress goes to stderr, see `pyasr.base.progress`.)"""

from __future__ import annotations

from typing import Any


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


def show_table(columns: list[str], rows: list[list[str]]) -> None:
    """Rows under their columns, as wide as they need to be: for a terminal and for a file."""
    lines = [columns, *rows] if any(columns) else rows
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
