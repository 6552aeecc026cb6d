"""Jobs on a Dask cluster of real processes: what reaches the caller, and what happens to jobs of workers that die."""

import concurrent.futures
import math
import os
import signal
import stat
import sys
import threading
import time
from functools import partial

import pytest

from pyasr.base.errors import ConfigError, DataError, PyasrError
from pyasr.base.executor import iterate_jobs, make_executor, run_jobs

dask = pytest.importorskip("dask", reason="needs the extra dask: pip install '.[dask]'")
distributed = pytest.importorskip("distributed", reason="needs the extra dask: pip install '.[dask]'")


def refuse(name):
    raise DataError(f"{name}: damaged")


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(folder, number):
    """Jobs 3 and 20 kill their worker when they run for the first time."""
    died = folder / f"died-{number}"
    if number in (3, 20) and not died.exists():
        died.touch()
        die(number)
    return number * number


def begin(folder, number):
    (folder / f"begun-{number}").touch()
    while number and not (folder / "go").exists():
        time.sleep(0.02)


def tasks_of_scheduler(dask_scheduler):
    return len(dask_scheduler.tasks)


def tasks_of_worker(dask_worker):
    return len(dask_worker.state.tasks)


def wait_for_tasks(cluster, most):
    """Until the scheduler has forgotten all tasks, and workers hold so many that they are at."""
    with distributed.Client(cluster.address(), set_as_default=False) as client:
        deadline = time.monotonic() + 60
        while client.run_on_scheduler(tasks_of_scheduler) or sum(client.run(tasks_of_worker).values()) > most:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def executor(dask_cluster, tmp_path):
    (tmp_path / "file").touch()
    with make_executor(dask_cluster.address(), [tmp_path]) as executor:
        yield executor


def test_results_and_errors_are_those_of_the_jobs(executor):
    assert run_jobs(executor, math.sqrt, [float(i * i) for i in range(50)], "roots") == list(range(50))
    assert run_jobs(executor, len, [[("a", 1)], [("b", print)], []], "tuples are not tasks") == [1, 1, 0]
    with pytest.raises(ValueError, match="math domain"):
        run_jobs(executor, math.sqrt, [1.0, -1.0], "roots")
    with pytest.raises(DataError, match=r"^u1: damaged$"):
        run_jobs(executor, refuse, ["u1"], "reading")


def test_what_has_not_begun_is_dropped(executor, dask_cluster, tmp_path):
    results = iterate_jobs(executor, partial(begin, tmp_path), list(range(30)), "begin")
    next(results)
    results.close()
    wait_for_tasks(dask_cluster, most=2)
    (tmp_path / "go").touch()
    wait_for_tasks(dask_cluster, most=0)
    assert len(list(tmp_path.glob("begun-*"))) <= 3


def test_nothing_of_a_job_is_left_on_the_cluster(executor, dask_cluster):
    run_jobs(executor, math.sqrt, [1.0] * 10, "roots")
    wait_for_tasks(dask_cluster, most=0)


def test_jobs_of_workers_that_die_are_done_by_others(dask_cluster, tmp_path):
    with make_executor(dask_cluster.address(workers=4)) as executor:
        squares = run_jobs(executor, partial(die_once, tmp_path), list(range(40)), "squares")
    assert squares == [number * number for number in range(40)]
    assert (tmp_path / "died-3").exists() and (tmp_path / "died-20").exists()


def test_a_job_that_kills_every_worker_is_given_up():
    here = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(**here) as cluster,
        make_executor(cluster.scheduler_address) as executor,
        pytest.raises(PyasrError, match=r"align: 1 Dask workers died of the same job, .*: out of memory"),
    ):
        run_jobs(executor, die, [0], "align")


def test_a_cluster_that_goes_ends_the_run(make_dask_cluster):
    cluster = make_dask_cluster()
    with make_executor(cluster.address(workers=1)) as executor:
        assert run_jobs(executor, math.sqrt, [4.0], "roots") == [2.0]
        results = iterate_jobs(executor, time.sleep, [3600.0], "align")
        threading.Timer(0.5, cluster.close).start()  # jobs submitted together may begin in another order
        with pytest.raises(PyasrError, match=r"align: the Dask scheduler is gone.*run again: finished stages are kept"):
            next(results)


def test_a_cluster_without_workers_is_waited_for(capfd, monkeypatch):
    monkeypatch.setattr("pyasr.base.dask_cluster._LOOK_EVERY_S", 0.2)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        make_executor(cluster.scheduler_address) as executor,
    ):
        result = executor.submit(math.sqrt, 4.0)
        waiting = concurrent.futures.ThreadPoolExecutor(1).submit(result.result)
        time.sleep(1.0)
        assert "the Dask cluster has no workers: waiting for one" in capfd.readouterr().err
        result.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result(10)


@pytest.mark.parametrize("threads, variable", [(2, "1"), (1, "2"), (1, None)])
def test_workers_that_compute_with_several_threads_are_refused(monkeypatch, threads, variable):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("MKL_NUM_THREADS") if variable is None else monkeypatch.setenv("MKL_NUM_THREADS", variable)
    here = {"n_workers": 1, "threads_per_worker": threads, "processes": False, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(**here) as cluster,
        make_executor(cluster.scheduler_address) as executor,
        pytest.raises(ConfigError, match="--nthreads 1"),
    ):
        run_jobs(executor, math.sqrt, [1.0], "roots")


def test_workers_have_to_see_the_folders(dask_cluster, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "missing", tmp_path / "empty"):  # empty: where nothing is mounted
        with make_executor(dask_cluster.address(), [folder]) as executor, pytest.raises(
            PyasrError, match=f"worker tcp.*{folder} is missing or empty there.*shared file system"
        ):
            run_jobs(executor, math.sqrt, [1.0], "roots")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://127.0.0.1", "carrier://pigeon:1"])
def test_no_cluster_at_an_address(address):
    answer = pytest.raises(ConfigError, match=f"--executor {address}: no Dask scheduler answers there")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), answer:
        make_executor(address)


@pytest.mark.parametrize("spec", ["tcp://127.0.0.1:8786", "slurm:2"])
def test_without_dask_its_extra_is_named(monkeypatch, spec):
    monkeypatch.delitem(sys.modules, "pyasr.base.dask_cluster", raising=False)
    monkeypatch.delattr("pyasr.base.dask_cluster", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)  # importing it now fails
    with pytest.raises(ConfigError, match=r"needs Dask .*pip install 'pyasr\[dask\]'"):
        make_executor(spec)


BATCH = {"cores": 2, "memory": "4GB", "interface": "lo", "queue": "speech"}


def test_workers_as_jobs_of_slurm(tmp_path, monkeypatch):
    """The commands of Slurm are stand-ins that start and end a job here; the rest is dask-jobqueue and real workers."""
    pytest.importorskip("dask_jobqueue", reason="needs the extra dask: pip install '.[dask]'")
    job, log = f"{tmp_path}/job.$$", f"{tmp_path}/log.$$"
    program(tmp_path / "sbatch", f'cp "$1" {job}; setsid bash {job} > {log} 2>&1 &\n'
            f"echo $! >> {tmp_path}/started; echo Submitted batch job $!")  # fmt: skip
    program(tmp_path / "scancel", f'echo "$@" >> {tmp_path}/cancelled; kill -KILL -- "-$1"')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")  # the batch system hands it on
    monkeypatch.setattr("pyasr.base.dask_cluster._ENDED_S", 1.0)
    interrupt = signal.getsignal(signal.SIGINT)
    with describe("slurm", **BATCH), make_executor("slurm:2", [tmp_path]) as executor:
        assert signal.getsignal(signal.SIGINT) is interrupt
        assert executor.jobs_ahead == 4
        squares = iterate_jobs(executor, slow_square, range(100), "squares")
        assert next(squares) == 0
        (job,) = (tmp_path / "started").read_text().split()
        os.killpg(int(job), signal.SIGKILL)  # its walltime is over
        assert list(squares) == [number * number for number in range(1, 100)]
    (script, _) = (path.read_text() for path in tmp_path.glob("job.*"))
    assert "#SBATCH -p speech" in script and "--cpus-per-task=2" in script
    assert "--nthreads 1 " in script and "--nworkers 2 " in script
    assert set((tmp_path / "cancelled").read_text().split()) == set((tmp_path / "started").read_text().split())


def describe(kind, **job):
    return dask.config.set({f"jobqueue.{kind}.{key.replace('_', '-')}": value for key, value in job.items()})


def program(path, commands):
    path.write_text(f"#!/bin/sh\n{commands}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def slow_square(number):
    time.sleep(0.05)
    return number * number


@pytest.mark.parametrize("kind, line", [("slurm", "#SBATCH --cpus-per-task=2"), ("sge", "#$ -q speech")])
def test_job_scripts_are_those_of_the_batch_system(kind, line):
    pytest.importorskip("dask_jobqueue", reason="needs the extra dask: pip install '.[dask]'")
    from pyasr.base.dask_cluster import make_batch_cluster

    with describe(kind, **BATCH, job_script_prologue=["module load speech"]), make_batch_cluster(kind) as cluster:
        script = cluster.job_script()
    assert line in script and "--nthreads 1 " in script and "--nworkers 2 " in script
    assert script.index("module load speech") < script.index("export OMP_NUM_THREADS=1") < script.index("dask_worker")


@pytest.mark.parametrize("kind", ["slurm", "sge"])
def test_a_batch_system_has_to_be_described(kind):
    pytest.importorskip("dask_jobqueue", reason="needs the extra dask: pip install '.[dask]'")
    with pytest.raises(ConfigError, match=rf"jobqueue\.{kind}\.cores and \.memory .*jobqueue\.yaml"):
        make_executor(f"{kind}:3")
