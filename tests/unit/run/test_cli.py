import sys

import pytest

from pyasr.run import cli
from pyasr.run.stages import STAGES


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Call the command line in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["pyasr.run", *arguments])
        with pytest.raises(SystemExit) as leave:
            cli.main()
        said = capsys.readouterr()
        return leave.value.code or 0, said.out, said.err

    return call


def test_list_shows_what_stages_read_and_write(run):
    code, out, _ = run("--list")
    assert code == 0 and out == run("stages")[1]
    lines = out.splitlines()
    assert [line.split()[1] for line in lines if line[:2].strip().isdigit()] == [stage.name for stage in STAGES]
    assert ["reads", "corpus/", "lang/", "data/", "features/"] in [line.split() for line in lines]


def test_a_dry_run_changes_nothing(run, tmp_path):
    code, out, _ = run("--dry-run", "--stage", "mono", "--stop-stage", "5")
    assert code == 0 and list(tmp_path.iterdir()) == []
    verdicts = {line.split()[1]: line for line in out.splitlines() if line[:1].isdigit()}
    assert " run " in verdicts["mono"] and " run " in verdicts["tri"]
    assert "not asked for" in verdicts["features"] and "not asked for" in verdicts["lda"]


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (("--stage", "99"), 1, "error: --stage 99: no such stage; there are 0 corpus, 1 lang"),
        (("--only", "mono", "--stage", "1"), 1, "error: --only NAME runs one stage"),
        (("--stage", "tri", "--stop-stage", "mono"), 1, "error: --stage tri comes after --stop-stage mono"),
        (("--recipe", "an5"), 1, "error: --recipe an5: no recipe of that name"),
        (("--corpus-dir", "nowhere"), 1, "nowhere: no such folder"),
        (("--recipe", "an4"), 1, "error: corpus 'an4' needs --corpus-dir DIR"),
        (("--set", "seeds=1"), 1, "error: --set seeds=1: unknown key 'seeds'; did you mean 'seed'?"),
        (("--executor", "threads"), 1, "error: --executor threads: unknown; use"),
        (("--only", "tri"), 1, "error: stage tri reads what stage"),
        (("--speed", "9"), 2, "No such option"),
        (("doctr",), 2, "No such command"),
    ],
)
def test_mistakes_are_answered_without_a_traceback(run, arguments, code, message):
    got, _, err = run(*arguments)
    assert got == code and message in err and "Traceback" not in err


def test_doctor_tells_how_to_get_what_is_missing(run):
    code, out, _ = run("doctor")
    assert code == 0
    subjects = ("pyasr", "Python", "native core", "torch", "kaldi-decoder", "CUDA", "k2", "espeak-ng", "dask", "disk")
    for subject in subjects:
        assert any(line.startswith(subject) for line in out.splitlines()), subject
    k2 = next(line for line in out.splitlines() if line.startswith("k2"))
    assert "not installed" not in k2 or "pip install k2==" in k2


def test_what_is_broken_is_found(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaldilm", None)  # importing it now fails
    code, out, err = run("doctor")
    assert code == 1 and "something needed is missing" in err
    assert "pip install --force-reinstall kaldilm" in out
