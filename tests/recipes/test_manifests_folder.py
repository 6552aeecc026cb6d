"""An untranscribed part in a folder of manifests: taken over, checked, labelled and learnt from, each by itself."""

import shutil
from collections import Counter
from dataclasses import replace

import pytest

from pyasr.base.artifact import read_jsonl
from pyasr.base.errors import DataError
from pyasr.corpora import read_cuts, write_cuts
from pyasr.corpora.options import ValidationOptions
from pyasr.run.recipe import load_recipe
from pyasr.run.stage import Context
from pyasr.run.steps import corpus, labels, networks
from pyasr.targets import PosteriorStore

RECIPE = """
seed = 3
[corpus]
kind = "manifests"
untranscribed = "many"
[train.supervised]
network = { layers = 1, units = 16 }
batch_s = 10.0
[train.student]
phases = [{ transcribed = 0.1, untranscribed = 0.75, max_sub_epochs = 4 }]
weight = "posterior"
buffer_manifests = 2
"""


@pytest.fixture
def context(demo, tmp_path):
    """A corpus of the demo's audio, and what stages of the demo have made that know nothing of the untranscribed."""
    made, source = demo[0] / "exp", tmp_path / "corpus"
    source.mkdir()
    for part in ("transcribed", "dev", "test"):
        shutil.copy(made / "data" / f"{part}.jsonl.gz", source)
    for name in ("lexicon.txt", "lm.arpa"):
        shutil.copy(made / "lang" / name, source)
    cuts = list(read_cuts(made / "data" / "untranscribed.jsonl.gz"))
    copies = [cut.with_id(f"{cut.id}-{n}") for n in range(3) for cut in cuts]
    for number in range(5):
        write_cuts(source / "many" / f"part.{number}.jsonl.gz", copies[number::5])
    (tmp_path / "mine.toml").write_text(RECIPE)
    for name in ("lang", "senones", "align", "train/teacher"):
        shutil.copytree(made / name, tmp_path / "exp" / name)
    recipe = load_recipe(tmp_path / "mine.toml", None)
    return Context(recipe=recipe, exp=tmp_path / "exp", executor_spec="serial", corpus_dir=source, noise_dir=None)


def test_from_manifests_to_a_student(context):
    assert corpus.prepare(context)["untranscribed"]["utterances"] == 12
    audio = read_cuts(context.exp / "corpus" / "untranscribed" / "part.0.jsonl.gz")
    assert all(cut.supervisions[0].text is None and cut.supervisions[0].id == cut.id for cut in audio)
    digest = corpus.validate(context)
    assert digest["untranscribed"]["utterances"] == 12 and not digest["skipped"]
    assert labels.label(context)["utterances"] == 12
    store = PosteriorStore.open(context.exp / "targets" / "store")
    assert len(store) == 12 and len(PosteriorStore.open(store.folder, part="part_0")) == 3
    labels.label(context)
    assert len(store.shard_names()) == 5, "what is labelled is not labelled again"
    digest = networks.student(context)
    log = read_jsonl(context.exp / "train" / "student" / "log.jsonl")
    frames = [row["frames_untranscribed"] for row in log]
    assert digest["manifests"] == 5 and len(log) == 4 and digest["sub_epochs"] == 4
    whole = sum(cut.duration for cut in audio) * 1000 / 30
    assert sum(frames) == pytest.approx(3 * 4 * whole, rel=0.5) and all(frames)
    assert (context.exp / "train" / "student" / "network" / "weights.pt").exists()


def prepare(context):
    """As the runner would when the corpus has changed."""
    for name in ("corpus", "data"):
        shutil.rmtree(context.exp / name, ignore_errors=True)
    corpus.prepare(context)


def test_bad_cuts_are_listed_and_what_spoils_a_result_is_an_error(context):
    many = context.corpus_dir / "many"
    cuts = list(read_cuts(many / "part.1.jsonl.gz"))
    short = cuts[0].with_id("short").truncate(duration=0.05, preserve_id=True)
    write_cuts(many / "part.1.jsonl.gz", [*cuts, short])
    prepare(context)
    with pytest.raises(DataError, match="untranscribed utterances skipped"):
        corpus.validate(context)
    lenient = context.recipe.model_copy(update={"validation": ValidationOptions(skip_limit=0.5)})
    corpus.validate(replace(context, recipe=lenient))
    reasons = Counter(row["reason"].split(":")[0] for row in read_jsonl(context.exp / "data" / "skipped.jsonl"))
    assert reasons == {"too short": 1}
    test_cut = next(iter(read_cuts(context.corpus_dir / "test.jsonl.gz")))
    for bad, message in ((test_cut.with_id("new"), r"1 speakers are in part\.1.* and in test"),
                         (test_cut, "is used twice: in test and in part.1")):  # fmt: skip
        write_cuts(many / "part.1.jsonl.gz", [*cuts, bad])
        prepare(context)
        with pytest.raises(DataError, match=message):
            corpus.validate(context)
