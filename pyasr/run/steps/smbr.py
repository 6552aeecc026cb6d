"""Stages of sequence training: teacher and student, trained on by sMBR."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np

from pyasr.align.senones import Senones
from pyasr.base.artifact import digest_file, read_jsonl, write_jsonl
from pyasr.base.skips import Skips
from pyasr.corpora import read_cuts
from pyasr.dist.workers import Workers
from pyasr.lang.words import WordTable
from pyasr.nn.network import Network
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.inputs import references_of
from pyasr.run.steps.lattices import Setup, absent, make_all
from pyasr.run.steps.training import hard_targets, say_row, transcribed_source
from pyasr.targets.lattices import LatticeSet
from pyasr.train.data import BatchMaker
from pyasr.train.dev import dev_augment
from pyasr.train.dev_wer import DevWer
from pyasr.train.loop import Trainer, TrainingData
from pyasr.train.options import TrainOptions
from pyasr.train.parts import CHECKPOINTS
from pyasr.train.smbr import LatticeBatches, SmbrCriterion
from pyasr.train.source import Source


def teacher_smbr(context: Context) -> Digest:
    """train/teacher_smbr/"""
    return _train(context, "teacher")


def student_smbr(context: Context) -> Digest:
    """train/student_smbr/"""
    return _train(context, "student")


def _train(context: Context, system: str) -> Digest:
    setup, folder = Setup(context, system), context.exp / "train" / f"{system}_smbr"
    if setup.nothing_to_do:
        return absent(folder, setup.nothing_to_do)
    network, lattices, rows, skipped = setup.network, setup.lattices, [], []
    for generation in range(setup.options.generations):
        work = folder / f"generation-{generation}"
        if _unfinished(work):
            if generation:
                lattices = work / "lattices"
                make_all(setup, network, lattices)
            training = partial(train_generation, setup, network, lattices, work)
            context.crew.train(training, context.recipe.train.dist)
        network = work / "network"
        rows += [{**row, "generation": generation} for row in read_jsonl(work / "log.jsonl")]
        skipped += _skipped(work)
    trained = Network.load(network)
    trained.save(folder / "network")
    write_jsonl(folder / "log.jsonl", rows)
    write_jsonl(folder / "skipped.jsonl", skipped)
    return {"parameters": trained.model.num_parameters, **_summary(rows), "skipped": len(skipped)}


def _unfinished(work: Path) -> bool:
    """The checkpoint goes last."""
    return not (work / "network").exists() or any((work / name).exists() for name in CHECKPOINTS)


def _summary(rows: list[Digest]) -> Digest:
    first, best, name = rows[0], min(rows, key=lambda row: row["dev_wer"]), "dev_expected_accuracy"
    return {
        "passes": sum(row["sub_epoch"] >= 0 for row in rows),
        "dev_wer": [round(row["dev_wer"], 2) for row in (first, best)],
        "dev_expected_accuracy": [round(row[name], 2) for row in (first, best) if name in row],
        "kept": "the model as it was" if best is first else f"pass {best['sub_epoch'] + 1}",
        "nonfinite_batches": rows[-1]["nonfinite"],
    }


def train_generation(setup: Setup, start: Path, lattices: Path, work: Path, workers: Workers) -> None:
    """Train a network on lattices; work/network is the best by dev WER, `start` itself if nothing is better.

    Each of several workers calls it.
    """
    network, targets = Network.load(start), setup.targets("dev").parent
    options = setup.options.of(setup.system_options)
    dev = Source.of(list(read_cuts(setup.cuts("dev"))), hard_targets(targets, "dev"))
    sets = [LatticeSet.open(lattices / f"transcribed-{draw}") for draw in range(setup.options.draws)]
    aligned = transcribed_source(setup.context, targets)
    usable = [cut for cut in aligned.cuts if all(cut.id in made for made in sets)]
    sources = {"transcribed": Source.of(usable, aligned.targets)}
    data = TrainingData(sources, dev, network.frontend, setup.noise)
    criterion = _criterion(setup, start, sets, LatticeSet.open(lattices / "dev"), work, data, options, workers)
    seed, name = setup.context.recipe.seed, f"{setup.system}_smbr"
    trainer = Trainer(network.model, data, options, seed, work, name, say_row, criterion=criterion, workers=workers)
    trainer.run()
    if workers.rank == 0:
        shutil.rmtree(work / "candidate", ignore_errors=True)
        Network(network.model.cpu().eval(), network.frontend, network.senones).save(work / "network")
    trainer.checkpoints.remove()


def _skipped(work: Path) -> list[dict[str, str]]:
    """Utterances that workers left out, each once."""
    rows = (row for path in sorted((work / "skipped").glob("*.jsonl")) for row in read_jsonl(path))
    return list({row["id"]: row for row in rows}.values())


def _criterion(
    setup: Setup,
    start: Path,
    sets: list[LatticeSet],
    dev_set: LatticeSet,
    work: Path,
    data: TrainingData,
    train_options: TrainOptions,
    workers: Workers,
) -> SmbrCriterion:
    exp, options, recipe = setup.context.exp, setup.options, setup.context.recipe
    senones = Senones.load(exp / "senones" / "set")
    heard, delay = dev_augment(train_options.augment), train_options.network.delay_frames
    dev_maker = BatchMaker({"dev": data.dev}, data.frontend, heard, data.noise, recipe.seed, delay)
    dev_wer = DevWer(
        folder=work / "candidate",
        senones=exp / "senones" / "set",
        fingerprint=senones.fingerprint,
        frontend=data.frontend,
        cuts=setup.cuts("dev"),
        references=references_of(read_cuts(setup.cuts("dev"))),
        graph=exp / "senones" / "HCLG.fst",
        words=WordTable.load(exp / "lang" / "words.txt"),
        scales=setup.scales,
        options=recipe.decode_network,
        executor=setup.context.executor if workers.rank == 0 else None,
    )
    transitions, noted = senones.transitions, work / "skipped" / f"worker-{workers.rank}.jsonl"
    return SmbrCriterion(
        options=options,
        acoustic_scale=setup.scales.acoustic_scale,
        prior_scale=recipe.decode_network.prior_scale,
        silence=np.unique(transitions.tid_to_pdf[transitions.tid_to_phone == senones.phones.silence_id]),
        lattices=sets,
        dev_batches=LatticeBatches(dev_maker, [dev_set]),
        dev_wer=dev_wer,
        num_cuts=len(data.sources["transcribed"].cuts),
        made_from=[digest_file(start / "weights.pt"), [made.metadata for made in (*sets, dev_set)], options],
        skips=Skips("utterances", options.lattices.skip_limit, read_jsonl(noted) if noted.exists() else []),
        skips_path=noted,
    )
