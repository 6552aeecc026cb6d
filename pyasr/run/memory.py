"""Peak memory of this process and all its children while something runs."""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path

_EVERY_S = 0.2


class PeakMemory:
    """Context manager that samples the memory of the process tree; afterwards `.mb` is the largest sum seen.

    Linux: the processes' own memory, and the largest share of mapped files, which is much the same in all of
    them (libraries, features). Elsewhere: the largest resident size of this process since it started.
    """

    def __init__(self) -> None:
        self.mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.mb = max(self.mb, memory_mb())

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self.mb = max(self.mb, memory_mb())


def memory_mb() -> float:
    """Memory of this process and its children now, in MB (1e6 bytes)."""
    if not sys.platform.startswith("linux"):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    sizes = [_sizes_kb(pid) for pid in process_tree(os.getpid())]
    own = sum(size.get("RssAnon", 0) + size.get("RssShmem", 0) for size in sizes)
    files = max(size.get("RssFile", 0) for size in sizes)
    return (own + files) * 1024 / 1e6


def process_tree(pid: int) -> list[int]:
    """`pid` and everything below it (Linux)."""
    found = [pid]
    for parent in found:
        for task in _tasks(parent):
            try:
                found += [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                continue  # it ended meanwhile
    return found


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _sizes_kb(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}  # it ended meanwhile
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Rss")}
