"""Stages of sequence training: lattices, then sMBR, of the teacher and of the student."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.align.senones import Senones
from pyasr.base.artifact import digest_file, read_json, read_jsonl, write_json, write_jsonl
from pyasr.base.skips import Skips
from pyasr.corpora import read_cuts
from pyasr.decode.part import Scales
from pyasr.decode.tune import load_scales
from pyasr.features.augment import AugmentOptions
from pyasr.features.noise import NoisePool
from pyasr.lang.grammar import make_g_fst
from pyasr.lang.ngram import estimate_arpa
from pyasr.lang.words import WordTable
from pyasr.nn.network import Network
from pyasr.run.console import say
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.inputs import decoding_graph, references_of
from pyasr.run.steps.networks import ABSENT
from pyasr.run.steps.training import hard_targets, say_row, train_noise, transcribed_source
from pyasr.targets.lattices import LatticeSet, make_lattices
from pyasr.train.data import BatchMaker, Source
from pyasr.train.dev_wer import DevWer
from pyasr.train.heard import HeardSource
from pyasr.train.loop import Trainer, TrainingData, dev_augment
from pyasr.train.options import SmbrOptions, TrainOptions
from pyasr.train.smbr import LatticeBatches, SmbrCriterion


def lattices_teacher(context: Context) -> Digest:
    """lattices/teacher/"""
    return _lattices(context, "teacher")


def lattices_student(context: Context) -> Digest:
    """lattices/student/"""
    return _lattices(context, "student")


def teacher_smbr(context: Context) -> Digest:
    """train/teacher_smbr/"""
    return _train(context, "teacher")


def student_smbr(context: Context) -> Digest:
    """train/student_smbr/"""
    return _train(context, "student")


@dataclass(frozen=True)
class _Setup:
    """What both stages of a system ("teacher" or "student") work with."""

    context: Context
    system: str

    @property
    def options(self) -> SmbrOptions:
        return self.context.recipe.smbr

    @property
    def system_options(self) -> TrainOptions:
        train = self.context.recipe.train
        return train.teacher if self.system == "teacher" else train.of_student()

    @property
    def absent(self) -> str | None:
        """Why there is nothing to do."""
        missing = self.context.exp / "train" / self.system / ABSENT
        if not self.options.on:
            return "smbr.on is false"
        return read_json(missing)["reason"] if missing.exists() else None

    @property
    def network(self) -> Path:
        return self.context.exp / "train" / self.system / "network"

    @property
    def scales(self) -> Scales:
        """Those that were best on dev for the model trained by cross-entropy."""
        return load_scales(self.context.exp / "decode" / self.system / "tuning.json")

    @cached_property
    def noise(self) -> NoisePool | None:
        return train_noise(self.context) if self.system_options.augment.noise_p > 0 else None

    def cuts(self, part: str) -> Path:
        return self.context.exp / "data" / f"{part}.jsonl.gz"

    def targets(self, part: str) -> Path:
        return self.context.exp / "align" / f"targets_{part}.npz"


def _lattices(context: Context, system: str) -> Digest:
    setup, folder = _Setup(context, system), context.exp / "lattices" / system
    if setup.absent:
        return _absent(folder, setup.absent)
    graph = _weak_graph(context, folder)
    skips = _make_all(setup, setup.network, graph, folder)
    write_jsonl(folder / "skipped.jsonl", skips.rows)
    made = [LatticeSet.open(part) for part in sorted(folder.glob("*")) if part.is_dir()]
    frames, arcs, lost = (sum(lattices.sizes[name] for lattices in made) for name in ("frames", "arcs", "lost"))
    return {
        "lattices": sum(map(len, made)),
        "arcs_per_frame": round(arcs / max(1, frames), 1),
        "reference_lost_percent": round(100 * lost / max(1, frames), 2),
        "acoustic_scale": round(setup.scales.acoustic_scale, 4),
        "skipped": skips.by_reason(),
    }


def _weak_graph(context: Context, folder: Path) -> Path:
    """folder/HCLG.fst, over the language model of the training transcripts in folder/lm.arpa."""
    recipe, lang = context.recipe, context.exp / "lang"
    texts = (cut.supervisions[0].text.split() for cut in read_cuts(context.exp / "data" / "transcribed.jsonl.gz"))
    estimate_arpa(texts, recipe.smbr.lattices.ngram_order, folder / "lm.arpa")
    g_fst = make_g_fst(folder / "lm.arpa", lang / "words.txt")
    senones = Senones.load(context.exp / "senones" / "set")
    scale = recipe.decode_network.transition_scale
    graph = decoding_graph(context, senones.phones, senones.tree, senones.transitions, scale, g_fst)
    graph.write(folder / "HCLG.fst")
    return folder / "HCLG.fst"


def _make_all(setup: _Setup, network: Path, graph: Path, folder: Path) -> Skips:
    """Lattices by a network: folder/transcribed-0, -1, ... of as many passes as there are draws, and folder/dev."""
    augment = setup.system_options.augment
    wanted = [("transcribed", f"transcribed-{draw}", draw, augment) for draw in range(setup.options.draws)]
    wanted.append(("dev", "dev", 0, dev_augment(augment)))
    all_skips = Skips()
    for part, name, draw, heard in wanted:
        say(f"  lattices of {name}")
        all_skips.extend(
            {**row, "part": name} for row in _make(setup, network, graph, folder / name, part, draw, heard).rows
        )
    return all_skips


def _make(
    setup: _Setup, network: Path, graph: Path, folder: Path, part: str, draw: int, augment: AugmentOptions
) -> Skips:
    context = setup.context
    recipe = context.recipe
    senones, prior_scale = context.exp / "senones" / "set", recipe.decode_network.prior_scale
    source = HeardSource(
        network, senones, setup.cuts(part), setup.targets(part), augment, setup.noise, recipe.seed, draw, prior_scale
    )
    metadata = {
        "network": digest_file(network / "weights.pt"),
        "targets": digest_file(setup.targets(part)),
        "graph": digest_file(graph),
        "augment": augment,
        "noise": None if setup.noise is None else [str(clip.path) for clip in setup.noise.clips],
        "seed": recipe.seed,
        "pass": draw,
        "prior_scale": prior_scale,
    }
    cut_ids = [cut.id for cut in read_cuts(setup.cuts(part)) if cut.id in hard_targets(context.exp / "align", part)]
    options, executor = setup.options.lattices, context.executor
    return make_lattices(
        folder, source, cut_ids, graph, setup.scales, options, metadata, executor, f"lattices of {folder.name}"
    )


def _train(context: Context, system: str) -> Digest:
    setup, folder = _Setup(context, system), context.exp / "train" / f"{system}_smbr"
    if setup.absent:
        return _absent(folder, setup.absent)
    made, network = context.exp / "lattices" / system, setup.network
    graph, rows, skipped = made / "HCLG.fst", [], []
    for generation in range(setup.options.generations):
        work = folder / f"generation-{generation}"
        if generation and not (work / "network").exists():
            made = work / "lattices"
            _make_all(setup, network, graph, made)
        if not (work / "network").exists():
            _run_generation(setup, network, made, work)
        network = work / "network"
        rows += [{**row, "generation": generation} for row in read_jsonl(work / "log.jsonl")]
        skipped += read_jsonl(work / "skipped.jsonl")
    Network.load(network).save(folder / "network")
    write_jsonl(folder / "log.jsonl", rows)
    write_jsonl(folder / "skipped.jsonl", skipped)
    best = min(rows, key=lambda row: row["dev_wer"])
    first = rows[0]
    return {
        "utterances": len(transcribed_source(context, context.exp / "align").cuts),
        "parameters": Network.load(network).model.num_parameters,
        "sub_epochs": len(rows) - setup.options.generations,
        "dev_wer_before": round(first["dev_wer"], 2),
        "dev_wer": round(best["dev_wer"], 2),
        "dev_expected_accuracy_before": round(first.get("dev_expected_accuracy", math.nan), 2),
        "dev_expected_accuracy": round(best.get("dev_expected_accuracy", math.nan), 2),
        "kept": "the model as it was" if best is first else f"sub-epoch {rows.index(best)}",
        "skipped": len(skipped),
        "nonfinite_batches": rows[-1]["nonfinite"],
    }


def _run_generation(setup: _Setup, start: Path, made: Path, work: Path) -> None:
    """Train on lattices from a network; work/network is the best, `start` if nothing is better."""
    context, options, network = setup.context, setup.options, Network.load(start)
    chosen = options.of(setup.system_options)
    targets = context.exp / "align"
    source = transcribed_source(context, targets)
    dev = Source.of(list(read_cuts(setup.cuts("dev"))), hard_targets(targets, "dev"))
    data = TrainingData({"transcribed": source}, dev, network.frontend, setup.noise)
    criterion = _criterion(setup, start, network, made, work, data, chosen)
    name = f"{setup.system}_smbr"
    trainer = Trainer(network.model, data, chosen, context.recipe.seed, work, name, say_row, criterion=criterion)
    trainer.run()
    write_jsonl(work / "skipped.jsonl", criterion.skips.rows)
    Network(network.model.cpu().eval(), network.frontend, network.senones).save(work / "network")
    trainer.path.unlink()


def _criterion(
    setup: _Setup, start: Path, network: Network, made: Path, work: Path, data: TrainingData, chosen: TrainOptions
) -> SmbrCriterion:
    context, options, exp = setup.context, setup.options, setup.context.exp
    sets = [LatticeSet.open(made / f"transcribed-{draw}") for draw in range(options.draws)]
    dev_set = LatticeSet.open(made / "dev")
    senones, search = Senones.load(exp / "senones" / "set"), context.recipe.decode_network
    delay = chosen.network.delay_frames
    maker = BatchMaker({"dev": data.dev}, data.frontend, dev_augment(chosen.augment), data.noise, context.recipe.seed,
                       delay)  # fmt: skip
    dev_wer = DevWer(
        folder=work / "candidate",
        senones=exp / "senones" / "set",
        fingerprint=senones.fingerprint,
        frontend=network.frontend,
        cuts=setup.cuts("dev"),
        references=references_of(read_cuts(setup.cuts("dev"))),
        graph=exp / "senones" / "HCLG.fst",
        words=WordTable.load(exp / "lang" / "words.txt"),
        scales=setup.scales,
        options=search,
        executor=context.executor,
    )
    made_from: Mapping[str, Any] = {
        "start": digest_file(start / "weights.pt"),
        "lattices": [lattices.metadata for lattices in (*sets, dev_set)],
        "options": options,
    }
    transitions = senones.transitions
    silence = np.unique(transitions.tid_to_pdf[transitions.tid_to_phone == senones.phones.silence_id])
    return SmbrCriterion(
        options=options,
        acoustic_scale=setup.scales.acoustic_scale,
        prior_scale=search.prior_scale,
        silence=silence,
        lattices=sets,
        dev_batches=LatticeBatches(maker, [dev_set]),
        dev_wer=dev_wer,
        num_cuts=len(data.sources["transcribed"].cuts),
        made_from=made_from,
        skips=Skips("utterances", options.lattices.skip_limit),
    )


def _absent(folder: Path, reason: str) -> Digest:
    write_json(folder / ABSENT, {"reason": reason})
    return {"notes": [f"nothing to do: {reason}"]}
