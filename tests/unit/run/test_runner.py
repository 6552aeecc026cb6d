import dataclasses
import sys
import types

import pytest

from pyasr.base.artifact import write_json
from pyasr.base.errors import ConfigError
from pyasr.run import runner
from pyasr.run.lock import locked
from pyasr.run.recipe import Recipe
from pyasr.run.sidecar import read_sidecar
from pyasr.run.stage import Context, Stage

# A small table of real stages: each writes its name and one option, so that any mix-up shows in a file.
TABLE = (
    Stage("first", "", "tiny.first", ("first/",), options=("seed",), external=("corpus_dir",)),
    Stage("second", "", "tiny.second", ("second.json",), reads=("first",), options=("gmm.mono.num_gauss",)),
    Stage("third", "", "tiny.third", ("third.json",), reads=("second",)),
    Stage("side", "", "tiny.side", ("side.json",), reads=("first",), options=("features.mfcc",)),
)
ALL = range(len(TABLE))


@pytest.fixture
def calls(monkeypatch):
    """The names of the stages that ran, in order; the stages' module is there for the test alone."""
    ran = []
    module = types.ModuleType("pyasr.run.steps.tiny")

    def stage(name, output):
        def function(context):
            ran.append(name)
            write_json(context.exp / output, [name, context.recipe.gmm.mono.num_gauss])
            return {"utterances": len(ran)}

        setattr(module, name, function)

    for name, output in [("first", "first/a.json"), ("second", "second.json"), ("third", "third.json"),
                         ("side", "side.json")]:
        stage(name, output)
    monkeypatch.setitem(sys.modules, "pyasr.run.steps.tiny", module)
    return ran


@pytest.fixture
def context(tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("a")
    return Context(Recipe(), tmp_path / "exp", corpus_dir=tmp_path / "corpus", executor_spec="serial")


def go(context, selected=ALL, table=TABLE, fresh=False):
    runner.run(table, selected, context, "tiny", fresh)


def reasons(context, table=TABLE):
    return {row.stage.name: "; ".join(row.reasons) for row in runner.decide(table, ALL, context)}


def with_options(context, **values):
    return dataclasses.replace(context, recipe=Recipe.model_validate(values))


def test_everything_runs_once_and_then_nothing(context, calls, capsys):
    assert set(reasons(context).values()) == {"it has not run yet"}
    go(context)
    assert calls == ["first", "second", "third", "side"]
    assert set(reasons(context).values()) == {""}
    go(context)
    assert len(calls) == 4 and capsys.readouterr().out.count("up to date") == 4


def test_a_changed_option_reruns_what_depends_on_it_and_nothing_else(context, calls):
    go(context)
    changed = with_options(context, gmm={"mono": {"num_gauss": 7}})
    default = Recipe().gmm.mono.num_gauss
    assert reasons(changed) == {
        "first": "",
        "second": f"gmm.mono.num_gauss changed {default} -> 7",
        "third": "input stage second changed",
        "side": "",
    }
    go(changed)
    assert calls[4:] == ["second", "third"]
    assert set(reasons(changed).values()) == {""}


def test_the_corpus_folder_is_part_of_what_is_read(context, calls):
    go(context)
    (context.corpus_dir / "a.txt").write_text("b")
    assert reasons(context)["first"] == "--corpus-dir: files changed"
    assert reasons(context)["third"] == "input stage second changed"
    (context.corpus_dir / "b.txt").write_text("b")
    assert reasons(context)["first"] == "--corpus-dir: 1 -> 2 files"
    assert reasons(dataclasses.replace(context, corpus_dir=None))["first"] == "--corpus-dir is no longer given"


def test_large_folders_are_known_by_size_and_time(context, calls, monkeypatch):
    monkeypatch.setattr("pyasr.run.identity._SMALL_BYTES", 0)
    go(context)
    assert reasons(context)["first"] == ""
    (context.corpus_dir / "a.txt").write_text("longer")
    assert reasons(context)["first"] == "--corpus-dir: files changed"


def test_a_missing_output_is_made_again_and_what_read_it_too(context, calls):
    go(context)
    (context.exp / "second.json").unlink()
    assert reasons(context)["second"] == "output second.json is missing"
    assert reasons(context)["third"] == "input stage second has to run"
    go(context, range(1, 2))  # the stage alone: what read the old one is told so afterwards
    assert reasons(context)["third"] == "input stage second was rerun"


def test_an_emptied_folder_is_missing(context, calls):
    go(context)
    (context.exp / "first" / "a.json").unlink()
    assert reasons(context)["first"] == "output first/ is missing"


def test_a_changed_version_reruns(context, calls):
    go(context)
    newer = (dataclasses.replace(TABLE[0], version=2), *TABLE[1:])
    assert reasons(context, newer)["first"] == "the stage's version changed 1 -> 2"


def test_fresh_runs_what_was_asked_for(context, calls):
    go(context)
    go(context, range(1, 2), fresh=True)
    assert calls[4:] == ["second"]


def test_a_stage_whose_input_is_out_of_date_does_not_run(context, calls):
    with pytest.raises(ConfigError, match=r"stage third reads what stage 1 second writes.*start from --stage 0"):
        go(context, range(2, 3))
    go(context)
    changed = with_options(context, gmm={"mono": {"num_gauss": 7}})
    with pytest.raises(ConfigError, match=r"num_gauss changed.*start from --stage 1"):
        go(changed, range(2, 3))
    assert len(calls) == 4


def test_an_interrupted_stage_runs_again_even_with_the_old_options(context, calls, monkeypatch):
    """Its old sidecar must not vouch for files that a run with other options has begun to replace."""
    go(context)
    changed = with_options(context, gmm={"mono": {"num_gauss": 7}})

    def interrupted(context):
        (context.exp / "second.json").write_text("half")
        raise KeyboardInterrupt

    whole = sys.modules["pyasr.run.steps.tiny"].second
    monkeypatch.setattr(sys.modules["pyasr.run.steps.tiny"], "second", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(changed)
    assert reasons(context)["second"] == "it was interrupted"
    monkeypatch.setattr(sys.modules["pyasr.run.steps.tiny"], "second", whole)
    go(context)
    assert str(Recipe().gmm.mono.num_gauss) in (context.exp / "second.json").read_text()


def test_what_an_interrupted_run_left_is_kept_for_the_same_options_only(context, calls, monkeypatch):
    go(context, range(0, 1))
    seen = []

    def checkpointing(context):
        left = context.exp / "second.json"
        seen.append(left.read_text() if left.exists() else None)
        left.write_text(f"checkpoint {context.recipe.gmm.mono.num_gauss}")
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["pyasr.run.steps.tiny"], "second", checkpointing)
    for number in (5, 5, 6):
        with pytest.raises(KeyboardInterrupt):
            go(with_options(context, gmm={"mono": {"num_gauss": number}}), range(1, 2))
    assert seen == [None, "checkpoint 5", None]
    with pytest.raises(KeyboardInterrupt):
        go(with_options(context, gmm={"mono": {"num_gauss": 6}}), range(1, 2), fresh=True)
    assert seen[-1] is None


def test_the_sidecar_tells_what_was_made_from_what(context, calls):
    go(context)
    second = read_sidecar(context.exp, "second")
    assert second.inputs == {"first": read_sidecar(context.exp, "first").started}
    assert second.identity["options"] == {"gmm.mono.num_gauss": Recipe().gmm.mono.num_gauss}
    assert second.digest == {"utterances": 2}
    assert second.seconds >= 0 and second.peak_memory_mb > 1 and second.disk_mb >= 0 and second.revision


def test_a_damaged_sidecar_counts_as_none(context, calls):
    go(context)
    (context.exp / "stages" / "second.json").write_text("{")
    assert reasons(context)["second"] == "it has not run yet"


def test_a_stage_that_does_not_write_what_it_declares_is_an_error(context, calls, monkeypatch):
    monkeypatch.setattr(sys.modules["pyasr.run.steps.tiny"], "side", lambda context: {})
    with pytest.raises(RuntimeError, match=r"stage side ended without writing side\.json"):
        go(context)


def test_two_runs_do_not_share_a_folder(context, calls):
    with locked(context.exp), pytest.raises(ConfigError, match=r"in use by another run .process"):
        go(context)
    go(context)
    assert len(calls) == 4


def test_leftovers_of_killed_writers_are_removed(context, calls):
    context.exp.mkdir()
    (context.exp / ".tmp-x-second.json").write_text("half")
    go(context)
    assert not list(context.exp.rglob(".tmp-*"))


def test_a_missing_search_library_is_found_before_the_first_stage_runs(calls, context, monkeypatch):
    monkeypatch.setitem(sys.modules, "k2", None)  # importing it now fails
    table = (*TABLE[:3], dataclasses.replace(TABLE[3], options=("decode_network",)))
    recipe = Recipe.model_validate({"decode_network": {"backend": "k2"}})
    chosen = dataclasses.replace(context, recipe=recipe)
    with pytest.raises(ConfigError, match=r"k2 is not installed; .*pip install k2=="):
        go(chosen, table=table)
    assert calls == []
    go(chosen, selected=range(3), table=table)
    assert calls == ["first", "second", "third"], "those that do not search"
