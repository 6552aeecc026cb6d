"""Stages that make lattices for sequence training: by the teacher, by the student."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pyasr.align.senones import Senones
from pyasr.base.artifact import digest_file, read_json, write_json, write_jsonl
from pyasr.corpora import read_cuts
from pyasr.decode.part import Scales
from pyasr.decode.tune import load_scales
from pyasr.features.augment import AugmentOptions
from pyasr.features.noise import NoisePool
from pyasr.lang.grammar import make_g_fst
from pyasr.lang.ngram import estimate_arpa
from pyasr.run.console import say
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.inputs import decoding_graph
from pyasr.run.steps.labels import ABSENT
from pyasr.run.steps.training import hard_targets, train_noise
from pyasr.targets.lattices import LatticeSet, make_lattices
from pyasr.train.dev import dev_augment
from pyasr.train.heard import HeardSource
from pyasr.train.options import SmbrOptions, TrainOptions


def teacher(context: Context) -> Digest:
    """lattices/teacher/"""
    return _lattices(context, "teacher")


def student(context: Context) -> Digest:
    """lattices/student/"""
    return _lattices(context, "student")


@dataclass(frozen=True)
class Setup:
    """What the stages of a system ("teacher" or "student") work with, here and in `pyasr.run.steps.smbr`."""

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
    def nothing_to_do(self) -> str | None:
        """Why, if so."""
        missing = self.context.exp / "train" / self.system / ABSENT
        if not self.options.on:
            return "smbr.on is false"
        return read_json(missing)["reason"] if missing.exists() else None

    @property
    def lattices(self) -> Path:
        """The folder with the weak graph and the first lattices."""
        return self.context.exp / "lattices" / self.system

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


def absent(folder: Path, reason: str) -> Digest:
    """Leave the reason in the place of what there is no need or no data for."""
    write_json(folder / ABSENT, {"reason": reason})
    return {"notes": [f"nothing to do: {reason}"]}


def _lattices(context: Context, system: str) -> Digest:
    setup = Setup(context, system)
    if setup.nothing_to_do:
        return absent(setup.lattices, setup.nothing_to_do)
    _make_weak_graph(setup)
    return make_all(setup, setup.network, setup.lattices)


def _make_weak_graph(setup: Setup) -> None:
    """HCLG.fst, over the language model lm.arpa of the training transcripts."""
    context, folder = setup.context, setup.lattices
    texts = (cut.supervisions[0].text.split() for cut in read_cuts(setup.cuts("transcribed")))
    estimate_arpa(texts, setup.options.lattices.ngram_order, folder / "lm.arpa")
    g_fst = make_g_fst(folder / "lm.arpa", context.exp / "lang" / "words.txt")
    senones = Senones.load(context.exp / "senones" / "set")
    scale = context.recipe.decode_network.transition_scale
    graph = decoding_graph(context, senones.phones, senones.tree, senones.transitions, scale, g_fst)
    graph.write(folder / "HCLG.fst")


def make_all(setup: Setup, network: Path, folder: Path) -> Digest:
    """Lattices by a network: folder/transcribed-0, -1, ... of as many passes as there are draws, and folder/dev."""
    augment = setup.system_options.augment
    wanted = [("transcribed", f"transcribed-{draw}", draw, augment) for draw in range(setup.options.draws)]
    wanted.append(("dev", "dev", 0, dev_augment(augment)))
    skipped, made = [], []
    for part, name, draw, heard in wanted:
        say(f"  lattices of {name}")
        skipped += [{**row, "part": name} for row in _make(setup, network, folder / name, part, draw, heard)]
        made.append(LatticeSet.open(folder / name))
    write_jsonl(folder / "skipped.jsonl", skipped)
    frames, arcs, lost = (sum(lattices.sizes[name] for lattices in made) for name in ("frames", "arcs", "lost"))
    return {
        "lattices": sum(map(len, made)),
        "arcs_per_frame": round(arcs / max(1, frames), 1),
        "reference_lost_percent": round(100 * lost / max(1, frames), 2),
        "acoustic_scale": round(setup.scales.acoustic_scale, 4),
        "skipped": len(skipped),
    }


def _make(
    setup: Setup, network: Path, folder: Path, part: str, draw: int, augment: AugmentOptions
) -> list[dict[str, str]]:
    """Rows of those skipped."""
    recipe, noise, targets = setup.context.recipe, setup.noise, setup.targets(part)
    graph, prior_scale = setup.lattices / "HCLG.fst", recipe.decode_network.prior_scale
    senones = setup.context.exp / "senones" / "set"
    source = HeardSource(
        network, senones, setup.cuts(part), targets, augment, noise, recipe.seed, draw, prior_scale
    )
    made_from = {
        "network": digest_file(network / "weights.pt"),
        "targets": digest_file(targets),
        "graph": digest_file(graph),
        "augment": augment,
        "noise": None if noise is None else [str(clip.path) for clip in noise.clips],
        "seed": recipe.seed,
        "pass": draw,
        "prior_scale": prior_scale,
    }
    aligned = hard_targets(targets.parent, part)
    cut_ids = [cut.id for cut in read_cuts(setup.cuts(part)) if cut.id in aligned]
    options, executor = setup.options.lattices, setup.context.executor
    what = f"lattices of {folder.name}"
    return make_lattices(folder, source, cut_ids, graph, setup.scales, options, made_from, executor, what).rows
