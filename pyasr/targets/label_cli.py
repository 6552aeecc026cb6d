"""`python -m pyasr.targets label`: labelling by many processes, on one machine or several."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from pyasr.base.artifact import digest_file, write_jsonl
from pyasr.base.errors import ConfigError
from pyasr.base.skips import Skips
from pyasr.corpora.manifest import iterate_cuts
from pyasr.corpora.shards import part_of
from pyasr.nn.network import Network
from pyasr.targets.label import label_part
from pyasr.targets.labeller import Labeller
from pyasr.targets.store import PosteriorStore


def label(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Folder of the store; made, or gone on with.")],
    manifests: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Lhotse cuts, .jsonl or .jsonl.gz; each makes a part.")
    ],
    network: Annotated[Path, typer.Option(metavar="DIR", help="The teacher, EXP/train/teacher/network.")],
    k: Annotated[int, typer.Option(help="Best posteriors of a frame.")] = 20,
    all_phases: Annotated[bool, typer.Option(help="Store every stacking phase: three times the space.")] = False,
    temperature: Annotated[float, typer.Option(help="Divides the logits before they are normalised.")] = 1.0,
    batch_s: Annotated[float, typer.Option(help="Seconds of speech of a batch, padding included.")] = 400.0,
    skip_limit: Annotated[float, typer.Option(help="Largest fraction of cuts of unreadable audio.")] = 0.05,
    skipped: Annotated[Path | None, typer.Option(metavar="FILE", help="List the cuts left out here.")] = None,
) -> None:
    """Store a teacher's best posteriors of all cuts of some manifests that the store lacks.

    Under torchrun each process takes every so-manieth manifest, so give more than processes, of 10 to 100 hours each
    (lhotse split-lazy makes them of a large one); run again after a crash, with any number of processes:

        torchrun --nproc-per-node 8 -m pyasr.targets label STORE manifests/*.jsonl.gz --network NETWORK

    A process that dies costs the shard that it had not sealed. Uses the GPU of its rank where there is one.
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
    metadata = {"phases": phases, "senones": teacher.senones, "teacher": digest_file(network / "weights.pt")}
    if temperature != 1.0:
        metadata["temperature"] = temperature
    PosteriorStore.create(directory, teacher.model.num_senones, k, **metadata)
    labeller = Labeller(teacher, k, phases, temperature)
    skips, total = Skips("utterances", skip_limit), 0
    mine = list(parts.items())[rank::world]
    for number, (part, path) in enumerate(mine, 1):
        cuts = list(iterate_cuts(path))  # one manifest at a time
        total += len(cuts)
        show = _Shower(f"rank {rank}: {path.name}, {number} of {len(mine)}", sum(cut.duration for cut in cuts) / 3600)
        skips.extend(label_part(labeller, PosteriorStore.open(directory, part), cuts, batch_s, show.add))
        show.end()
    if skipped is not None:
        write_jsonl(skipped if world == 1 else skipped.with_name(f"{rank}-{skipped.name}"), skips.rows)
    skips.check(total)


class _Shower:
    """Says now and then how far a manifest is: hours of speech a second, and the time left for it."""

    _EVERY_S = 10.0

    def __init__(self, what: str, total_hours: float) -> None:
        self._what, self._total, self._hours = what, total_hours, 0.0
        self._begun = self._last = time.monotonic()

    def add(self, hours: float) -> None:
        self._hours += hours
        now = time.monotonic()
        if now - self._last >= self._EVERY_S:
            self._last = now
            left_s = (self._total - self._hours) * (now - self._begun) / self._hours
            self._say(f"{self._rate(now)}, at most {left_s:.0f} s left")

    def end(self) -> None:
        self._say(f"{self._rate(time.monotonic())}, done" if self._hours else "nothing to do")

    def _rate(self, now: float) -> str:
        rate = self._hours / max(1e-9, now - self._begun)
        return f"{self._hours:.2f} of {self._total:.2f} h labelled, {rate:.4f} hours a second"

    def _say(self, text: str) -> None:
        print(f"  {self._what}: {text}", file=sys.stderr, flush=True)
