"""A run that is killed, again and again, ends in the same numbers as one that is not."""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import pytest

from pyasr.base.artifact import read_jsonl
from pyasr.run.memory import process_tree
from pyasr.targets import PosteriorStore

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("espeakng_loader") is None, reason="needs the extra demo: pip install '.[demo]'"
    ),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

HERE = Path(__file__).resolve().parent
TINY = HERE.parent / "recipes" / "tiny.toml"
ARGUMENTS = ("--recipe", str(TINY), "--exp", "exp", "--executor", "processes:2")
KILLS = 10
SEED = 20


def command(kill, *arguments):
    environment = {**os.environ, "PYASR_TEST_KILL": kill}
    return [sys.executable, str(HERE / "harness.py"), *ARGUMENTS, *arguments], environment


def run(folder, kill="nobody:never:0"):
    arguments, environment = command(kill)
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


TIMED = ("stages/*", ".lock", "results.json", "report.html", "*/tensorboard/*", "*/log.jsonl", "align/trained.json")


def content(exp):
    """Every file of a run but those that hold times; of the posterior stores what is in them, as their shards depend
    on who was first; of training logs all that is no time."""
    paths = {str(path.relative_to(exp)): path for path in sorted(exp.rglob("*")) if path.is_file()}
    left_out = (*TIMED, "targets*/store/*")
    files = {
        name: path.read_bytes() for name, path in paths.items() if not any(fnmatch(name, wild) for wild in left_out)
    }
    for name in ("targets", "targets_smbr"):
        store = PosteriorStore.open(exp / name / "store")
        files |= {f"{name} of {cut_id}": store.packed(cut_id).numpy().tobytes() for cut_id in sorted(store)}
    for path in exp.rglob("log.jsonl"):
        rows = [{k: v for k, v in row.items() if not is_time(k)} for row in read_jsonl(path)]
        files[str(path)[len(str(exp)) :]] = rows
    return files


def is_time(name):
    """Of a value in a training log."""
    return name == "seconds" or name.endswith("_s")


def figures(exp):
    """results.json without what a run cost."""
    results = json.loads((exp / "results.json").read_text())
    del results["wall_s"]
    for stage in results["stages"].values():
        for cost in ("seconds", "peak_memory_mb", "disk_mb", "frames_per_s"):
            stage.pop(cost, None)
    return results


def assert_same(exp, reference):
    assert figures(exp) == figures(reference)
    ours, theirs = content(exp), content(reference)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


@pytest.mark.full
def test_a_run_that_loses_a_dask_worker_ends_in_the_same_bits(tmp_path, dask_cluster):
    undisturbed = run(tmp_path)
    assert undisturbed.returncode == 0, undisturbed.stderr
    (tmp_path / "exp").rename(tmp_path / "undisturbed")
    arguments = ("--recipe", str(TINY), "--exp", "exp", "--executor", dask_cluster.address())
    with open(tmp_path / "log", "w") as log, subprocess.Popen(
        [sys.executable, "-m", "pyasr.run", *arguments], cwd=tmp_path, stdout=log, stderr=log
    ) as process:
        for stage in ("features", "tri", "label", "decode_tri"):
            while not any((tmp_path / "exp" / "stages").glob(f"{stage}.*")):
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.05)
            dask_cluster.kill_worker()
            dask_cluster.address()  # with a new one
        assert process.wait() == 0, (tmp_path / "log").read_text()
    assert_same(tmp_path / "exp", tmp_path / "undisturbed")


def draw_kill(draw, calls, number):
    """Most kills fall into the middle of writing a file; they reach every part of a run."""
    if number % 5 == 4:
        return f"worker:time:{draw.randint(300, 900)}"
    when = ("fsync", "open", "replace", "fsync", "replaced")[number % 5]
    return f"parent:{when}:{draw.randint(1, max(1, calls[when] // 5))}"


def test_a_run_killed_ten_times_ends_in_the_same_bits(tmp_path):
    reference = run(tmp_path, "parent:never:0")
    assert reference.returncode == 0, reference.stderr
    calls = json.loads((tmp_path / "calls.json").read_text())
    assert calls["fsync"] > 50  # the kills below have something to fall into
    exp, undisturbed = tmp_path / "exp", tmp_path / "undisturbed"
    exp.rename(undisturbed)

    draw, killed, moments = random.Random(SEED), 0, []
    while killed < KILLS:
        kill = draw_kill(draw, calls, killed)
        ended = run(tmp_path, kill)
        moments.append(kill)
        if ended.returncode == 0:  # it was through before the moment came: check it, and begin again
            assert_same(exp, undisturbed)
            exp.rename(tmp_path / f"through-{len(moments)}")
            continue
        expected = 1 if kill.startswith("worker") else -signal.SIGKILL
        assert ended.returncode == expected, f"{kill}: {ended.stdout}{ended.stderr}"
        killed += 1
    print("\n".join(moments))
    last = run(tmp_path)
    assert last.returncode == 0, f"{moments}: {last.stderr}"
    assert_same(exp, undisturbed)
    assert not list(exp.rglob(".tmp-*"))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_worker_outlives_a_run_that_was_ended(tmp_path, sent):
    arguments, environment = command("nobody:never:0")
    with open(tmp_path / "log", "w") as log, subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdout=log, stderr=log
    ) as process:
        deadline = time.monotonic() + 120
        while len(family := process_tree(process.pid)) < 4 and time.monotonic() < deadline:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        assert len(family) >= 4  # itself, two workers, the resource tracker
        process.send_signal(sent)
        process.wait(60)
    said = (tmp_path / "log").read_text()
    if sent == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130 and "the same command, without --fresh, goes on from here" in said
    deadline = time.monotonic() + 15
    while (left := [pid for pid in family if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
