"""Labelling under torchrun: a process that dies costs what it had not sealed, and no other process anything."""

import shutil
from pathlib import Path

import pytest
import torch
import typer.testing

from pyasr.corpora import write_cuts
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.nn.options import NetworkOptions
from pyasr.targets import PosteriorStore
from pyasr.targets.cli import app

SCRIPT = Path(__file__).with_name("faulty_labelling.py")


@pytest.fixture
def arguments(tones, tmp_path):
    """Of `label` behind the store's folder: two manifests, one a process, labelled cut by cut."""
    torch.manual_seed(1)
    options = NetworkOptions(layers=1, units=8, bidirectional=True, delay_frames=0)
    Network(AcousticModel(tones.frontend.dim, 8, options).eval(), tones.frontend, "x").save(tmp_path / "network")
    for name, cuts in (("a", tones.cuts[:6]), ("b", tones.cuts[6:])):
        write_cuts(tmp_path / f"{name}.jsonl.gz", cuts)
    return [str(tmp_path / "a.jsonl.gz"), str(tmp_path / "b.jsonl.gz"), "--network", str(tmp_path / "network"),
            "--k", "4", "--batch-s", "0.1"]  # fmt: skip


def content(store):
    return {cut_id: store.packed(cut_id).numpy().tobytes() for cut_id in store}


def test_a_killed_process_costs_the_others_nothing_and_a_rerun_makes_what_is_missing(
    tones, torchrun, arguments, tmp_path
):
    result = typer.testing.CliRunner().invoke(app, ["label", str(tmp_path / "alone"), *arguments])
    assert result.exit_code == 0, result.output
    expected = content(PosteriorStore.open(tmp_path / "alone"))
    assert len(expected) == 12

    ended = torchrun(SCRIPT, tmp_path, "label", tmp_path / "store", *arguments)
    assert ended.returncode != 0
    assert "interrupted: what was labelled is sealed; the same command goes on from here" in ended.stderr
    left = content(PosteriorStore.open(tmp_path / "store"))
    assert left and left.keys() < {cut.id for cut in tones.cuts[:6]}

    ended = torchrun(SCRIPT, tmp_path, "label", tmp_path / "store", *arguments)
    assert ended.returncode == 0, ended.stderr
    assert content(PosteriorStore.open(tmp_path / "store")) == expected

    shutil.rmtree(tmp_path / "store")
    (tmp_path / "failed").unlink()
    ended = torchrun(SCRIPT, tmp_path, "label", tmp_path / "store", *arguments, restarts=1)
    assert ended.returncode == 0, ended.stderr
    assert content(PosteriorStore.open(tmp_path / "store")) == expected
