"""Progress of long work: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import rich.console
import rich.progress

Item = TypeVar("Item")

_LINE_EVERY_S = 30.0


def track(
    iterable: Iterable[Item],
    what: str,
    total: int | None = None,
    unit: str = "utt",
    share: Callable[[Item], float] | None = None,
) -> Iterator[Item]:
    """Yield the items of `iterable`, showing how many of `total` are done and how long the rest will take.

    what: what is being done, shown at the left. unit: what is counted. share: where nobody knows how many items there
    are, how much of all is done with an item, 0 to 1. Output goes to stderr.
    """
    if total is None and share is None and hasattr(iterable, "__len__"):
        total = len(iterable)  # type: ignore[arg-type]
    console = rich.console.Console(stderr=True)
    if console.is_terminal:
        return _bar(iterable, what, total, unit, share, console)
    return _lines(iterable, what, total, unit, share)


def _bar(
    iterable: Iterable[Item],
    what: str,
    total: int | None,
    unit: str,
    share: Callable[[Item], float] | None,
    console: rich.console.Console,
) -> Iterator[Item]:
    count = rich.progress.MofNCompleteColumn() if share is None else rich.progress.TextColumn("{task.fields[count]}")
    columns = [
        rich.progress.TextColumn("  {task.description}"),
        rich.progress.BarColumn(),
        count,
        rich.progress.TextColumn(unit),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left"),
        rich.progress.TimeRemainingColumn(),
    ]
    with rich.progress.Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total if share is None else 1.0, count=0)
        for done, item in enumerate(iterable, 1):
            yield item
            progress.update(task, completed=done if share is None else share(item), count=done)


def _lines(
    iterable: Iterable[Item], what: str, total: int | None, unit: str, share: Callable[[Item], float] | None
) -> Iterator[Item]:
    start = last = time.monotonic()
    begun_at: float | None = None  # with `share`: work may go on in its middle
    for done, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if share is not None and begun_at is None:
            start, begun_at = now, share(item)
        if now - last >= _LINE_EVERY_S:
            last = now
            of_all = done / total if total else share(item) if share is not None else 0.0
            made = of_all - (begun_at or 0.0)
            left = f", {(now - start) / made * (1 - of_all):.0f} s left" if made > 0 else ""
            count = f"{done}/{total} {unit}" if share is None and total else f"{done} {unit}"
            shown = count if share is None else f"{count}, {100 * of_all:.1f} %"
            print(f"  {what}: {shown}{left}", file=sys.stderr, flush=True)
