"""Parallel work on a `concurrent.futures.Executor`.

The partition into jobs is fixed by the caller and results come back in the order of the jobs, so the
numbers do not depend on the executor or the number of workers. A worker computes with one thread.
"""

from __future__ import annotations

import collections
import concurrent.futures
import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import threadpoolctl

from pyasr.base.errors import ConfigError, PyasrError
from pyasr.base.progress import track

Item = TypeVar("Item")
Job = TypeVar("Job")
Result = TypeVar("Result")

SPECS = (
    "'serial', 'processes' (one a core), 'processes:N', 'tcp://HOST:PORT' (the scheduler of a Dask cluster), 'slurm:N'"
    " or 'sge:N' (up to N workers as jobs, by dask-jobqueue)"
)
_BATCH_SYSTEMS = ("slurm", "sge")
_JOBS_AHEAD = 32
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class SerialExecutor(concurrent.futures.Executor):
    """Runs each job at once in the calling process: for debugging and for tests of order.

    A job computes with one thread, as in a worker: sums of matrix products depend on the number of threads.
    """

    def __init__(self) -> None:
        self._libraries = threadpoolctl.ThreadpoolController()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future:
        future: concurrent.futures.Future = concurrent.futures.Future()
        try:
            with self._libraries.limit(limits=1):
                future.set_result(fn(*args, **kwargs))
        except Exception as error:  # whatever a job raises belongs to its future
            future.set_exception(error)
        return future


def make_executor(spec: str = "processes", folders: Sequence[Path] = ()) -> concurrent.futures.Executor:
    """An executor from its description, one of SPECS. folders: what workers on other machines have to see."""
    kind, _, count = spec.partition(":")
    is_count = count.isdecimal() and int(count) > 0
    if kind == "serial" and not count:
        return SerialExecutor()
    if "://" in spec or (kind in _BATCH_SYSTEMS and is_count):
        try:
            from pyasr.base import dask_cluster  # here: Dask is an extra

            return dask_cluster.connect(spec, folders)
        except ImportError as error:
            raise ConfigError(f"--executor {spec} needs Dask ({error}): pip install 'pyasr[dask]'") from error
    if kind == "processes" and (not count or is_count):
        workers = int(count) if count else _available_cores()
        # spawn: a forked child would inherit the locks of torch's and BLAS's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        with _one_thread_each():
            pool = concurrent.futures.ProcessPoolExecutor(
                workers, mp_context=context, initializer=_start_worker, initargs=(os.getpid(),)
            )
            # Workers read the variables when they start, so start them now.
            concurrent.futures.wait([pool.submit(_nothing) for _ in range(workers)])
        return pool
    raise ConfigError(f"--executor {spec}: unknown; use {SPECS}")


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _one_thread_each:
    """Workers inherit thread limits of one through the environment; the parent's own are put back."""

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update({name: "1" for name in THREAD_VARIABLES})

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _nothing() -> None:
    return None


def _start_worker(parent: int) -> None:
    # Ctrl-C is the parent's to handle; and a worker must not outlive a parent that was killed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def split_jobs(items: Sequence[Item], num_jobs: int) -> list[list[Item]]:
    """Contiguous parts of nearly equal length, in order; fewer than `num_jobs` when there are fewer items."""
    num_jobs = min(num_jobs, len(items))
    bounds = [len(items) * job // num_jobs for job in range(num_jobs + 1)] if num_jobs else [0]
    return [list(items[begin:end]) for begin, end in zip(bounds, bounds[1:], strict=False)]


def run_jobs(
    executor: concurrent.futures.Executor,
    fn: Callable[[Job], Result],
    jobs: Iterable[Job],
    what: str,
    unit: str = "job",
) -> list[Result]:
    """Results of fn(job) in the order of `jobs`, with a progress bar.

    `fn` must be importable (a module-level function or a `functools.partial` of one). The first error
    cancels what has not begun and is raised here; a worker that died becomes a PyasrError.
    """
    return list(iterate_jobs(executor, fn, list(jobs), what, unit))


def iterate_jobs(
    executor: concurrent.futures.Executor,
    fn: Callable[[Job], Result],
    jobs: Sequence[Job],
    what: str,
    unit: str = "job",
) -> Iterator[Result]:
    """As `run_jobs`, for results too large to be held together: each is given when those before it were.

    No more than _JOBS_AHEAD jobs, or what many workers need, are begun beyond the one whose result is given next.
    """
    ahead = max(_JOBS_AHEAD, getattr(executor, "jobs_ahead", 0))
    futures: collections.deque[concurrent.futures.Future] = collections.deque()
    waiting = iter(jobs)
    try:
        for _ in track(jobs, what, unit=unit):
            futures.extend(executor.submit(fn, job) for job in itertools.islice(waiting, ahead - len(futures)))
            yield futures.popleft().result()
    except BrokenProcessPool as error:
        raise PyasrError(
            f"{what}: a worker process died (killed, or out of memory); run again with fewer workers"
            " (--executor processes:1): finished stages are kept"
        ) from error
    except concurrent.futures.BrokenExecutor as error:
        raise PyasrError(f"{what}: {error}; run again: finished stages are kept") from error
    finally:
        for future in futures:
            future.cancel()
