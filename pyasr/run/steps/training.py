"""What the stages that train a network share: its data, the loop, and the digest at its end."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pyasr.align.alignments import load_alignments
from pyasr.align.senones import Senones
from pyasr.base.artifact import read_json
from pyasr.corpora import read_cuts
from pyasr.dist.options import DistOptions
from pyasr.features.network import NetworkFrontend
from pyasr.features.noise import NoisePool
from pyasr.run.console import say
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.inputs import noise_folder
from pyasr.train.criterion import Criterion
from pyasr.train.lazy import LazySource
from pyasr.train.loop import Row, TrainingData
from pyasr.train.options import TrainOptions
from pyasr.train.source import Source
from pyasr.train.systems import log_priors_of, train_network
from pyasr.train.targets import HardTargets


def train(
    context: Context,
    system: str,
    options: TrainOptions,
    sources: Mapping[str, Source | LazySource],
    folder: Path,
    targets: Path,
    dist: DistOptions | None = None,
    criterion: Criterion | None = None,
) -> Digest:
    """Train a network to folder/network.

    targets: the folder of the hard targets of the transcribed and dev parts. dist: None: as train.dist says.
    criterion: None: cross-entropy to the targets of the sources.
    """
    senones = Senones.load(context.exp / "senones" / "set")
    dev = Source.of(list(read_cuts(context.exp / "data" / "dev.jsonl.gz")), hard_targets(targets, "dev"))
    noise = train_noise(context) if options.augment.noise_p > 0 else None
    frontend = NetworkFrontend.from_dict(read_json(context.exp / "senones" / "frontend.json"))
    data = TrainingData(sources, dev, frontend, noise)
    log_priors = log_priors_of(hard_targets(targets, "transcribed").senones, senones.num_senones)
    seed = context.recipe.seed
    start = partial(train_network, data, options, log_priors, senones.fingerprint, seed, folder, system, say_row)
    training = partial(start, criterion=criterion)
    network, log = context.crew.train(training, dist or context.recipe.train.dist)
    best = min(log, key=lambda row: row["dev_loss"])
    frames = sum(row.get(f"frames_{source}", 0) for row in log for source in sources)
    return {
        **_size(sources),
        "parameters": network.model.num_parameters,
        "sub_epochs": len(log),
        "dev_loss": round(best["dev_loss"], 4),
        "dev_frame_accuracy": round(best["dev_accuracy"], 2),
        "ended_by": [row["ended"] for row in log if row["ended"]],
        "frames_per_s": round(frames / max(sum(row["seconds"] for row in log), 1e-9)),
        "nonfinite_batches": log[-1]["nonfinite"],
    }


def _size(sources: Mapping[str, Source | LazySource]) -> Digest:
    """Utterances and hours of what is in memory, and the number of manifests of what is not."""
    sizes = [source.size for source in sources.values()]
    names = [name for name in ("utterances", "hours", "manifests") if any(name in size for size in sizes)]
    return {name: round(sum(size.get(name, 0) for size in sizes), 4) for name in names}


_SMBR = {"expected_accuracy": "expected", "dev_expected_accuracy": "expected on dev", "dev_wer": "dev WER"}


def say_row(row: Row) -> None:
    losses = ", ".join(f"{name[5:]} {value:.4f}" for name, value in row.items() if name.startswith("loss_")) or "none"
    judged = "".join(f"  {label} {row[name]:.2f} %" for name, label in _SMBR.items() if name in row)
    say(
        f"  sub-epoch {row['sub_epoch'] + 1:>3}  lr {row['lr']:.2g}  loss {losses}  dev {row['dev_loss']:.4f}"
        f"  accuracy {row['dev_accuracy']:.2f} %{judged}{'  best' if row['best'] else ''}"
        f"  {row['seconds']:.1f} s, {row['frames_per_s']:.0f} frames/s"
    )


def transcribed_source(context: Context, targets: Path) -> Source:
    """The transcribed part with the hard targets of a folder."""
    cuts = list(read_cuts(context.exp / "data" / "transcribed.jsonl.gz"))
    return Source.of(cuts, hard_targets(targets, "transcribed"))


def hard_targets(folder: Path, part: str) -> HardTargets:
    """Those of a part, "transcribed" or "dev"."""
    return HardTargets(load_alignments(folder / f"targets_{part}.npz"))


def train_noise(context: Context) -> NoisePool | None:
    """Noise for training: the user's, or what the corpus brought along."""
    folder = noise_folder(context, "train")
    if folder is not None:
        return NoisePool.open(folder)
    say("  no noise to train with (--noise-dir DIR adds it): augment.noise_p is without effect")
    return None
