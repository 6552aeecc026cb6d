"""Stages of `pyasr.train`: teacher, supervised, student and topline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyasr.base.artifact import read_json, read_jsonl
from pyasr.base.errors import ConfigError, DataError
from pyasr.corpora import read_cuts
from pyasr.corpora.splits import nested_share
from pyasr.dist.options import DistOptions
from pyasr.run.console import say
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.labels import ABSENT, absent, manifests, store_folder
from pyasr.run.steps.training import train, transcribed_source
from pyasr.targets import PosteriorStore
from pyasr.train.criterion import Criterion
from pyasr.train.lazy import LazySource, Manifests
from pyasr.train.listen import TaughtCriterion
from pyasr.train.options import StudentOptions, TrainOptions
from pyasr.train.source import Source
from pyasr.train.targets import StoredTargets, TeacherTargets


def teacher(context: Context) -> Digest:
    """train/teacher/"""
    return _train(context, "teacher", context.recipe.train.teacher, {})


def supervised(context: Context) -> Digest:
    """train/supervised/"""
    return _train(context, "supervised", context.recipe.train.supervised, {})


def student(context: Context) -> Digest:
    """train/student/"""
    return _student(context, "student", "teacher", context.exp / "targets")


def student_relabelled(context: Context) -> Digest:
    """train/student_relabelled/"""
    return _student(context, "student_relabelled", "teacher_smbr", context.exp / "targets_smbr")


def _student(context: Context, system: str, teacher: str, labels: Path) -> Digest:
    """Train a student on a teacher's posteriors: those in labels/store, or those that it gives meanwhile."""
    if (labels / ABSENT).exists():
        return absent(context.exp / "train" / system, read_json(labels / ABSENT)["reason"])
    train_options = context.recipe.train
    student, options = train_options.student, train_options.of_student()
    sources = {"untranscribed": _untranscribed(context, student, teacher, labels)}
    criterion = None
    if student.targets == "dense":
        folder, temperature = context.exp / "train" / teacher / "network", context.recipe.targets.temperature
        criterion = TaughtCriterion.of(options.loss, folder, temperature)
    return _train(context, system, options, sources, student.dist, criterion)


def _untranscribed(context: Context, student: StudentOptions, teacher: str, labels: Path) -> Source | LazySource:
    """In memory, or a few manifests at a time where there is a folder of them. labels: of the teacher's label stage."""
    store = store_folder(context, labels)
    many, share, dense = manifests(context), student.untranscribed_share, student.targets == "dense"
    tied, weighted = context.recipe.targets.stacking == "tied", student.weight == "posterior"
    chosen = {"tied": tied, "min_posterior": student.min_posterior, "weighted": weighted}
    if many.exists():
        if share is not None:
            raise ConfigError("train.student.untranscribed_share is not for a folder of manifests: give fewer of them")
        if dense:
            return LazySource(Manifests(many), TeacherTargets(), student.buffer_manifests)
        return LazySource.of_store(Manifests(many), store, student.buffer_manifests, **chosen)
    manifest = many.with_suffix(".jsonl.gz")
    cuts = list(read_cuts(manifest))
    stored = TeacherTargets() if dense else StoredTargets(PosteriorStore.open(store), **chosen)
    if isinstance(stored, StoredTargets):
        network = context.exp / "train" / teacher / "network"
        _say_dropped(cuts, stored.store, labels / "skipped.jsonl", manifest, network)
    if share is not None:
        among = nested_share({cut.id: cut.duration for cut in cuts}, share, "untranscribed-share")
        cuts = [cut for cut in cuts if cut.id in among]
    if not any(cut.id in stored for cut in cuts):
        raise DataError(
            f"none of {len(cuts)} utterances has a mean highest posterior of train.student.min_posterior ="
            f" {student.min_posterior} or more; `python -m pyasr.targets stat {store}` shows what there is"
        )
    return Source.of(cuts, stored)


def _say_dropped(cuts: Sequence[Any], store: PosteriorStore, skipped: Path, manifest: Path, network: Path) -> None:
    """What a repair of the store has dropped since it was labelled."""
    known = {row["id"] for row in read_jsonl(skipped)}
    dropped = [cut_id for cut_id in store.missing([cut.id for cut in cuts]) if cut_id not in known]
    if dropped:
        options = f"--k {store.k}" + " --all-phases" * (store.metadata["phases"] > 1)
        if "temperature" in store.metadata:
            options += f" --temperature {store.metadata['temperature']}"
        say(
            f"  {len(dropped)} of {len(cuts)} utterances ({', '.join(dropped[:3])}{', ...' * (len(dropped) > 3)}) have"
            " lost posteriors to a repair and are left out; this labels them again: python -m pyasr.targets label"
            f" {store.folder} {manifest} --network {network} {options}"
        )


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
