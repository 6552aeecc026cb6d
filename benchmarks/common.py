"""What the benchmarks share: best of several timings, and the rows that --json writes."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def best_s(work: Callable[[], Any], repeats: int = 5) -> float:
    """Seconds of the fastest of `repeats` calls: what the machine can do when nothing disturbs it."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def row(name: str, unit: str, ours: float, peer: float, peer_what: str, bound: float | None = None) -> dict[str, Any]:
    """One result, more being better; ratio = ours / peer, of_bound = ours / bound (null when no bound is known)."""
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_what": peer_what,
        "ratio": ours / peer,
        "bound": bound,
        "of_bound": None if bound is None else ours / bound,
        "unit": unit,
        "machine": _machine(),
    }


def main(description: str, measure: Callable[..., list[dict[str, Any]]], **options: tuple[Any, str]) -> None:
    """Measure, print a line a row, and write the rows where --json says.

    options: name=(default, help) of what the command line may change; `measure` is called with the values by name.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    for name, (default, text) in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{text} (default {default})")
    arguments = parser.parse_args()
    rows = measure(**{name: getattr(arguments, name) for name in options})
    for r in rows:
        print(f"{r['name']}: {r['ours']:.4g} {r['unit']}, {r['peer_what']} {r['peer']:.4g}: {r['ratio']:.2f} times")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def _machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].strip() if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"
