"""What the benchmarks share: best of several timings, and the rows that --json writes."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
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


def gpu_medians_s(*works: Callable[[], Any], rounds: int = 15) -> list[float]:
    """Seconds of each by CUDA events, in turns: the median, after three rounds that do not count.

    The GPU is kept waiting for about a millisecond before each: what Python takes to launch the work is not counted
    unless it takes longer."""
    import torch

    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 3):
        events = []
        for work in works:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(2_000_000)
            begin.record()
            work()
            end.record()
            events.append((begin, end))
        torch.cuda.synchronize()
        for seconds, (begin, end) in zip(times, events):
            if number >= 3:
                seconds.append(begin.elapsed_time(end) / 1e3)
    return [statistics.median(seconds) for seconds in times]


def row(
    name: str, unit: str, ours: float, peer: float, peer_what: str, bound: float | None = None, on_gpu: bool = False
) -> dict[str, Any]:
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
        "machine": _gpu() if on_gpu else _machine(),
    }


Measure = Callable[..., "list[dict[str, Any]]"]


def main(description: str, measure: Measure, measure_gpu: Measure | None = None, **options: tuple[Any, str]) -> None:
    """Measure, print a line a row, and write the rows where --json says; by measure_gpu with --device cuda.

    options: name=(default, help) of what the command line may change; `measure` is called with the values by name.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    if measure_gpu:
        parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    for name, (default, text) in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{text} (default {default})")
    arguments = parser.parse_args()
    chosen = measure_gpu if measure_gpu and arguments.device == "cuda" else measure
    rows = chosen(**{name: getattr(arguments, name) for name in options})
    for r in rows:
        bound = "" if r["of_bound"] is None else f", {100 * r['of_bound']:.0f} % of the bound"
        print(
            f"{r['name']}: {r['ours']:.4g} {r['unit']}, {r['peer_what']} {r['peer']:.4g}: {r['ratio']:.2f} times{bound}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def _gpu() -> str:
    import torch

    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"


def _machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].strip() if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"
