import math
import os
import signal
import subprocess
import sys
import time

import pytest

from pyasr.base.errors import ConfigError, DataError, PyasrError
from pyasr.base.executor import iterate_jobs, make_executor, run_jobs, split_jobs
from pyasr.base.seeds import rng
from pyasr.base.skips import Skips


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("spec", ["serial", "processes:2"])
def test_results_come_in_the_order_of_jobs(spec):
    with make_executor(spec) as executor:
        assert run_jobs(executor, math.sqrt, [float(i * i) for i in range(20)], "roots") == list(range(20))
        with pytest.raises(ValueError):
            run_jobs(executor, math.sqrt, [1.0, -1.0], "roots")


@pytest.mark.parametrize("spec", ["serial", "processes:2"])
def test_results_are_given_one_by_one(spec):
    with make_executor(spec) as executor:
        assert list(iterate_jobs(executor, math.sqrt, [float(i * i) for i in range(50)], "roots")) == list(range(50))
        results = iterate_jobs(executor, math.sqrt, [1.0, -1.0], "roots")
        assert next(results) == 1.0
        with pytest.raises(ValueError):
            next(results)


def test_jobs_are_not_begun_long_before_their_results_are_wanted():
    begun = []
    with make_executor("serial") as executor:
        results = iterate_jobs(executor, begun.append, list(range(1000)), "begin")
        assert begun == []
        next(results)
        first = len(begun)
        next(results)
        assert 1 <= first < 100 and len(begun) == first + 1
        results.close()
    assert len(begun) == first + 1


def test_a_dead_worker_becomes_a_clear_error():
    with make_executor("processes:1") as executor:
        with pytest.raises(PyasrError, match="test: a worker process died"):
            run_jobs(executor, die, [0], "test")
        with pytest.raises(PyasrError, match="again: a worker process died"):
            list(iterate_jobs(executor, die, [0], "again"))


def test_workers_die_with_a_killed_parent(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, time\nfrom pyasr.base.executor import make_executor\n"
        "if __name__ == '__main__':\n"
        "    executor = make_executor('processes:2')\n"
        "    print(*executor._processes, flush=True)\n"
        "    [executor.submit(time.sleep, 60) for _ in range(2)]\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert workers and all(os.path.exists(f"/proc/{pid}") for pid in workers)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in workers)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("spec", ["threads", "processes:0", "processes:x", "serial:2", "slurm", "sge:0"])
def test_unknown_executors_are_refused(spec):
    with pytest.raises(ConfigError, match=f"--executor {spec}: unknown; use 'serial'"):
        make_executor(spec)


@pytest.mark.parametrize("items, jobs", [(0, 4), (1, 4), (10, 4), (12, 4), (3, 1)])
def test_parts_are_contiguous_and_even(items, jobs):
    parts = split_jobs(list(range(items)), jobs)
    assert [item for part in parts for item in part] == list(range(items))
    assert not parts or max(map(len, parts)) - min(map(len, parts)) <= 1


def test_randomness_depends_on_the_key_alone():
    assert rng(1, "noise", "utt").random() == rng(1, "noise", "utt").random()
    draws = {rng(*key).random() for key in [(1, "a", "b"), (1, "ab"), (2, "a", "b"), (1, "a", 1), (1, "a", "1")]}
    assert len(draws) == 5


def test_skips_are_counted_listed_and_limited():
    skips = Skips("utterances", limit=0.5)
    skips.add("u1", "no audio: x.wav")
    skips.extend([{"id": "u2", "reason": "no audio: y.wav"}])
    assert skips.by_reason() == {"no audio": 2}
    skips.check(4)
    with pytest.raises(
        DataError, match=r"2 of 3 utterances skipped, more than .* 50 %: u1 \(no audio: x.wav\)"
    ):
        skips.check(3)
