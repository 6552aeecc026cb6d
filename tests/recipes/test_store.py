"""A recipe and its posterior store: one that others made, and one that was repaired."""

import dataclasses
import shutil
import subprocess
import sys

import pytest

from pyasr.base.errors import ConfigError, DataError
from pyasr.run.recipe import load_recipe
from pyasr.run.stage import Context
from pyasr.run.steps import labels, networks
from pyasr.targets import PosteriorStore
from pyasr.targets.repair import repair_shard
from pyasr.targets.verify import verify

RECIPE = """
[train.supervised]
network = { layers = 1, units = 16 }
batch_s = 10.0
[train.student]
phases = [{ transcribed = 0.1, untranscribed = 1.0, max_sub_epochs = 1 }]
"""


@pytest.fixture
def context(demo, tmp_path):
    """What the demo's stages have made before the label stage."""
    for name in ("data", "lang", "senones", "align", "train/teacher"):
        shutil.copytree(demo[0] / "exp" / name, tmp_path / "exp" / name)
    (tmp_path / "mine.toml").write_text(RECIPE)
    return Context(recipe=load_recipe(tmp_path / "mine.toml", None), exp=tmp_path / "exp", executor_spec="serial")


def with_store(context, store, **options):
    targets = context.recipe.targets.model_copy(update={"store": str(store), **options})
    return dataclasses.replace(context, recipe=context.recipe.model_copy(update={"targets": targets}))


def run(command):
    done = subprocess.run([sys.executable, *command.split()[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def label(context, store, options=""):
    run(
        f"python -m pyasr.targets label {store} {context.exp}/data/untranscribed.jsonl.gz"
        f" --network {context.exp}/train/teacher/network {options}"
    )


def test_a_store_that_was_made_apart_is_learnt_from(context, tmp_path):
    label(context, tmp_path / "apart", "--all-phases")
    given = with_store(context, tmp_path / "apart")
    assert labels.label(given)["utterances"] == 4
    assert networks.student(given)["utterances"] > 4
    assert not (context.exp / "targets" / "store").exists()

    label(context, tmp_path / "one-phase")
    with pytest.raises(ConfigError, match=r"its metadata is .*'phases': 1.* --all-phases"):
        labels.label(with_store(context, tmp_path / "one-phase"))
    with pytest.raises(ConfigError, match="its k is 20, here it is 7"):
        labels.label(with_store(context, tmp_path / "apart", k=7))
    store = PosteriorStore.open(tmp_path / "apart")
    PosteriorStore.create(tmp_path / "empty", store.num_senones, **store.metadata)
    with pytest.raises(DataError, match=r"4 of 4 utterances skipped.*not in targets\.store"):
        labels.label(with_store(context, tmp_path / "empty"))


def test_what_a_repair_dropped_is_left_out_and_labelled_again_by_the_command_shown(context, capsys):
    labels.label(context)
    store = PosteriorStore.open(context.exp / "targets" / "store")
    (name,) = store.shard_names()
    path = store.folder / "shards" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    assert list(verify(store))
    assert len(repair_shard(store, name)) == 1
    capsys.readouterr()
    undamaged = networks.student(context)
    said = capsys.readouterr().out
    assert "1 of 4 utterances (" in said and "have lost posteriors to a repair and are left out" in said
    command = said.split("labels them again: ")[1].splitlines()[0]
    run(command)
    shutil.rmtree(context.exp / "train" / "student")
    assert networks.student(context)["utterances"] == undamaged["utterances"] + 1
    assert "lost posteriors" not in capsys.readouterr().out
