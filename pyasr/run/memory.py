"""Peak memory of this process and all its children while something runs."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from pathlib import Path

_EVERY_S = 0.2
_REST = 50
"""A pause after a reading of shares, in CPU times that it took: readings cost 2 % of a core at most."""


class PeakMemory:
    """Context manager that samples the memory of the process tree; afterwards `.mb` is the largest seen.

    Linux: the processes' own memory, where what n processes share, as a forked worker does with its parent, counts 1/n
    in each; and the largest share of mapped files, which is much the same in all of them (libraries, features).
    Elsewhere: the largest resident size of this process since it started.

    What is shared is known only by a walk over all pages (PSS), tens of milliseconds for a GB. So each 0.2 s the bounds
    of `bounds_mb` are read, and shares only where there could be a new peak: where the upper bound is above the one so
    far. That is often so while children run, hence the pause after a reading, some seconds for some GB. A peak that
    comes and goes within it is missed in part: what no single process had alone. One process alone is never read so,
    and misses nothing but what is shorter than 0.2 s.
    """

    def __init__(self) -> None:
        self.mb = 0.0
        self._read_from = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        least, most = bounds_mb()
        self.mb = max(self.mb, least)
        if most > self.mb and time.monotonic() >= self._read_from:
            begun = time.thread_time()
            self.mb = max(self.mb, shared_out_mb() or 0.0)
            self._read_from = time.monotonic() + _REST * (time.thread_time() - begun)


def bounds_mb() -> tuple[float, float]:
    """(least, most) memory of this process and its children now, in MB (1e6 bytes); the same for a process alone.

    least: of the largest process. most: of all, where what they share counts in each.
    """
    if not sys.platform.startswith("linux"):
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
        return peak, peak
    sizes = [_status_kb(pid) for pid in process_tree(os.getpid())]
    own = [_own_kb(size) for size in sizes]
    files = max(size.get("RssFile", 0) for size in sizes)
    return (max(own) + files) * 1024 / 1e6, (sum(own) + files) * 1024 / 1e6


def shared_out_mb() -> float | None:
    """Memory as `bounds_mb` has it, but what processes share is counted once (Linux). Walks over all their pages.

    A process whose shares cannot be read (a kernel before 5.4, another user's) counts with all that it has. None where
    a process ended meanwhile: others may have been read before and after they took over its shares.
    """
    pids = process_tree(os.getpid())
    own = sum(_own_kb(_rollup_kb(pid) or _status_kb(pid)) for pid in pids)
    files = max(_status_kb(pid).get("RssFile", 0) for pid in pids)
    return None if set(pids) - set(process_tree(os.getpid())) else (own + files) * 1024 / 1e6


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


def _own_kb(sizes: dict[str, int]) -> int:
    return sum(sizes.get(name, 0) for name in ("RssAnon", "RssShmem", "Pss_Anon", "Pss_Shmem"))


def _status_kb(pid: int) -> dict[str, int]:
    """Empty when it has ended."""
    return _sizes_kb(Path(f"/proc/{pid}/status"), "Rss")


def _rollup_kb(pid: int) -> dict[str, int]:
    """Empty when it has ended, or must or can not be read."""
    return _sizes_kb(Path(f"/proc/{pid}/smaps_rollup"), "Pss_")


def _sizes_kb(path: Path, begin: str) -> dict[str, int]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(begin)}
