"""Stages of `pyasr.train` and `pyasr.targets`: teacher, labels, and the systems with the student's topology."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pyasr.align.align_part import align_part
from pyasr.align.alignments import load_alignments
from pyasr.align.data import TrainingSet
from pyasr.align.senones import Senones, senone_targets
from pyasr.align.train import EmState
from pyasr.base.artifact import copy_whole, digest_file, read_json, read_jsonl, write_json, write_jsonl
from pyasr.corpora import read_cuts
from pyasr.features.archive import FeatureArchive
from pyasr.features.extract import extract_mfcc
from pyasr.features.network import NetworkFrontend
from pyasr.features.noise import NoisePool
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.nn.network import Network
from pyasr.run.console import say
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.inputs import noise_folder
from pyasr.targets import PosteriorStore
from pyasr.targets.label import label_cuts
from pyasr.train.data import Source
from pyasr.train.loop import Row, TrainingData
from pyasr.train.options import TrainOptions
from pyasr.train.systems import log_priors_of, train_network
from pyasr.train.targets import HardTargets, StoredTargets

ABSENT = "absent.json"
"""In the place of a system that this corpus has no data for: {"reason"}."""
_NOTHING_UNTRANSCRIBED = "the corpus has no untranscribed part"


def teacher(context: Context) -> Digest:
    """train/teacher/"""
    return _train(context, "teacher", context.recipe.train.teacher, {"transcribed": _transcribed(context)})


def supervised(context: Context) -> Digest:
    """train/supervised/"""
    return _train(context, "supervised", context.recipe.train.supervised, {"transcribed": _transcribed(context)})


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
    store_folder = folder / "store"
    store = _open_or_create(store_folder, network.model.num_senones, options.k, metadata)
    made = label_cuts(cuts, network_folder, store_folder, phases, options.skip_limit, context.executor)
    write_jsonl(folder / "skipped.jsonl", made.rows)
    store = PosteriorStore.open(store_folder)
    return {
        "utterances": len(store),
        "rows": sum(store.num_rows(cut_id) for cut_id in store),
        "bytes_per_row": store.row_bytes,
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
    sources = {"transcribed": _transcribed(context), "untranscribed": Source.of(cuts, stored)}
    return _train(context, "student", context.recipe.train.of_student(), sources)


def topline(context: Context) -> Digest:
    """train/topline/: the supervised system, had all speech been transcribed."""
    folder = context.exp / "train" / "topline"
    withheld = {row["id"]: row["text"] for row in read_jsonl(context.exp / "corpus" / "withheld.jsonl")}
    cuts = [cut for cut in read_cuts(context.exp / "data" / "untranscribed.jsonl.gz") if cut.id in withheld]
    if not cuts:
        return _copy_supervised(context, folder)
    for cut in cuts:
        cut.supervisions[0].text = withheld[cut.id]
    senones, lang = Senones.load(context.exp / "senones" / "set"), context.exp / "lang"
    made = extract_mfcc(
        cuts, folder / "mfcc", context.recipe.features, context.executor, what="MFCC of the withheld part"
    )
    lexicon, phones = Lexicon.read(lang / "lexicon.txt"), PhoneTable.load(lang / "phones.json")
    unknown = {cut.id: [word for word in cut.supervisions[0].text.split() if word not in lexicon] for cut in cuts}
    known = [cut for cut in cuts if not unknown[cut.id]]
    data = TrainingSet.from_cuts(known, FeatureArchive.open(folder / "mfcc"), lexicon, phones)
    sat, gmm = EmState.load_result(context.exp / "gmm" / "sat"), context.recipe.gmm
    aligned, skipped = align_part(data, sat, gmm.align, gmm.sat.fmllr, context.executor, "withheld")
    oov = [{"id": i, "reason": f"word not in the lexicon: {' '.join(words)}"} for i, words in unknown.items() if words]
    write_jsonl(folder / "skipped.jsonl", [*made.skips.rows, *oov, *skipped])
    shutil.rmtree(folder / "mfcc")
    base = _transcribed(context)
    targets = {**base.targets.senones, **senone_targets(aligned, sat.system.transitions, senones)}
    sources = {"transcribed": Source.of([*base.cuts, *known], HardTargets(targets))}
    return _train(context, "topline", context.recipe.train.supervised, sources)


def _copy_supervised(context: Context, folder: Path) -> Digest:
    """With every transcript in the transcribed part the two are one."""
    source = context.exp / "train" / "supervised"
    for name in ("network", "log.jsonl"):
        copy_whole(source / name, folder / name)
    return {"notes": [f"{_NOTHING_UNTRANSCRIBED}: the same network as supervised"]}


def _train(context: Context, system: str, options: TrainOptions, sources: Mapping[str, Source]) -> Digest:
    senones = Senones.load(context.exp / "senones" / "set")
    dev = Source.of(list(read_cuts(context.exp / "data" / "dev.jsonl.gz")), _hard_targets(context, "dev"))
    noise = _train_noise(context) if options.augment.noise_p > 0 else None
    frontend = NetworkFrontend.from_dict(read_json(context.exp / "senones" / "frontend.json"))
    data = TrainingData(sources, dev, frontend, noise)
    log_priors = log_priors_of(_hard_targets(context, "transcribed").senones, senones.num_senones)
    folder = context.exp / "train" / system
    network, log = train_network(
        data, options, log_priors, senones.fingerprint, context.recipe.seed, folder, system, _say_row
    )
    best = min(log, key=lambda row: row["dev_loss"])
    frames = sum(row.get(f"frames_{source}", 0) for row in log for source in sources)
    return {
        "utterances": sum(len(source.cuts) for source in sources.values()),
        "hours": round(sum(sum(source.durations_s) for source in sources.values()) / 3600, 4),
        "parameters": network.model.num_parameters,
        "sub_epochs": len(log),
        "dev_loss": round(best["dev_loss"], 4),
        "dev_frame_accuracy": round(best["dev_accuracy"], 2),
        "ended_by": [row["ended"] for row in log if row["ended"]],
        "frames_per_s": round(frames / max(sum(row["seconds"] for row in log), 1e-9)),
        "nonfinite_batches": log[-1]["nonfinite"],
    }


def _say_row(row: Row) -> None:
    losses = ", ".join(f"{name[5:]} {value:.4f}" for name, value in row.items() if name.startswith("loss_"))
    say(
        f"  sub-epoch {row['sub_epoch'] + 1:>3}  lr {row['lr']:.2g}  loss {losses}  dev {row['dev_loss']:.4f}"
        f"  accuracy {row['dev_accuracy']:.2f} %{'  best' if row['best'] else ''}"
        f"  {row['seconds']:.1f} s, {row['frames_per_s']:.0f} frames/s"
    )


def _transcribed(context: Context) -> Source:
    cuts = list(read_cuts(context.exp / "data" / "transcribed.jsonl.gz"))
    return Source.of(cuts, _hard_targets(context, "transcribed"))


def _hard_targets(context: Context, part: str) -> HardTargets:
    return HardTargets(load_alignments(context.exp / "senones" / f"targets_{part}.npz"))


def _train_noise(context: Context) -> NoisePool | None:
    """Noise for training: the user's, or what the corpus brought along."""
    folder = noise_folder(context, "train")
    if folder is not None:
        return NoisePool.open(folder)
    say("  no noise to train with (--noise-dir DIR adds it): augment.noise_p is without effect")
    return None


def _open_or_create(folder: Path, num_senones: int, k: int, metadata: Digest) -> PosteriorStore:
    """The store that an interrupted run of the same began, or a new one."""
    if folder.exists():
        store = PosteriorStore.open(folder)
        if (store.num_senones, store.k, store.metadata) == (num_senones, k, metadata):
            return store
        shutil.rmtree(folder)
    return PosteriorStore.create(folder, num_senones, k, **metadata)


def _absent(folder: Path, reason: str) -> Digest:
    write_json(folder / ABSENT, {"reason": reason})
    return {"notes": [f"nothing to do: {reason}"]}
