"""An experiment on the demo at a very small size: killed, resumed, its stages shared, beside a run by itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyasr.base.artifact import read_jsonl
from pyasr.decode.score import counts_by
from pyasr.report.results_table import read_table
from pyasr.run.sidecar import read_sidecar

TINY = Path(__file__).resolve().parent / "tiny.toml"
FILE = f"""
recipe = {str(TINY)!r}
seeds = [3]
systems = ["tri", "tri_sat"]
[[setting]]
name = "small"
set = ["gmm.sat.num_gauss=150"]
[[setting]]
name = "plain"
"""
COMMAND = [sys.executable, "-m", "pyasr.run", "experiment", "pair.toml", "--executor", "processes:2"]


def kill_when(folder, path):
    """Run the experiment and kill it with SIGKILL as soon as `path` is there; what it said."""
    with open(folder / "log", "w") as log, subprocess.Popen(COMMAND, cwd=folder, stdout=log, stderr=log) as process:
        deadline = time.monotonic() + 300
        while not path.exists() and time.monotonic() < deadline:
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    return (folder / "log").read_text()


def run(folder, *arguments):
    done = subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def pair(demo, tmp_path_factory):
    """(folder of an experiment that was killed three times, what its last run said)"""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "pair.toml").write_text(FILE)
    stages = {name: folder / "exp" / "pair" / f"{name}-seed3" / "stages" for name in ("small", "plain")}
    kill_when(folder, stages["small"] / "tri.json")
    assert not (folder / "results.csv").exists()
    said = kill_when(folder, stages["plain"] / "features.json")  # the first run is done, the second shares
    assert "up to date" in said and "shared from small-seed3" in said
    assert {row.setting for row in read_table(folder / "results.csv")} == {"small"}
    kill_when(folder, stages["plain"] / "sat.started.json")
    return folder, run(folder)


def test_shared_and_resumed_stages_hold_the_bits_of_a_run_by_itself(pair, demo):
    ours, theirs = pair[0] / "exp" / "pair" / "plain-seed3", demo[0] / "exp"
    whole = ("lang", "features", "conditions", "gmm")
    for name in (*whole, *(f"{folder}/{system}" for folder in ("decode", "score") for system in ("tri", "tri_sat"))):
        files = {path.relative_to(theirs) for path in (theirs / name).rglob("*") if path.is_file()}
        assert files and files == {path.relative_to(ours) for path in (ours / name).rglob("*") if path.is_file()}
        assert [file for file in files if (ours / file).read_bytes() != (theirs / file).read_bytes()] == []


def test_what_does_not_differ_is_shared_and_nothing_else(pair):
    exp = pair[0] / "exp" / "pair"
    small, plain = exp / "small-seed3", exp / "plain-seed3"
    # A kill between a stage's sidecar and the removal of what declared it begun leaves the latter, which does no harm.
    names = [path.stem for path in plain.glob("stages/*.json") if not path.stem.endswith(".started")]
    shared = {name for name in names if read_sidecar(plain, name).shared_from}
    assert {"lang", "features", "mono", "tri", "lda", "conditions", "decode_tri"} <= shared
    assert not {"decode_mono", "teacher", "student"} & set(names)  # of other systems than those asked for
    assert not shared & {"corpus", "validate", "sat", "decode_tri_sat", "score"}
    files = [path for name in ("features", "gmm/tri", "decode/tri") for path in (small / name).rglob("*")]
    assert all(os.path.samefile(path, plain / path.relative_to(small)) for path in files if path.is_file())
    assert not list(exp.rglob(".tmp-*"))


def test_the_table_holds_the_counts_of_the_scores(pair, demo):
    folder, _ = pair
    rows = read_table(folder / "results.csv")
    assert {row.setting for row in rows} == {"small", "plain"} and len({row.key for row in rows}) == len(rows)
    for system in ("tri", "tri_sat"):
        for condition in ("clean", "snr10"):
            speakers = counts_by(read_jsonl(demo[0] / "exp" / "score" / system / f"{condition}.jsonl"))
            ours = [row for row in rows if (row.setting, row.system, row.condition) == ("plain", system, condition)]
            assert {row.speaker: row.counts for row in ours} == speakers
    assert {row.settings["gmm.sat.num_gauss"] for row in rows if row.setting == "small"} == {150}


def test_once_more_there_is_nothing_to_do(pair):
    folder, _ = pair
    before = (folder / "results.csv").read_bytes()
    said = run(folder)
    assert " runs: " not in said and "shared from" not in said and (folder / "results.csv").read_bytes() == before


def test_the_table_can_be_compared(pair):
    folder, said = pair
    assert "all 2 runs are done" in said
    command = [*COMMAND[:3], "compare", "results.csv", "--base", "tri_sat@small", "--system", "tri_sat@plain"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("tri_sat@small  tri_sat@plain  clean") for line in done.stdout.splitlines())
