"""Experiment files, and the loop over their runs with a small table of real stages."""

import json
import sys
import types

import pytest

from pyasr.base.artifact import write_json, write_jsonl
from pyasr.base.errors import ConfigError, DataError
from pyasr.report.measures_table import read_measures
from pyasr.report.results_table import read_table
from pyasr.run import cli, experiment_runs
from pyasr.run.experiment import load_experiment
from pyasr.run.experiment_runs import run_experiment, runs_in_table, show_plan
from pyasr.run.sidecar import read_sidecar
from pyasr.run.stage import Stage
from pyasr.run.stages import SYSTEMS

RECIPE = """
seed = 5
[corpus]
kind = "an4"
fold = 0
"""


@pytest.fixture
def write(tmp_path):
    """Write the experiment file, beside it a recipe of AN4 and an empty corpus; returns its path."""

    def file(text):
        (tmp_path / "an4.toml").write_text(RECIPE)
        (tmp_path / "corpus").mkdir(exist_ok=True)
        path = tmp_path / "grid.toml"
        path.write_text('recipe = "an4.toml"\ncorpus_dir = "corpus"\nexp = "exp"\n' + text)
        return path

    return file


SETTINGS = """
[[setting]]
name = "plain"
[[setting]]
name = "wide"
set = ["decode.beam=20.0", "gmm.tri.num_gauss=500"]
"""


def test_an_experiment_is_a_grid(write, tmp_path):
    found = load_experiment(write('folds = [2, 0]\nseeds = [7, 8]\nset = ["decode.beam=9.0"]\n' + SETTINGS))
    assert (found.name, found.recipe_name, found.table) == ("grid", "an4", tmp_path / "results.csv")
    assert [run.name for run in found.runs] == [
        f"{setting}-fold{fold}-seed{seed}" for fold in (2, 0) for seed in (7, 8) for setting in ("plain", "wide")
    ]
    run = found.runs[1]
    assert run.context.exp == tmp_path / "exp" / run.name and run.context.corpus_dir == tmp_path / "corpus"
    recipe = run.context.recipe
    assert (recipe.corpus.fold, recipe.seed, recipe.decode.beam, recipe.gmm.tri.num_gauss) == (2, 7, 20.0, 500)
    assert run.settings == {"decode.beam": 20.0, "gmm.tri.num_gauss": 500}
    assert found.runs[0].settings == {"decode.beam": 9.0}
    assert run.command == (
        "recipes/run.sh --recipe an4.toml --corpus-dir CORPUS --set decode.beam=9.0 --set decode.beam=20.0"
        " --set gmm.tri.num_gauss=500 --set seed=7 --set corpus.fold=2"
    )


def test_without_a_grid_there_is_one_run_of_the_recipe_as_it_is(write):
    (run,) = load_experiment(write("")).runs
    assert (run.name, run.setting, run.fold, run.seed, run.settings) == ("seed1", "default", None, 1, {})
    assert run.context.recipe.corpus.fold == 0 and run.conditions == ("clean",)


def test_settings_can_be_like_others_and_have_folds_of_their_own(write, tmp_path):
    text = SETTINGS + '[[setting]]\nname = "wider"\nlike = "wide"\nset = ["decode.beam=25.0"]\nfolds = [1, 3]'
    text += '\nsystems = ["tri"]'
    found = load_experiment(write('folds = [0, 1]\nsystems = ["mono", "tri"]' + text))
    assert [run.name for run in found.runs] == [
        "plain-fold0-seed1", "wide-fold0-seed1", "plain-fold1-seed1", "wide-fold1-seed1", "wider-fold1-seed1",
        "wider-fold3-seed1",
    ]  # fmt: skip
    assert found.runs[4].settings == {"decode.beam": 25.0, "gmm.tri.num_gauss": 500}
    assert (found.runs[3].systems, found.runs[4].systems) == (("mono", "tri"), ("tri",))
    only = load_experiment(tmp_path / "grid.toml", only=["wider", "plain"])
    assert [run.setting for run in only.runs] == ["plain", "plain", "wider", "wider"]
    with pytest.raises(ConfigError, match="no setting wdie; there are plain, wide, wider"):
        load_experiment(tmp_path / "grid.toml", only=["wdie"])


def test_an_experiment_can_be_like_another(write, tmp_path):
    write('folds = [2, 0]\nset = ["decode.beam=9.0"]\n' + SETTINGS).rename(tmp_path / "first.toml")
    path = tmp_path / "second.toml"
    path.write_text('like = "first.toml"\nfolds = [0]\nset = ["gmm.sat.num_gauss=900"]\n[[setting]]\nname = "new"')
    found = load_experiment(path)
    assert (found.name, found.like, found.exp) == ("second", tmp_path / "first.toml", tmp_path / "exp")
    assert [(run.name, run.settings) for run in found.runs] == [
        ("new-fold0-seed1", {"decode.beam": 9.0, "gmm.sat.num_gauss": 900})
    ]
    for text, message in [
        ('name = "plain"', "setting plain: first.toml has one of that name"),
        ('name = "new"\nlike = "plain"', "setting new: like: no setting plain before it"),
    ]:
        path.write_text(f'like = "first.toml"\n[[setting]]\n{text}')
        with pytest.raises(ConfigError, match=message):
            load_experiment(path)
    (tmp_path / "third.toml").write_text('like = "second.toml"')
    with pytest.raises(ConfigError, match=r"like: second.toml is like first.toml; name that one"):
        load_experiment(tmp_path / "third.toml")


def test_arguments_take_the_place_of_keys(write, tmp_path):
    for name in ("noise", "other"):
        (tmp_path / name).mkdir()
    found = load_experiment(
        write(""), tmp_path / "runs", tmp_path / "t.csv", tmp_path / "other", tmp_path / "noise", "serial"
    )
    context = found.runs[0].context
    assert (context.corpus_dir, context.noise_dir) == (tmp_path / "other", tmp_path / "noise")
    assert (found.exp, found.table, context.executor_spec) == (tmp_path / "runs", tmp_path / "t.csv", "serial")
    assert found.runs[0].conditions == ("clean", "snr20", "snr10", "snr5")


def test_options_are_the_same_for_every_fold_and_seed_and_folder(write, tmp_path):
    (tmp_path / "noise").mkdir()
    runs = load_experiment(write("folds = [0, 1]\nseeds = [1, 2]\n" + SETTINGS)).runs
    runs += load_experiment(write("[[setting]]\nname = 'plain'"), noise_dir=tmp_path / "noise").runs
    digests = {setting: {run.options for run in runs if run.setting == setting} for setting in ("plain", "wide")}
    assert [len(found) for found in digests.values()] == [1, 1] and digests["plain"] != digests["wide"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("sedes = [1]", "grid.toml:4: unknown key 'sedes'; did you mean 'seeds'?"),
        ("seeds = []", "grid.toml:4: seeds: "),
        ("seeds = [1, 2, 1]", "grid.toml:4: seeds: Value error, given twice: 1"),
        ('folds = ["0"]', "grid.toml:4: folds.0: "),
        ('systems = ["trii"]', "systems: trii unknown; there are mono, tri"),
        ('[[setting]]\nname = "a"\nsystems = ["trii"]', "setting a: systems: trii unknown; there are mono, tri"),
        ('conditions = ["snr7"]', "conditions: snr7 not made by this recipe (test.snr_db); there are clean, snr20"),
        ('set = ["seed=4"]', "setting default: seed has a key of its own: seeds = [...]"),
        ('set = ["corpus.fold=4"]', "setting default: corpus.fold has a key of its own: folds = [...]"),
        ('[[setting]]\nname = "a"\nset = ["gmm.tri.num_gaus=4"]', "setting a: --set gmm.tri.num_gaus=4: unknown key"),
        ('[[setting]]\nname = "a"\nst = []', "[[setting]] number 1: unknown key 'setting.0.st'; did you mean"),
        ('[[claim]]\nnam = "a"', "[[claim]] number 1: unknown key 'claim.0.nam'; did you mean 'claim.0.name'?"),
        ('[[setting]]\nname = "a b"', "[[setting]] number 1: setting.0.name: "),
        ('[[setting]]\nname = "a"\n[[setting]]\nname = "a"', "setting: Value error, given twice: a"),
        ("folds = [9]", "--set corpus.fold=9: "),
        ('noise_dir = "nowhere"', "nowhere: no such folder"),
    ],
)
def test_mistakes_are_found_before_anything_runs(write, text, message):
    with pytest.raises(ConfigError) as caught:
        load_experiment(write(text))
    assert message in str(caught.value)


# Three stages: "model" differs by setting, "base" does not. Each utterance's errors show which model decoded it.
TABLE = (
    Stage("base", "", "grid.base", ("base.json",), options=("corpus", "seed")),
    Stage("model", "", "grid.model", ("model.json",), reads=("base",), options=("decode.beam",)),
    Stage("score", "", "grid.score", ("score/",), reads=("model",)),
)
LOOP = """
systems = ["mono", "tri"]
seeds = [1, 2]
[[setting]]
name = "plain"
[[setting]]
name = "wide"
set = ["decode.beam=20.0"]
"""


@pytest.fixture
def calls(monkeypatch):
    """"RUN STAGE" of what was computed; a stage named in `calls.fails` raises."""

    class Calls(list):
        fails = ()

    ran = Calls()
    module = types.ModuleType("pyasr.run.steps.grid")

    def base(context):
        write_json(context.exp / "base.json", 1)
        return {}

    def model(context):
        write_json(context.exp / "model.json", context.recipe.decode.beam)
        return {}

    def score(context):
        beam = json.loads((context.exp / "model.json").read_text())
        rows = [
            {"id": f"{speaker}-{number}", "speaker": speaker, "sub": int(beam == 20), "del": 0, "ins": 0, "words": 3}
            for speaker in ("ann", "bob") for number in range(2)
        ]  # fmt: skip
        for system in ("mono", "tri"):
            write_jsonl(context.exp / "score" / system / "clean.jsonl", rows)
        write_json(context.exp / "score" / "wer.json", {"mono": {"clean": {}}, "tri": {"clean": {}}})
        return {}

    def recorded(function):
        def run(context):
            name = f"{context.exp.name} {function.__name__}"
            if name in ran.fails:
                raise DataError("the disk is full of water")
            ran.append(name)
            return function(context)

        return run

    for function in (base, model, score):
        setattr(module, function.__name__, recorded(function))
    monkeypatch.setitem(sys.modules, "pyasr.run.steps.grid", module)
    return ran


@pytest.fixture
def revised(monkeypatch):
    """Says which code runs; the code is that of no checkout, so equal revisions are equal code."""

    def set_revision(name):
        monkeypatch.setattr("pyasr.run.runner.revision", lambda: name)
        monkeypatch.setattr(experiment_runs, "revision", lambda: name)
        monkeypatch.setattr(experiment_runs, "same_code", lambda made_by: made_by == name)

    set_revision("a" * 12)
    return set_revision


def test_every_run_appends_its_rows_and_shares_what_does_not_differ(write, calls, revised, capsys):
    experiment = load_experiment(write(LOOP), executor="serial")
    run_experiment(experiment, TABLE)
    assert [call for call in calls if "base" in call] == ["plain-seed1 base", "plain-seed2 base"]
    assert len(calls) == 2 + 4 + 4
    rows = read_table(experiment.table)
    assert len(rows) == 4 * 2 * 2
    assert {(row.setting, row.substitutions, row.words) for row in rows} == {("plain", 0, 6), ("wide", 2, 6)}
    assert {(row.seed, row.system, row.condition, row.speaker) for row in rows} == {
        (seed, system, "clean", speaker) for seed in (1, 2) for system in ("mono", "tri") for speaker in ("ann", "bob")
    }
    assert rows[-1].settings == {"decode.beam": 20.0} and rows[-1].revision == "a" * 12
    said = capsys.readouterr().out
    assert "4 of 4 runs left, time not known yet" in said and "1 of 4 runs left, about 0." in said
    assert "shared from plain-seed1" in said

    run_experiment(experiment, TABLE)
    assert len(calls) == 10 and "4 are done" in capsys.readouterr().out
    assert read_table(experiment.table) == rows


def test_a_finished_run_is_not_repeated_though_its_folder_is_gone(write, calls, revised):
    experiment = load_experiment(write(LOOP), executor="serial")
    run_experiment(experiment, TABLE)
    experiment.exp.rename(experiment.exp.with_name("gone"))
    run_experiment(experiment, TABLE)
    assert len(calls) == 10 and not experiment.exp.exists()


def test_other_code_goes_through_the_runner(write, calls, revised):
    """What is up to date in its folder stays, with the revision that made it; what is gone is made again."""
    experiment = load_experiment(write(LOOP), executor="serial")
    run_experiment(experiment, TABLE)
    revised("b" * 12)
    assert runs_in_table(experiment) == []
    before = read_table(experiment.table)
    run_experiment(experiment, TABLE)
    assert len(calls) == 10 and read_table(experiment.table) == before
    (experiment.exp / "wide-seed2" / "model.json").unlink()
    run_experiment(experiment, TABLE)
    assert calls[10:] == ["wide-seed2 model", "wide-seed2 score"]
    made_by = {(row.setting, row.seed): row.revision for row in read_table(experiment.table)}
    assert made_by["plain", 1] == "a" * 12 and made_by["wide", 2] == "a" * 12 + "+" + "b" * 12


def test_a_changed_option_repeats_the_runs_that_it_touches(write, calls, revised):
    run_experiment(load_experiment(write(LOOP), executor="serial"), TABLE)
    changed = load_experiment(write(LOOP.replace("20.0", "8.0")), executor="serial")
    assert [run.setting for run in runs_in_table(changed)] == ["plain", "plain"]
    run_experiment(changed, TABLE)
    assert calls[10:] == ["wide-seed1 model", "wide-seed1 score", "wide-seed2 model", "wide-seed2 score"]
    assert {row.substitutions for row in read_table(changed.table)} == {0}


def test_an_error_ends_the_experiment_and_names_the_run(write, calls, revised):
    experiment = load_experiment(write(LOOP), executor="serial")
    calls.fails = ("wide-seed1 model",)
    with pytest.raises(DataError, match="run wide-seed1: the disk is full of water\nthe same command goes on"):
        run_experiment(experiment, TABLE)
    assert len(read_table(experiment.table)) == 4
    calls.fails = ()
    run_experiment(experiment, TABLE)
    assert len(calls) == 10 and len(read_table(experiment.table)) == 16


def test_with_keep_going_the_other_runs_are_made(write, calls, revised, capsys):
    experiment = load_experiment(write(LOOP), executor="serial")
    calls.fails = ("wide-seed1 model", "plain-seed2 base")
    with pytest.raises(ConfigError, match="2 runs failed: wide-seed1, plain-seed2"):
        run_experiment(experiment, TABLE, keep_going=True)
    assert "error: run wide-seed1: the disk is full of water" in capsys.readouterr().err
    done = {(row.setting, row.seed) for row in read_table(experiment.table)}
    assert done == {("plain", 1), ("wide", 2)}


def test_scores_that_are_missing_are_told(write, calls, revised, capsys, tmp_path):
    (tmp_path / "noise").mkdir()
    experiment = load_experiment(write(LOOP), noise_dir=tmp_path / "noise", executor="serial")
    run_experiment(experiment, TABLE)
    assert "no scores of mono snr20, mono snr10" in capsys.readouterr().out
    assert runs_in_table(experiment) == []


def test_a_dry_run_tells_what_is_left_and_changes_nothing(write, calls, revised, capsys):
    experiment = load_experiment(write(LOOP), executor="serial")
    show_plan(experiment, TABLE)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1][:6] == ["plain-seed1", "run", "3", "from", "base", "0"]
    assert lines[2][:6] == ["wide-seed1", "run", "2", "from", "model", "1"]
    assert calls == [] and not experiment.exp.exists() and not experiment.table.exists()

    calls.fails = ("wide-seed1 score",)
    with pytest.raises(DataError):
        run_experiment(experiment, TABLE)
    for name in ("plain-seed1", "wide-seed1"):
        if sidecar := read_sidecar(experiment.exp / name, "model"):
            values = {**sidecar.__dict__, "seconds": 60.0}
            write_json(experiment.exp / name / "stages" / "model.json", values)
    capsys.readouterr()
    show_plan(experiment, TABLE)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["plain-seed1", "done"]
    assert lines[2][:6] == ["wide-seed1", "run", "1", "from", "score", "0"]
    assert lines[3][-4:] == ["1", "min", "00", "s"] or lines[3][-2] == "60.0"
    assert "3 of 4 runs left, about 2 min 00 s" in " ".join(" ".join(line) for line in lines)


# A student of posteriors that a stage before it stores, beside a system without a network.
NETWORKS = (
    Stage("mono", "", "nets.mono", ("mono.json",)),
    Stage("label", "", "nets.label", ("targets/",)),
    Stage("student", "", "nets.student", ("train/student/",), reads=("label",), options=("train.student",)),
    Stage("score", "", "nets.score", ("score/",), reads=("mono", "student")),
)
STUDENTS = 'systems = ["mono", "student"]\nset = ["train.student.transcribed_lr_factor=2.0"]\n'
LOG = [{"seconds": 10.04, "dev_loss": 2.0}, {"seconds": 5.0, "dev_loss": 1.5}]


@pytest.fixture
def networks(monkeypatch, revised):
    """Stages as those of NETWORKS, with what they log; returns the log of the student, to be changed."""
    log = [dict(row) for row in LOG]
    module = types.ModuleType("pyasr.run.steps.nets")

    def mono(context):
        write_json(context.exp / "mono.json", 1)
        return {"parameters": 7}

    def label(context):
        write_json(context.exp / "targets" / "store.json", 1)
        return {"utterances": 3, "bytes_per_row": 22.5, "kept": 0.99, "skipped": {}}

    def student(context):
        write_jsonl(context.exp / "train" / "student" / "log.jsonl", log)
        return {"utterances": 5, "parameters": 1500, "sub_epochs": 2, "dev_loss": 1.5, "dev_frame_accuracy": 60.25,
                "ended_by": ["dev"], "frames_per_s": 900}  # fmt: skip

    def score(context):
        rows = [{"id": "ann-1", "speaker": "ann", "sub": 1, "del": 0, "ins": 0, "words": 3}]
        for system in ("mono", "student"):
            write_jsonl(context.exp / "score" / system / "clean.jsonl", rows)
        write_json(context.exp / "score" / "wer.json", {"mono": {"clean": {}}, "student": {"clean": {}}})
        return {}

    for function in (mono, label, student, score):
        setattr(module, function.__name__, function)
    monkeypatch.setitem(sys.modules, "pyasr.run.steps.nets", module)
    monkeypatch.setattr("pyasr.run.experiment_cli.STAGES", NETWORKS)
    return log


def measured(experiment):
    return {row.measure: row.value for row in read_measures(experiment.measures)}


ALL_MEASURES = {
    "parameters": 1500, "sub_epochs": 2, "dev_loss": 1.5, "dev_frame_accuracy": 60.25, "train_s": 15.0,
    "frames_per_s": 900, "bytes_per_row": 22.5, "kept": 0.99,
}  # fmt: skip


def test_what_a_run_tells_of_its_networks_goes_into_a_second_table(write, networks, capsys, tmp_path):
    experiment = load_experiment(write(STUDENTS), executor="serial")
    run_experiment(experiment, NETWORKS)
    assert experiment.measures == tmp_path / "measures.csv" and measured(experiment) == ALL_MEASURES
    (row, *_) = read_measures(experiment.measures)
    (run,) = experiment.runs
    assert (row.run, row.system, row.options) == (("grid", "default", None, 1), "student", run.options)
    assert row.revision == "a" * 12 and "measures: rows added 8" in capsys.readouterr().out


def test_of_gtc_the_bytes_of_a_step_are_kept(write, networks):
    for row, sent in zip(networks, (100, 301)):
        row["gtc_bytes_out"] = sent
    experiment = load_experiment(write(STUDENTS), executor="serial")
    run_experiment(experiment, NETWORKS)
    assert measured(experiment) == {**ALL_MEASURES, "gtc_bytes_per_step": 200.5}
    networks[0]["bmuf_blocks"] = 1  # whose bytes nobody counts
    both = load_experiment(write(STUDENTS.replace("2.0", "3.0")), executor="serial")
    run_experiment(both, NETWORKS)
    assert measured(both) == ALL_MEASURES


def test_a_student_that_hears_its_teacher_has_no_store(write, networks):
    dense = """systems = ["student"]\nset = ['train.student.targets="dense"']"""
    experiment = load_experiment(write(dense), executor="serial")
    run_experiment(experiment, NETWORKS)
    assert measured(experiment) == {name: ALL_MEASURES[name] for name in list(ALL_MEASURES)[:-2]}


def test_a_finished_run_gets_its_measures_from_its_folder(write, networks, command):
    path = write(STUDENTS)
    experiment = load_experiment(path, executor="serial")
    run_experiment(experiment, NETWORKS)
    before = experiment.measures.read_bytes()
    experiment.measures.unlink()
    run_experiment(experiment, NETWORKS)
    assert experiment.measures.read_bytes() == before
    experiment.measures.unlink()
    experiment.exp.rename(experiment.exp.with_name("gone"))
    run_experiment(experiment, NETWORKS)  # the run stays done without them
    assert not experiment.exp.exists() and not experiment.measures.exists()

    code, out, err = command("experiment", path, "--measures")
    assert code == 0 and "0 of 1 runs have rows" in out, err
    code, out, _ = command("experiment", path, "--measures", "--exp", experiment.exp.with_name("gone"))
    assert code == 0 and "measures of seed1: rows added 8" in out and "1 of 1 runs have rows" in out
    assert experiment.measures.read_bytes() == before
    code, _, err = command("experiment", path, "--measures", "--dry-run")
    assert code == 1 and "--dry-run or --measures" in err


def test_other_code_takes_measures_of_what_older_code_made(write, networks, revised, command):
    path = write(STUDENTS)
    experiment = load_experiment(path, executor="serial")
    run_experiment(experiment, NETWORKS)
    experiment.measures.unlink()
    revised("b" * 12)
    assert runs_in_table(experiment) == []
    assert command("experiment", path, "--measures")[0] == 0
    assert measured(experiment) == ALL_MEASURES
    assert {row.revision for row in read_measures(experiment.measures)} == {"a" * 12}


def test_measures_are_not_taken_from_the_folder_of_another_run(write, networks, command):
    path = write(STUDENTS)
    experiment = load_experiment(path, executor="serial")
    run_experiment(experiment, NETWORKS)
    experiment.measures.unlink()
    scores = experiment.runs[0].context.exp / "score" / "student" / "clean.jsonl"
    scores.write_text(scores.read_text().replace('"sub": 1', '"sub": 2'))
    code, out, _ = command("experiment", path, "--measures")
    assert code == 0 and "is not the run that" in out and not experiment.measures.exists()
    # Nor when the options in the file are not those of the rows any more.
    scores.write_text(scores.read_text().replace('"sub": 2', '"sub": 1'))
    _, out, _ = command("experiment", write(STUDENTS.replace("2.0", "3.0")), "--measures")
    assert "is not the run that" in out and not experiment.measures.exists()


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["pyasr.run", *map(str, arguments)])
        with pytest.raises(SystemExit) as leave:
            cli.main()
        said = capsys.readouterr()
        return leave.value.code or 0, said.out, said.err

    return call


def test_help_shows_the_keys_of_the_file(command):
    code, out, _ = command("experiment", "--help")
    assert code == 0
    keys = ("recipe", "name", "folds", "seeds", "set", "table", "exp", "systems", "conditions")
    for key in (*(f"{key} =" for key in keys), "[[setting]]"):
        assert key in out, key


def test_a_dry_run_from_the_command_line(command, write, tmp_path):
    code, out, _ = command("experiment", write("folds = [0, 1]"), "--dry-run", "--exp", tmp_path / "runs")
    assert code == 0 and "2 of 2 runs left, time not known yet" in out and "fold1-seed1" in out
    assert not (tmp_path / "runs").exists()


def test_comparisons_from_the_command_line(command, write, calls, revised, tmp_path):
    experiment = load_experiment(write(LOOP), executor="serial")
    run_experiment(experiment, TABLE)
    code, out, _ = command("compare", experiment.table, "--base", "tri@wide", "--system", "tri@plain")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("tri@wide"))
    assert line.split()[:5] == ["tri@wide", "tri@plain", "clean", "33.33", "0.00"] and "100.0 % [100.0, 100.0]" in line
    code, out, _ = command("compare", experiment.table, "--markdown")
    assert code == 0 and "| wide | mono | 33.33 [33.3, 33.3] |" in out
    for arguments, message in [
        (("--base", "tri"), "--base and --system go together"),
        (("--condition", "snr3"), "--condition snr3: not in the table; there are clean, noisy, all"),
        (("--experiment", "other"), "not in the table, which holds grid"),
    ]:
        code, _, err = command("compare", experiment.table, *arguments)
        assert code == 1 and message in err and "Traceback" not in err
    code, _, err = command("compare", tmp_path / "none.csv")
    assert code == 1 and "no such table" in err


CLAIM = """
[[claim]]
name = "a"
title = "A wide beam is better"
article = "It is."
comparison = [{ label = "tri", base = "tri@wide", system = "tri@plain", conditions = ["clean"] }]
"""


def test_claims_from_the_command_line(command, write, calls, revised, tmp_path):
    path = write(LOOP + CLAIM)
    run_experiment(load_experiment(path, executor="serial"), TABLE)
    code, out, err = command("claims", path, "--page", tmp_path / "page.html")
    assert code == 0, err
    assert "a A wide beam is better holds" in " ".join(out.split())
    assert "**Holds for tri (100.0 % [100.0, 100.0]).**" in (tmp_path / "CLAIMS.md").read_text()
    assert "A wide beam is better" in (tmp_path / "page.html").read_text()
    code, _, err = command("claims", write(LOOP))
    assert code == 1 and "no [[claim]]" in err


def test_the_committed_claims_name_settings_that_there_are(an4_experiments):
    (path, _), (rotation, _) = an4_experiments[::-1]
    found = load_experiment(path)
    assert found.like == rotation and [claim.name for claim in found.claims] == list("abcdefg")
    settings = {run.setting for run in (*found.runs, *load_experiment(rotation).runs)}
    used = {setting for claim in found.claims for one in claim.comparison for _, setting in one.sides}
    assert used == settings


def test_the_committed_experiments_can_be_read(an4_experiments):
    every = tuple(system for system in SYSTEMS if system != "student_relabelled")
    systems = {"default": every, "flat": ("student",), "tx5": ("supervised", "student"), "gtc4": ("student",)}
    found = {
        run.setting: run.systems
        for path, corpus in an4_experiments
        for run in load_experiment(path, corpus_dir=corpus).runs
    }
    assert {setting: found[setting] for setting in systems} == systems


@pytest.fixture
def an4_experiments(tmp_path):
    from pyasr.run.recipe import recipe_folders

    folder = next(folder for folder in recipe_folders() if folder.is_dir())
    return [(folder / "an4" / name, tmp_path) for name in ("rotation.toml", "claims.toml")]
