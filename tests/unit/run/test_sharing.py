"""Sharing between experiment folders, with a small table of real stages."""

import dataclasses
import gzip
import os
import sys
import types

import pytest

from pyasr.base.artifact import read_json, write_json, write_text
from pyasr.run import runner
from pyasr.run.recipe import Recipe
from pyasr.run.sharing import mentions
from pyasr.run.sidecar import read_sidecar
from pyasr.run.stage import Context, Stage

# "audio" writes a manifest that mentions its folder, as the demo corpus does.
TABLE = (
    Stage("audio", "", "shared.audio", ("audio/",), options=("seed",)),
    Stage("model", "", "shared.model", ("model/", "model.txt"), reads=("audio",), options=("gmm.mono.num_gauss",)),
    Stage("words", "", "shared.words", ("words.json",), reads=("model",), options=("gmm.tri.num_gauss",)),
)


@pytest.fixture
def calls(monkeypatch):
    """"RUN STAGE" of what was computed, in order."""
    ran = []
    module = types.ModuleType("pyasr.run.steps.shared")

    def audio(context):
        (context.exp / "audio").mkdir(exist_ok=True)
        with gzip.open(context.exp / "audio" / "cuts.jsonl.gz", "wt") as stream:
            stream.write(f'{{"source": "{context.exp}/audio/a.flac"}}\n')
        return {}

    def model(context):
        (context.exp / "model" / "inner").mkdir(parents=True, exist_ok=True)
        write_text(context.exp / "model" / "inner" / "means", str(context.recipe.gmm.mono.num_gauss))
        write_text(context.exp / "model.txt", "a model")
        return {"gaussians": context.recipe.gmm.mono.num_gauss}

    def words(context):
        write_json(context.exp / "words.json", context.recipe.gmm.tri.num_gauss)
        return {}

    def recorded(function):
        def run(context):
            ran.append(f"{context.exp.name} {function.__name__}")
            return function(context)

        return run

    for function in (audio, model, words):
        setattr(module, function.__name__, recorded(function))
    monkeypatch.setitem(sys.modules, "pyasr.run.steps.shared", module)
    return ran


@pytest.fixture
def go(tmp_path):
    def run(name, share_from=(), fresh=False, **values):
        context = Context(Recipe.model_validate(values), tmp_path / name, executor_spec="serial")
        others = [tmp_path / other for other in share_from]
        runner.run(TABLE, range(len(TABLE)), context, "tiny", fresh, share_from=others)
        return context.exp

    return run


TRI = {"gmm": {"tri": {"num_gauss": 77}}}
MONO = {"gmm": {"mono": {"num_gauss": 7}}}


def test_a_stage_of_the_same_fingerprint_is_linked_and_nothing_else(go, calls, capsys):
    a = go("a")
    b = go("b", ["a"], **TRI)
    assert calls == ["a audio", "a model", "a words", "b audio", "b words"]
    assert "model          shared from a" in capsys.readouterr().out
    for name in ("model/inner/means", "model.txt"):
        assert os.path.samefile(a / name, b / name)
    sidecar = read_sidecar(b, "model")
    assert sidecar.shared_from == "a" and sidecar.digest == read_sidecar(a, "model").digest
    assert sidecar.inputs == {"audio": read_sidecar(b, "audio").started}
    go("b", ["a"], **TRI)
    assert len(calls) == 5  # it is up to date, though linked


def test_an_output_that_mentions_its_folder_is_computed(go, calls, capsys):
    go("a")
    b = go("b", ["a"])
    assert calls[3:] == ["b audio"]
    assert "not shared from a: audio/cuts.jsonl.gz refers to its folder" in capsys.readouterr().out
    with gzip.open(b / "audio" / "cuts.jsonl.gz", "rt") as stream:
        assert f"{b}/audio/a.flac" in stream.read()


def test_what_differs_is_never_taken(go, calls):
    go("a")
    b = go("b", ["a"], **MONO)
    assert calls[3:] == ["b audio", "b model", "b words"]
    assert (b / "model" / "inner" / "means").read_text() == "7"


def test_the_first_folder_that_has_it_is_taken(go, calls):
    go("a", **MONO)
    go("b")
    c = go("c", ["nowhere", "a", "b"], **TRI)
    assert read_sidecar(c, "model").shared_from == "b"


def test_a_rerun_of_one_leaves_the_other_as_it_was(go, calls):
    a, b = go("a"), go("b", ["a"])
    go("a", **MONO)
    assert (a / "model" / "inner" / "means").read_text() == "7"
    assert (b / "model" / "inner" / "means").read_text() == str(Recipe().gmm.mono.num_gauss)


def test_fresh_computes_everything(go, calls):
    go("a")
    go("b", ["a"], fresh=True)
    assert calls[3:] == ["b audio", "b model", "b words"]


@pytest.mark.parametrize("damage", ["no sidecar", "interrupted", "output missing", "symbolic link"])
def test_what_is_not_whole_is_computed(go, calls, tmp_path, damage):
    a = go("a")
    if damage == "no sidecar":
        (a / "stages" / "model.json").unlink()
    elif damage == "interrupted":
        write_text(a / "stages" / "model.json", "{")
    elif damage == "output missing":
        (a / "model.txt").unlink()
    else:
        (a / "model.txt").rename(tmp_path / "elsewhere")
        (a / "model.txt").symlink_to(tmp_path / "elsewhere")
    b = go("b", ["a"])
    assert "b model" in calls and not (b / "model.txt").is_symlink()


def test_a_stage_that_was_killed_while_linking_is_not_resumed_from_links(go, calls, tmp_path):
    """What lies there may be another run's files: a run that computes has to begin with an empty place."""
    a = go("a")
    b = go("b", ["a"])
    sidecar = read_sidecar(b, "model")
    (b / "stages" / "model.json").unlink()  # as if the kill had come just before it was written
    write_json(
        b / "stages" / "model.started.json",
        {"fingerprint": sidecar.fingerprint, "inputs": sidecar.inputs, "shared_from": "a"},
    )
    go("b")  # no folder to share from now
    assert "b model" in calls
    assert not os.path.samefile(a / "model.txt", b / "model.txt")
    assert not (b / "stages" / "model.started.json").exists()


def test_what_others_may_have_linked_is_never_resumed_in_place(go, calls, tmp_path):
    """Killed between its last two steps, a stage is complete and yet marked as begun."""
    a = go("a")
    sidecar = read_sidecar(a, "model")
    begun = {"fingerprint": sidecar.fingerprint, "inputs": sidecar.inputs}
    write_json(a / "stages" / "model.started.json", begun)
    b = go("b", ["a"])
    (a / "model" / "inner" / "means").unlink()
    (a / "model.txt").unlink()
    write_text(a / "model" / "checkpoint", "of the finished run")
    go("a")
    assert calls[-2:] == ["a model", "a words"] and not (a / "model" / "checkpoint").exists()
    assert (b / "model.txt").read_text() == "a model"


def test_half_a_computed_stage_gives_way_to_a_whole_one(go, calls, tmp_path):
    go("a")
    b = tmp_path / "b"
    (b / "model").mkdir(parents=True)
    write_text(b / "model" / "checkpoint", "half")
    go("b", ["a"])
    assert "b model" not in calls and not (b / "model" / "checkpoint").exists()


def test_files_are_copied_where_links_cannot_be_made(go, calls, monkeypatch):
    def no_links(source, target):
        raise OSError(18, "Invalid cross-device link")

    a = go("a")
    monkeypatch.setattr(os, "link", no_links)
    b = go("b", ["a"])
    assert "b model" not in calls and not os.path.samefile(a / "model.txt", b / "model.txt")
    assert (b / "model.txt").read_text() == "a model"


def test_a_path_is_found_across_blocks_and_as_json_writes_it(tmp_path, monkeypatch):
    folder = tmp_path / "für"
    monkeypatch.setattr("pyasr.run.sharing._BLOCK_BYTES", 16)
    for number, text in enumerate([f"{'x' * 21}{folder}/a", f'"{tmp_path}/f\\u00fcr/a"']):
        plain, packed = tmp_path / f"{number}.json", tmp_path / f"{number}.json.gz"
        plain.write_text(text)
        packed.write_bytes(gzip.compress(text.encode()))
        assert mentions(plain, folder) and mentions(packed, folder)
        assert not mentions(plain, tmp_path / "fürs") and not mentions(packed, tmp_path / "fürs")


def test_old_sidecars_are_read(go, calls):
    """Those written before stages were shared lack the field."""
    a = go("a")
    values = read_json(a / "stages" / "model.json")
    assert values.pop("shared_from") == ""
    write_json(a / "stages" / "model.json", values)
    assert read_sidecar(a, "model") == dataclasses.replace(read_sidecar(a, "model"), shared_from="")
    go("a")
    assert len(calls) == 3
