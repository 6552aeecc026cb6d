"""Parallel work on a Dask cluster, by address or as jobs of a batch system. Needs the extra `dask`.

Dask gives a job to another worker when its worker dies, and every worker may be given any job: all of them have to see
the same files, and to run the same installation on processors of one kind, for the same numbers.
"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import signal
import sys
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask
import distributed
from dask.utils import funcname
from distributed.scheduler import KilledWorker

from pyasr.base.errors import ConfigError, PyasrError
from pyasr.base.executor import THREAD_VARIABLES

_IDLE_S = 300  # shorter, and workers would go and queue again between the phases of a stage
_ENDED_S = 60.0  # a job none of whose workers was there for so long; a nanny takes seconds to start one again
_LOOK_EVERY_S = 30.0
_JOINED = "pyasr-joined"


class DaskExecutor(concurrent.futures.Executor):
    """Jobs on the workers of a cluster, each for itself; ended by `shutdown`, with the cluster if it is ours.

    A future ends in BrokenExecutor when one worker after the other died of its job (Dask's allowed-failures), or when
    the scheduler is gone. folders: what each worker has to see. Not `client.get_executor()`: that leaves results on the
    workers for as long as their futures live, and Dask repeats a job whose result is lost.
    """

    def __init__(
        self, client: distributed.Client, folders: Sequence[Path] = (), cluster: Any = None, most_workers: int = 0
    ) -> None:
        self._client, self._cluster, self._most_workers = client, cluster, most_workers
        self._folders = tuple(str(folder) for folder in folders)
        self._results: weakref.WeakSet[_Result] = weakref.WeakSet()

    @property
    def jobs_ahead(self) -> int:
        """So many jobs keep all workers busy."""
        return 2 * max(self._most_workers, len(self._client.nthreads()))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future:
        call, key = _Call(fn, args, kwargs, self._folders), f"{funcname(fn)}-{uuid.uuid4().hex}"
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):  # a job carries its model
            job = self._client.submit(call, key=key)
        result = _Result(self._say_if_none_works)
        job.add_done_callback(partial(_hand_on, result))
        result.add_done_callback(lambda _: job.release())  # also what makes Dask drop a job that was cancelled
        self._results.add(result)
        return result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Without `wait`, jobs that have begun are dropped, too, once their workers are done with them."""
        if wait and not cancel_futures:
            concurrent.futures.wait(list(self._results))
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _say_if_none_works(self) -> None:
        if self._client.status == "running" and not self._client.nthreads():
            print("  the Dask cluster has no workers: waiting for one", file=sys.stderr, flush=True)


class _Result(concurrent.futures.Future):
    """A future whose `result` calls `look` now and then while it waits."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self._look = look

    def result(self, timeout: float | None = None) -> Any:
        while timeout is None and not concurrent.futures.wait([self], _LOOK_EVERY_S).done:
            self._look()
        return super().result(timeout)


def _hand_on(result: concurrent.futures.Future, job: distributed.Future) -> None:
    if not result.set_running_or_notify_cancel():
        return
    try:
        result.set_result(job.result())
    except concurrent.futures.CancelledError:
        result.set_exception(concurrent.futures.BrokenExecutor("the Dask scheduler is gone, or has dropped the job"))
    except KilledWorker as error:
        tried, last = error.allowed_failures + 1, error.last_worker.address
        reason = f"{tried} Dask workers died of the same job, the last {last}: out of memory? Its log may tell"
        result.set_exception(concurrent.futures.BrokenExecutor(reason))
    except Exception as error:  # whatever a job raises belongs to its future
        result.set_exception(error)


@dataclass(frozen=True, repr=False)
class _Call:
    """A call as one opaque object: Dask would look for tasks of its own in lists and tuples."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    folders: tuple[str, ...]

    def __call__(self) -> Any:
        worker = distributed.get_worker()
        # Sums of matrix products depend on the number of threads.
        if worker.state.nthreads != 1 or any(os.environ.get(name) != "1" for name in THREAD_VARIABLES):
            raise ConfigError(
                f"Dask worker {worker.address}: has to compute with one thread; start it with `dask worker --nthreads 1"
                f" --nworkers N` and with {', '.join(f'{name}=1' for name in THREAD_VARIABLES)} or none of them"
            )
        for folder in self.folders:
            if not _holds_something(folder):
                raise PyasrError(
                    f"Dask worker {worker.address}: {folder} is missing or empty there; all workers need to see the"
                    " same files (a shared file system)"
                )
        return self.fn(*self.args, **self.kwargs)


def _holds_something(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def connect(spec: str, folders: Sequence[Path] = ()) -> DaskExecutor:
    """spec: the address of a scheduler, or 'slurm:N' or 'sge:N' for up to N workers as jobqueue.yaml describes them."""
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # its futures say the same
    if "://" in spec:
        try:
            return DaskExecutor(distributed.Client(spec, set_as_default=False), folders)
        except (OSError, ValueError) as error:  # ValueError: no such protocol, no such port
            raise ConfigError(f"--executor {spec}: no Dask scheduler answers there ({error})") from error
    kind, _, count = spec.partition(":")
    cluster = make_batch_cluster(kind)
    cluster.scheduler.add_plugin(_Joined(), name=_JOINED)
    cluster.adapt(_Adaptive, maximum=int(count), interval="1s", wait_count=_IDLE_S)
    return DaskExecutor(distributed.Client(cluster, set_as_default=False), folders, cluster, int(count))


class _Joined(distributed.SchedulerPlugin):
    """Names of all workers that were ever there, however briefly."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def add_worker(self, scheduler: distributed.Scheduler, worker: str) -> None:
        self.names.add(str(scheduler.workers[worker].name))


class _Adaptive(distributed.Adaptive):
    """Replaces, too, jobs that were ended from outside (killed, at their walltime): a cluster counts those for ever."""

    async def recommendations(self, target: int) -> dict:
        seen, now = vars(self).setdefault("_seen", {}), time.monotonic()
        here, joined = {str(name) for name in self.observed}, self.cluster.scheduler.plugins[_JOINED].names
        for job, spec in self.cluster.worker_spec.items():
            workers = {f"{job}{suffix}" for suffix in spec.get("group", [""])}
            if workers & here or (workers & joined and job not in seen):
                seen[job] = now
        ended = [job for job, last in seen.items() if now - last > _ENDED_S]
        for job in ended:
            del seen[job]
        if ended:
            await self.cluster.scale_down(ended)
        return await super().recommendations(target)


def make_batch_cluster(kind: str) -> Any:
    """A cluster whose workers, of one thread each, are jobs of a batch system; it has none yet."""
    interrupt = signal.getsignal(signal.SIGINT)
    import dask_jobqueue  # here: who gives an address does not need it

    signal.signal(signal.SIGINT, interrupt)  # which that import has taken for itself

    wanted = dask.config.get(f"jobqueue.{kind}")
    if not (wanted["cores"] and wanted["memory"]):
        raise ConfigError(
            f"--executor {kind}: Dask's configuration has to say what a job asks for: jobqueue.{kind}.cores and .memory"
            " (queue, walltime, ...), in ~/.config/dask/jobqueue.yaml"
        )
    return getattr(dask_jobqueue, f"{kind.upper()}Cluster")(
        processes=wanted["cores"],
        job_script_prologue=[*wanted["job-script-prologue"], *(f"export {name}=1" for name in THREAD_VARIABLES)],
        scheduler_options={"dashboard_address": ":0", **wanted["scheduler-options"]},  # others have one here, too
    )
