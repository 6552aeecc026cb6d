"""Progress of long work: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import rich.console
import rich.progress

Item = TypeVar("Item")

_LINE_EVERY_S = 30.0


def track(iterable: Iterable[Item], what: str, total: int | None = None, unit: str = "utt") -> Iterator[Item]:
    """Yield the items of `iterable`, showing how many of `total` are done and how long the rest will take.

    what: what is being done, shown at the left. unit: what is counted. Output goes to stderr.
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)  # type: ignore[arg-type]
    console = rich.console.Console(stderr=True)
    return _bar(iterable, what, total, unit, console) if console.is_terminal else _lines(iterable, what, total, unit)


def _bar(
    iterable: Iterable[Item], what: str, total: int | None, unit: str, console: rich.console.Console
) -> Iterator[Item]:
    columns = [
        rich.progress.TextColumn("  {task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn(unit),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left"),
        rich.progress.TimeRemainingColumn(),
    ]
    with rich.progress.Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(iterable, total=total, description=what)


def _lines(iterable: Iterable[Item], what: str, total: int | None, unit: str) -> Iterator[Item]:
    start = last = time.monotonic()
    for done, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S:
            last = now
            left = f", {(now - start) / done * (total - done):.0f} s left" if total else ""
            print(f"  {what}: {done}{f'/{total}' if total else ''} {unit}{left}", file=sys.stderr, flush=True)
