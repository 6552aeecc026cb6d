"""`python -m pyasr.targets label`: labelling by many processes, on one machine or several."""

from __future__ import annotations

import datetime
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from pyasr.base.artifact import write_jsonl
from pyasr.base.errors import ConfigError
from pyasr.base.interrupt import noted_interrupts
from pyasr.base.skips import Skips
from pyasr.corpora.manifest import iterate_cuts
from pyasr.corpora.shards import part_of
from pyasr.nn.network import Network
from pyasr.targets.label import GPU_BATCH_S, label_part, store_metadata
from pyasr.targets.labeller import Labeller
from pyasr.targets.store import PosteriorStore


def label(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Folder of the store; made, or gone on with.")],
    manifests: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Lhotse cuts, .jsonl or .jsonl.gz; each makes a part.")
    ],
    network: Annotated[Path, typer.Option(metavar="DIR", help="The teacher, EXP/train/teacher/network.")],
    k: Annotated[int, typer.Option(help="Best posteriors of a frame.")] = 20,
    all_phases: Annotated[
        bool, typer.Option(help="Store every stacking phase, as a recipe does: three times the space.")
    ] = False,
    temperature: Annotated[float, typer.Option(help="Divides the logits before they are normalised.")] = 1.0,
    batch_s: Annotated[float, typer.Option(help="Seconds of speech of a batch, padding included.")] = GPU_BATCH_S,
    skip_limit: Annotated[float, typer.Option(help="Largest fraction of cuts of unreadable audio.")] = 0.05,
    skipped: Annotated[Path | None, typer.Option(metavar="FILE", help="List the cuts left out here.")] = None,
) -> None:
    """Store a teacher's best posteriors of all cuts of some manifests that the store lacks.

    Under torchrun manifest n goes to process n modulo their number, so give more manifests than there are processes,
    of 10 to 100 hours each (lhotse split-lazy makes them of a large one). Run again after a crash, with any number of
    processes:

    \b
        torchrun --nproc-per-node 8 --max-restarts 3 \\
            -m pyasr.targets label STORE manifests/*.jsonl.gz --network NETWORK

    A process that is killed loses the shard that it had not sealed; the others, and one that is interrupted, seal what
    they have. A recipe takes the store as targets.store = STORE. Uses the GPU of its rank where there is one.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if temperature <= 0:
        raise ConfigError(f"--temperature {temperature}: must be above 0")
    parts = {part_of(path.name): path for path in manifests}
    if len(parts) < len(manifests):
        raise ConfigError("two manifests have the same name; a part of the store is named after its manifest")
    teacher = Network.load(network)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else "cpu"
    teacher.model.to(device)
    phases = teacher.frontend.options.stack if all_phases else 1
    metadata = store_metadata(teacher, network, phases, temperature)
    PosteriorStore.create(directory, teacher.model.num_senones, k, **metadata)
    labeller = Labeller(teacher, k, phases, temperature)
    mine = list(parts.items())[rank::world]
    skips, total, shower = Skips("utterances", skip_limit), 0, _Shower(rank, len(mine))
    with noted_interrupts() as interrupted:
        for part, path in mine:
            cuts = list(iterate_cuts(path))  # one manifest at a time
            total += len(cuts)
            shower.begin(path.name)
            store = PosteriorStore.open(directory, part)
            skips.extend(label_part(labeller, store, cuts, batch_s, shower.add, interrupted.is_set))
            if interrupted.is_set():
                break
            shower.end(sum(cut.duration for cut in cuts) / 3600)
    if skipped is not None:
        write_jsonl(skipped if world == 1 else skipped.with_name(f"{rank}-{skipped.name}"), skips.rows)
    if interrupted.is_set():
        print(
            "interrupted: what was labelled is sealed; the same command goes on from here", file=sys.stderr, flush=True
        )
        raise typer.Exit(130)
    skips.check(total)


class _Shower:
    """Says now and then how far a rank is: hours of speech a second, and the time left for all its manifests."""

    _EVERY_S = 10.0

    def __init__(self, rank: int, num_manifests: int) -> None:
        self._rank, self._num_manifests = rank, num_manifests
        self._number, self._name = 0, ""
        self._hours = self._of_hours = 0.0  # of the manifest
        self._seconds = self._labelled = self._seen = 0.0  # of those before: time taken, hours labelled, hours in all
        self._begun = self._last = time.monotonic()

    def begin(self, name: str) -> None:
        self._number, self._name = self._number + 1, name
        self._hours = self._of_hours = 0.0
        self._begun = time.monotonic()

    def add(self, hours: float, of_hours: float) -> None:
        self._hours, self._of_hours = self._hours + hours, of_hours
        if time.monotonic() - self._last >= self._EVERY_S:
            self._last = time.monotonic()
            self._say(f"{self._done()}, at most {datetime.timedelta(seconds=round(self._left_s()))} left")

    def end(self, hours: float) -> None:
        """hours: of the manifest, labelled now or before."""
        self._say(f"{self._done()}, done" if self._hours else "nothing to do")
        self._seconds += time.monotonic() - self._begun
        self._labelled += self._hours
        self._seen += hours

    def _done(self) -> str:
        rate = self._hours / max(1e-9, time.monotonic() - self._begun)
        return f"{self._hours:.2f} of {self._of_hours:.2f} h labelled, {rate:.4f} hours a second"

    def _left_s(self) -> float:
        """As if all manifests that are left were as long as those so far, and nothing of them labelled."""
        seconds = self._seconds + time.monotonic() - self._begun
        each = (self._seen + self._of_hours) / self._number
        hours = self._of_hours - self._hours + (self._num_manifests - self._number) * each
        return hours * seconds / (self._labelled + self._hours)

    def _say(self, text: str) -> None:
        what = f"rank {self._rank}: {self._name}, {self._number} of {self._num_manifests}"
        print(f"  {what}: {text}", file=sys.stderr, flush=True)
