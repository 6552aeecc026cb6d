"""Stages of `pyasr.train` and `pyasr.targets`: teacher, labels, supervised and student."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pyasr.base.artifact import digest_file, write_json, write_jsonl
from pyasr.base.errors import DataError
from pyasr.corpora import read_cuts
from pyasr.corpora.splits import nested_share
from pyasr.dist.options import DistOptions
from pyasr.nn.network import Network
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.training import train, transcribed_source
from pyasr.targets import PosteriorStore
from pyasr.targets.label import label_cuts
from pyasr.targets.statistics import statistics
from pyasr.train.data import Source
from pyasr.train.options import TrainOptions
from pyasr.train.targets import StoredTargets

ABSENT = "absent.json"
"""In the place of a system that this corpus has no data for: {"reason"}."""
_NOTHING_UNTRANSCRIBED = "the corpus has no untranscribed part"


def teacher(context: Context) -> Digest:
    """train/teacher/"""
    return _train(context, "teacher", context.recipe.train.teacher, {})


def supervised(context: Context) -> Digest:
    """train/supervised/"""
    return _train(context, "supervised", context.recipe.train.supervised, {})


def label(context: Context) -> Digest:
    """targets/"""
    options, folder = context.recipe.targets, context.exp / "targets"
    cuts = read_cuts(context.exp / "data" / "untranscribed.jsonl.gz")
    if not len(cuts):
        return _absent(folder, _NOTHING_UNTRANSCRIBED)
    network_folder = context.exp / "train" / "teacher" / "network"
    network = Network.load(network_folder)
    phases = network.frontend.options.stack if options.stacking == "all" else 1
    metadata = {"phases": phases, "senones": network.senones, "teacher": digest_file(network_folder / "weights.pt")}
    if options.temperature != 1.0:
        metadata["temperature"] = options.temperature
    store_folder = folder / "store"
    _open_or_create(store_folder, network.model.num_senones, options.k, metadata)
    made = label_cuts(
        cuts, network_folder, store_folder, phases, options.skip_limit, context.executor, options.temperature
    )
    write_jsonl(folder / "skipped.jsonl", made.rows)
    found = statistics(PosteriorStore.open(store_folder))
    return {
        "utterances": found.cuts,
        "rows": found.frames,
        "bytes_per_row": round(found.block_bytes / max(1, found.frames), 2),
        "max_posterior": round(found.max_posterior, 4),
        "entropy": round(found.entropy, 4),
        "kept": round(found.kept, 5),
        "skipped": made.by_reason(),
    }


def student(context: Context) -> Digest:
    """train/student/"""
    folder = context.exp / "train" / "student"
    if (context.exp / "targets" / ABSENT).exists():
        return _absent(folder, _NOTHING_UNTRANSCRIBED)
    cuts = list(read_cuts(context.exp / "data" / "untranscribed.jsonl.gz"))
    store = PosteriorStore.open(context.exp / "targets" / "store")
    stored = StoredTargets(store, tied=context.recipe.targets.stacking == "tied")
    options = context.recipe.train.student
    least = options.min_posterior
    if options.untranscribed_share is not None:
        seconds = {cut.id: cut.duration for cut in cuts}
        chosen = nested_share(seconds, options.untranscribed_share, "untranscribed-share")
        cuts = [cut for cut in cuts if cut.id in chosen]
    sure = [cut for cut in cuts if cut.id in store and store.summary(cut.id).max_posterior >= least]
    if not sure:
        raise DataError(
            f"none of {len(cuts)} utterances has a mean highest posterior of train.student.min_posterior = {least}"
            f" or more; `python -m pyasr.targets stat {store.folder}` shows what there is"
        )
    untranscribed = {"untranscribed": Source.of(sure, stored)}
    return _train(context, "student", context.recipe.train.of_student(), untranscribed, options.dist)


def _train(
    context: Context,
    system: str,
    options: TrainOptions,
    stored: Mapping[str, Source],
    dist: DistOptions | None = None,
) -> Digest:
    targets = context.exp / "align"
    sources = {"transcribed": transcribed_source(context, targets), **stored}
    return train(context, system, options, sources, context.exp / "train" / system, targets, dist)


def _open_or_create(folder: Path, num_senones: int, k: int, metadata: Digest) -> None:
    """Go on with the store that an interrupted run of the same began, or make a new one."""
    if folder.exists():
        store = PosteriorStore.open(folder)
        if (store.num_senones, store.k, store.metadata) == (num_senones, k, metadata):
            return
        shutil.rmtree(folder)
    PosteriorStore.create(folder, num_senones, k, **metadata)


def _absent(folder: Path, reason: str) -> Digest:
    write_json(folder / ABSENT, {"reason": reason})
    return {"notes": [f"nothing to do: {reason}"]}
