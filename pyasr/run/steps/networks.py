"""Stages of `pyasr.train` and `pyasr.targets`: teacher, labels, supervised and student."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pyasr.base.artifact import digest_file, read_json, write_json, write_jsonl
from pyasr.base.errors import ConfigError, DataError
from pyasr.corpora import read_cuts
from pyasr.corpora.splits import nested_share
from pyasr.dist.options import DistOptions
from pyasr.nn.network import Network
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.training import train, transcribed_source
from pyasr.targets import PosteriorStore
from pyasr.targets.label import label_cuts, label_manifests
from pyasr.targets.statistics import statistics
from pyasr.train.criterion import Criterion
from pyasr.train.lazy import LazySource, Manifests
from pyasr.train.listen import TaughtCriterion
from pyasr.train.options import StudentOptions, TrainOptions
from pyasr.train.source import Source
from pyasr.train.targets import StoredTargets, TeacherTargets

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
    return _label(context, "teacher", context.exp / "targets")


def relabel(context: Context) -> Digest:
    """targets_smbr/"""
    folder = context.exp / "targets_smbr"
    if not context.recipe.smbr.relabel:
        return _absent(folder, "smbr.relabel is false")
    return _label(context, "teacher_smbr", folder)


def student(context: Context) -> Digest:
    """train/student/"""
    return _student(context, "student", "teacher", context.exp / "targets")


def student_relabelled(context: Context) -> Digest:
    """train/student_relabelled/"""
    return _student(context, "student_relabelled", "teacher_smbr", context.exp / "targets_smbr")


def _label(context: Context, teacher: str, folder: Path) -> Digest:
    """Store the posteriors of a system's network in folder/store."""
    options = context.recipe.targets
    many, cuts = _manifests(context), read_cuts(context.exp / "data" / "untranscribed.jsonl.gz")
    if not len(cuts) and not many.exists():
        return _absent(folder, _NOTHING_UNTRANSCRIBED)
    network_folder = context.exp / "train" / teacher / "network"
    network = Network.load(network_folder)
    phases = network.frontend.options.stack if options.stacking == "all" else 1
    metadata = {"phases": phases, "senones": network.senones, "teacher": digest_file(network_folder / "weights.pt")}
    if options.temperature != 1.0:
        metadata["temperature"] = options.temperature
    store_folder = folder / "store"
    _open_or_create(store_folder, network.model.num_senones, options.k, metadata)
    arguments = (network_folder, store_folder, phases, options.skip_limit, context.executor, options.temperature)
    made = label_manifests(many, *arguments) if many.exists() else label_cuts(cuts, *arguments)
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


def _student(context: Context, system: str, teacher: str, labels: Path) -> Digest:
    """Train a student on a teacher's posteriors: those in labels/store, or those that it gives meanwhile."""
    if (labels / ABSENT).exists():
        return _absent(context.exp / "train" / system, read_json(labels / ABSENT)["reason"])
    train_options = context.recipe.train
    student, options = train_options.student, train_options.of_student()
    sources = {"untranscribed": _untranscribed(context, student, labels / "store")}
    criterion = None
    if student.targets == "dense":
        folder, temperature = context.exp / "train" / teacher / "network", context.recipe.targets.temperature
        criterion = TaughtCriterion.of(options.loss, folder, temperature)
    return _train(context, system, options, sources, student.dist, criterion)


def _untranscribed(context: Context, student: StudentOptions, store: Path) -> Source | LazySource:
    """In memory, or a few manifests at a time where there is a folder of them."""
    many, share, dense = _manifests(context), student.untranscribed_share, student.targets == "dense"
    tied, weighted = context.recipe.targets.stacking == "tied", student.weight == "posterior"
    chosen = {"tied": tied, "min_posterior": student.min_posterior, "weighted": weighted}
    if many.exists():
        if share is not None:
            raise ConfigError("train.student.untranscribed_share is not for a folder of manifests: give fewer of them")
        if dense:
            return LazySource(Manifests(many), TeacherTargets(), student.buffer_manifests)
        return LazySource.of_store(Manifests(many), store, student.buffer_manifests, **chosen)
    cuts = list(read_cuts(many.with_suffix(".jsonl.gz")))
    stored = TeacherTargets() if dense else StoredTargets(PosteriorStore.open(store), **chosen)
    if share is not None:
        among = nested_share({cut.id: cut.duration for cut in cuts}, share, "untranscribed-share")
        cuts = [cut for cut in cuts if cut.id in among]
    if not any(cut.id in stored for cut in cuts):
        raise DataError(
            f"none of {len(cuts)} utterances has a mean highest posterior of train.student.min_posterior ="
            f" {student.min_posterior} or more; `python -m pyasr.targets stat {store}` shows what there is"
        )
    return Source.of(cuts, stored)


def _manifests(context: Context) -> Path:
    """The folder of the untranscribed part, if it is one."""
    return context.exp / "data" / "untranscribed"


def _train(
    context: Context,
    system: str,
    options: TrainOptions,
    stored: Mapping[str, Source | LazySource],
    dist: DistOptions | None = None,
    criterion: Criterion | None = None,
) -> Digest:
    targets = context.exp / "align"
    sources = {"transcribed": transcribed_source(context, targets), **stored}
    return train(context, system, options, sources, context.exp / "train" / system, targets, dist, criterion)


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
