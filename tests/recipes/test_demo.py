"""The demo recipe, whole, at a very small size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyasr.base.artifact import read_jsonl
from pyasr.corpora import read_cuts
from pyasr.run.stages import STAGES, SYSTEMS

TINY = Path(__file__).resolve().parent / "tiny.toml"


def test_every_stage_runs_and_ends_in_a_digest(demo):
    _, output = demo
    for number, stage in enumerate(STAGES):
        line = next(line for line in output.splitlines() if line.startswith(f"stage {number:>2} {stage.name} "[:9]) and
                    f" {stage.name} " in line and " done: " in line)
        assert " s, peak memory " in line and " MB, disk " in line
    assert "Word error rates" in output


def test_results_have_the_published_form(demo):
    folder, _ = demo
    results = json.loads((folder / "exp" / "results.json").read_text())
    assert list(results) == ["schema", "recipe", "revision", "seed", "fold", "wall_s", "stages", "wer"]
    assert (results["schema"], results["recipe"], results["seed"], results["fold"]) == (1, "tiny", 3, None)
    assert list(results["stages"]) == [stage.name for stage in STAGES]
    assert list(results["wer"]) == list(SYSTEMS)
    test = {cut.id: cut for cut in read_cuts(folder / "exp" / "data" / "test.jsonl.gz")}
    for system, conditions in results["wer"].items():
        assert list(conditions) == ["clean", "snr10"]
        for condition, entry in conditions.items():
            rows = read_jsonl(folder / "exp" / "score" / system / f"{condition}.jsonl")
            assert {row["id"] for row in rows} == test.keys()
            assert all({"id", "speaker", "ref", "hyp", "sub", "del", "ins", "words"} <= row.keys() for row in rows)
            assert all(row["ref"] == test[row["id"]].supervisions[0].text for row in rows)
            for count in ("sub", "del", "ins", "words"):
                assert entry[count] == sum(row[count] for row in rows)
            errors = entry["sub"] + entry["del"] + entry["ins"]
            assert abs(entry["wer"] - 100 * errors / entry["words"]) < 1e-9
            assert entry["ci95"][0] <= entry["wer"] <= entry["ci95"][1]


def test_it_learns(demo):
    """So small a system makes many errors, but one that guessed would make more: no word would be right."""
    folder, _ = demo
    wer = json.loads((folder / "exp" / "results.json").read_text())["wer"]
    assert min(row["clean"]["wer"] for row in wer.values()) < 85


def test_the_report_is_one_page_that_needs_nothing_else(demo):
    folder, _ = demo
    page = (folder / "exp" / "report.html").read_text()
    assert "tri_sat" in page and "data:image/" in page
    assert "<script src" not in page and "<link" not in page


def test_a_second_run_does_nothing(demo, recipe):
    folder, _ = demo
    before = {path: path.stat().st_mtime_ns for path in (folder / "exp").rglob("*") if path.is_file()}
    output = recipe(folder, "--recipe", TINY, "--exp", "exp")
    assert output.count(" up to date") == len(STAGES) and "Word error rates" in output
    after = {path: path.stat().st_mtime_ns for path in (folder / "exp").rglob("*") if path.is_file()}
    assert {path.name for path in after if after[path] != before.get(path)} <= {".lock"}


def test_a_changed_option_reruns_what_depends_on_it(demo, recipe):
    folder, _ = demo
    output = recipe(folder, "--recipe", TINY, "--exp", "exp", "--dry-run", "--set", "gmm.tri.tree.max_leaves=40")
    lines = {line.split()[1]: line for line in output.splitlines() if line[:1].isdigit()}
    assert lines.keys() == {stage.name for stage in STAGES}
    assert "gmm.tri.tree.max_leaves changed 60 -> 40" in lines["tri"]
    rerun = {name for name, line in lines.items() if "up to date" not in line}
    before = {"corpus", "lang", "validate", "features", "mono", "conditions", "decode_mono"}
    assert rerun == {stage.name for stage in STAGES} - before


def test_the_model_recognises_a_file(demo):
    folder, _ = demo
    cut = next(iter(read_cuts(folder / "exp" / "data" / "transcribed.jsonl.gz")))
    command = [sys.executable, "-m", "pyasr.transcribe", "--model", "exp/decode/tri", cut.recording.sources[0].source]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    words = cut.supervisions[0].text.split()
    assert set(words) & set(done.stdout.split())


@pytest.mark.parametrize(("system", "options"), [("teacher", ()), ("student", ()), ("student", ("--streaming",))])
def test_a_network_recognises_what_its_stage_did(demo, system, options):
    folder, _ = demo
    cuts = list(read_cuts(folder / "exp" / "data" / "test.jsonl.gz"))[:3]
    decoded = {row["id"]: " ".join(row["words"]) for row in read_jsonl(folder / f"exp/decode/{system}/hyp/clean.jsonl")}
    files = [cut.recording.sources[0].source for cut in cuts]
    command = [sys.executable, "-m", "pyasr.transcribe", "--model", f"exp/decode/{system}", *options, *files]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"{file}\t{decoded[cut.id]}\n" for file, cut in zip(files, cuts))


def test_senones_are_listed_and_drawn(demo):
    folder, _ = demo
    listed = (folder / "exp" / "senones" / "senones.txt").read_text().splitlines()
    results = json.loads((folder / "exp" / "results.json").read_text())
    assert len(listed) == 1 + results["stages"]["senones"]["senones"]
    command = [sys.executable, "-m", "pyasr.run", "draw", "exp", "AH", "ah.svg"]
    subprocess.run(command, cwd=folder, env=os.environ, check=True, capture_output=True)
    assert (folder / "ah.svg").read_text().lstrip().startswith("<?xml")
