"""A training over manifests of 10 to 1,000,000 hours: start, memory and cuts a second must not change.

Synthetic, for this benchmark alone: manifests of 10 hours (3,600 cuts of 10 s, all of one recording of noise), as many
as make --distinct hours, and the posteriors of random logits for each, linked under as many names as make the hours. A
`Trainer` with a very small network trains on them as on any folder of manifests: all but the network is what it is in
earnest. One process a size, with --readers processes that read for it, features of a small front end. Start: processor
time from the listing of the folders to the first step; the same for a training that goes on in the middle of its pass.
Memory: the highest resident size, after --batches batches of 8 cuts, of the trainer and of a reader. The peer is the
same over 10 hours: ratios of 1 are what is hoped for.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.figure
import numpy as np
import soundfile
import torch
from common import main, row
from lhotse import MonoCut, Recording

from pyasr.corpora import write_cuts
from pyasr.features.augment import AugmentOptions
from pyasr.features.network import NetworkFrontend
from pyasr.features.options import LfbeOptions
from pyasr.nn.model import AcousticModel
from pyasr.nn.options import NetworkOptions
from pyasr.ops import pack_topk
from pyasr.targets import PosteriorStore
from pyasr.train.lazy import LazySource, Manifests
from pyasr.train.loop import Trainer, TrainingData
from pyasr.train.options import PhaseOptions, TrainOptions
from pyasr.train.source import Source
from pyasr.train.targets import HardTargets

HOURS_EACH, CUT_S = 10, 10
SIZES = (10, 1_000, 100_000, 1_000_000)
K, NUM_SENONES = 20, 300


def make_frontend() -> NetworkFrontend:
    return NetworkFrontend(LfbeOptions(num_mel_bins=16), np.zeros(16, np.float32), np.ones(16, np.float32))


def make_distinct(folder: Path, distinct: int) -> None:
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal(16000 * CUT_S).astype(np.float32)
    soundfile.write(folder / "noise.flac", samples, 16000)
    rows = len(make_frontend().stacked(samples))
    recording = Recording.from_file(folder / "noise.flac", recording_id="noise")
    store = PosteriorStore.create(folder / "store", NUM_SENONES, K, phases=1)
    packed = [pack_topk(torch.from_numpy(rng.standard_normal((rows, NUM_SENONES), np.float32)), K) for _ in range(8)]
    for number in range(distinct):
        cuts = [
            MonoCut(f"{number}-{n}", 0.0, float(CUT_S), 0, recording=recording)
            for n in range(3600 * HOURS_EACH // CUT_S)
        ]
        write_cuts(folder / f"part{number}.jsonl.gz", cuts)
        with store.writer(part=f"part{number}") as writer:
            for n, cut in enumerate(cuts):
                writer.put(cut.id, packed[n % len(packed)])


def link(source: Path, target: Path, hours: int, distinct: int) -> None:
    for name in ("cuts", "store/shards"):
        (target / name).mkdir(parents=True)
    os.link(source / "store" / "store.json", target / "store" / "store.json")
    shards = PosteriorStore.open(source / "store").parts()
    for number in range(hours // HOURS_EACH):
        part = f"part{number % distinct}"
        os.link(source / f"{part}.jsonl.gz", target / "cuts" / f"m{number:06d}.jsonl.gz")
        for name in shards[part]:
            linked = f"m{number:06d}.{name.split('.', 1)[1]}"
            os.link(source / "store" / "shards" / name, target / "store" / "shards" / linked)


OPTIONS = TrainOptions(
    network=NetworkOptions(layers=1, units=8, delay_frames=0),
    phases=(PhaseOptions(transcribed=0.0, untranscribed=1.0, max_sub_epochs=1),),
    augment=AugmentOptions(stack_phase=False),
    batch_s=80.0,
    workers=0,
    threads=1,
)


class Measured(Exception):
    """Enough steps were made."""


class MeasuredTrainer(Trainer):
    """Stops after so many steps. started: processor time at the first; cuts: after it; peaks_mb: of all processes."""

    started, cuts, num_batches, peaks_mb = 0.0, 0, 0, ()

    def _step(self, batch) -> None:
        super()._step(batch)
        if not self.started:
            self.started = time.process_time()
        elif self.position.step > self.num_batches:
            readers = [process.pid for process in multiprocessing.active_children()]
            self.peaks_mb = [peak_mb(process) for process in ("self", *readers)]
            raise Measured
        else:
            self.cuts += len(batch.cut_ids)


def peak_mb(process: int | str) -> float:
    """Not by getrusage, which counts what the parent held before this program was loaded."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def train(folder: Path, work_dir: Path, num_batches: int, readers: int, share: float = 0.0) -> dict[str, float]:
    """share: how much of the pass is done when it starts."""
    begun = time.process_time()
    source = LazySource.of_store(Manifests(folder / "cuts"), folder / "store")
    frontend = make_frontend()
    dev = Source([], HardTargets({}))  # never looked at
    model = AcousticModel(frontend.dim, NUM_SENONES, OPTIONS.network)
    data = TrainingData({"untranscribed": source}, dev, frontend)
    options = OPTIONS.model_copy(update={"workers": readers})
    trainer = MeasuredTrainer(model, data, options, 1, work_dir, "scale", device="cpu")
    trainer.num_batches = num_batches
    trainer.position.places = {"untranscribed": (int(share * source.windows), 1)} if share else {}
    with contextlib.suppress(Measured):
        trainer.run()
    seconds = time.process_time() - trainer.started
    peaks_mb = {"trainer_mb": trainer.peaks_mb[0], "reader_mb": max(trainer.peaks_mb[1:], default=0)}
    return {"start_s": trainer.started - begun, "cuts_per_s": trainer.cuts / seconds, **peaks_mb}


def measure_one(folder: Path, num_batches: int, readers: int) -> dict[str, float]:
    """In a process of its own."""
    with tempfile.TemporaryDirectory() as work_dir:
        found = train(folder, Path(work_dir), num_batches, readers)
        middle_s = train(folder, Path(work_dir), 1, readers, share=0.5)["start_s"]
    return {**found, "middle_s": middle_s}


def draw(found: dict[int, dict[str, float]], path: str) -> None:
    figure = matplotlib.figure.Figure(figsize=(12, 3.6), layout="constrained")
    panels = (
        ("highest resident memory, MB", {"trainer_mb": "trainer", "reader_mb": "reader"}),
        ("processor time to the first step, s", {"start_s": "from the beginning", "middle_s": "in the middle"}),
        ("cuts a second", {"cuts_per_s": "all included"}),
    )
    for axes, (title, curves) in zip(figure.subplots(1, len(panels)), panels):
        for key, label in curves.items():
            values = [one[key] for one in found.values()]
            if any(values):
                axes.plot(list(found), values, marker="o", label=label, clip_on=False)
        axes.set(title=title, xscale="log", xlabel="hours of manifests")
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
        axes.legend()
    figure.savefig(path, dpi=100)


def measure(batches: int, distinct: int, readers: int, figure: str) -> list[dict]:
    found = {}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "distinct"
        source.mkdir()
        manifests = distinct // HOURS_EACH
        make_distinct(source, manifests)
        for hours in SIZES:
            target = Path(name) / str(hours)
            link(source, target, hours, manifests)
            command = [sys.executable, __file__, "--one", str(target), str(batches), str(readers)]
            found[hours] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            print(f"{hours:>9,} h: {found[hours]}", flush=True)
    if figure:
        draw(found, figure)
    rows = []
    for hours in SIZES[1:]:
        ours, peer = found[hours], found[SIZES[0]]
        what = f"{SIZES[0]} h"
        rows.append(row(f"cuts a second, {hours:,} h", "cuts/s", ours["cuts_per_s"], peer["cuts_per_s"], what))
        memory = (1024 / result["trainer_mb"] for result in (ours, peer))
        rows.append(row(f"1 / resident memory, {hours:,} h", "1/GB", *memory, what))
        for name, key in (("start", "start_s"), ("start in the middle", "middle_s")):
            rows.append(row(f"1 / {name}, {hours:,} h", "1/s", 1 / ours[key], 1 / peer[key], what))
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        torch.set_num_threads(1)
        print(json.dumps(measure_one(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
    else:
        main(
            __doc__.splitlines()[0],
            measure,
            batches=(60, "batches to read at each size"),
            distinct=(1000, "hours whose manifests and shards are files of their own"),
            readers=(0, "reading processes"),
            figure=("", "file to draw the curves into"),
        )
