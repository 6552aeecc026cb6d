"""Sequence training: the sMBR criterion on lattices, as the training loop takes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyasr.base.artifact import write_jsonl
from pyasr.base.errors import DataError
from pyasr.base.skips import Skips
from pyasr.nn.losses import hard_cross_entropy
from pyasr.nn.model import AcousticModel
from pyasr.nn.smbr import expected_accuracy, state_accuracies
from pyasr.targets.lattice_file import ReferredLattice
from pyasr.targets.lattices import LatticeSet, in_lattice
from pyasr.train.criterion import Counts
from pyasr.train.data import Batch, BatchMaker
from pyasr.train.options import SmbrOptions
from pyasr.train.plan import BatchPlan, batches_of_pass

_DEV_BATCH_S = 40.0


@dataclass(frozen=True)
class LatticeBatch(Batch):
    """lattices: one an utterance, of its frames as they are heard here; or why there is none."""

    lattices: tuple[ReferredLattice | str, ...] = ()


@dataclass(frozen=True)
class LatticeBatches(torch.utils.data.Dataset):
    """Batches of `maker` with lattices. sets: one for each pass that lattices were made of; passes take turns."""

    maker: BatchMaker
    sets: Sequence[LatticeSet]

    def __getitem__(self, plan: BatchPlan) -> LatticeBatch:
        draw = plan.epoch % len(self.sets)
        batch = self.maker[replace(plan, epoch=draw)]
        frames = zip(batch.cut_ids, batch.lengths.tolist())
        found = tuple(_read(self.sets[draw], cut_id, num_frames) for cut_id, num_frames in frames)
        return LatticeBatch(**vars(batch), lattices=found)


def _read(lattices: LatticeSet, cut_id: str, num_frames: int) -> ReferredLattice | str:
    try:
        found = lattices.read(cut_id)
    except DataError as error:
        return str(error).removeprefix(f"{cut_id}: ")
    if found.lattice.num_frames != num_frames:
        return f"mismatch in time: {num_frames} frames of audio, {found.lattice.num_frames} in the lattice"
    return found


@dataclass(frozen=True)
class SmbrCriterion:
    """1 - expected share of right frames, and some cross-entropy; the model with the lowest WER on dev is taken.

    lattices: of the transcribed part, see `LatticeBatches`; dev_batches: of dev, as it is heard for the dev loss.
    silence: int, the senones of silence. dev_wer: of a model, per cent. made_from: for the key of a checkpoint.
    skips: utterances whose lattice could not be used, kept in skips_path; DataError when they are too many of
    `num_cuts`.
    """

    options: SmbrOptions
    acoustic_scale: float
    prior_scale: float
    silence: np.ndarray
    lattices: Sequence[LatticeSet]
    dev_batches: LatticeBatches
    dev_wer: Callable[[AcousticModel], float]
    num_cuts: int
    made_from: Any
    skips: Skips = field(default_factory=Skips)
    skips_path: Path | None = None
    goes_on: bool = True
    chosen_by: str = "dev_wer"

    def key(self) -> Any:
        return self.made_from

    def batches(self, maker: BatchMaker) -> LatticeBatches:
        return LatticeBatches(maker, self.lattices)

    def loss(self, model: AcousticModel, logits: torch.Tensor, batch: LatticeBatch) -> tuple[torch.Tensor, Counts]:
        """An utterance without a lattice has its cross-entropy alone; its name is kept."""
        self._note_unused(batch)
        loss = self.options.ce_weight * hard_cross_entropy(logits, batch.senones)
        if not torch.isfinite(logits).all():
            return loss * math.nan, {}  # for the loop to skip; the kernel would refuse it
        shares, counts = self._accuracies(model, logits, batch)
        return loss + shares, counts

    def _accuracies(
        self, model: AcousticModel, logits: torch.Tensor, batch: LatticeBatch
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Of each frame the share of its utterance's frames that are expected to be wrong, (F,); 0 without a lattice.

        counts: of utterances with a lattice its frames, arcs, frames expected to be right, and frames whose reference
        is not in it."""
        lengths = batch.lengths.tolist()
        rows = logits.float().split(lengths)
        used = [n for n, found in enumerate(batch.lattices) if not isinstance(found, str)]
        shares = [torch.zeros(length, device=logits.device) for length in lengths]
        counts = dict.fromkeys(("lattice_frames", "arcs", "right", "lost"), 0.0)
        if not used:
            return torch.cat(shares), counts
        found = [batch.lattices[n] for n in used]
        lost = [~in_lattice(each.lattice, each.reference) for each in found]
        priors = self.prior_scale * model.log_priors
        expected = expected_accuracy(
            [torch.log_softmax(rows[n], dim=1) - priors for n in used],
            [each.lattice for each in found],
            [state_accuracies(each.lattice, each.reference, self.silence, self.options.silence) for each in found],
            self.acoustic_scale,
            lost if self.options.reject_frames else None,
        )
        for n, right in zip(used, expected):
            shares[n] = (1 - right / lengths[n]).float().expand(lengths[n])
        counts["lattice_frames"] = float(sum(lengths[n] for n in used))
        counts["arcs"] = float(sum(len(each.lattice.arc_src) for each in found))
        counts["right"] = float(expected.detach().sum())
        counts["lost"] = float(sum(mask.sum() for mask in lost))
        return torch.cat(shares), counts

    def _note_unused(self, batch: LatticeBatch) -> None:
        known = {row["id"] for row in self.skips.rows}
        for cut_id, found in zip(batch.cut_ids, batch.lattices):
            if isinstance(found, str) and cut_id not in known:
                self.skips.add(cut_id, found)
        if self.skips.count > len(known):
            if self.skips_path:  # a training that goes on after a kill has seen them already
                write_jsonl(self.skips_path, self.skips.rows)
            self.skips.check(self.num_cuts)

    def describe(self, counts: Counts) -> dict[str, float]:
        """expected_accuracy: per cent of frames. reference_lost: per cent of frames whose reference is not in their
        lattice. density: arcs a frame."""
        if not counts.get("lattice_frames"):
            return {}
        frames = counts["lattice_frames"]
        return {
            "expected_accuracy": 100 * counts["right"] / frames,
            "reference_lost": 100 * counts["lost"] / frames,
            "density": counts["arcs"] / frames,
        }

    @torch.no_grad()
    def judge(self, model: AcousticModel) -> dict[str, float]:
        """Expected accuracy on the lattices of dev, and the WER of clean dev, both per cent."""
        device, totals = model.log_priors.device, {}
        durations_s = self.dev_batches.maker.sources["dev"].durations_s
        for plan in batches_of_pass(durations_s, _DEV_BATCH_S, 0, "dev", 0):
            batch = self.dev_batches[plan]
            logits = batch.rows(model(batch.frames.to(device), batch.lengths))
            for name, count in self._accuracies(model, logits, batch)[1].items():
                totals[name] = totals.get(name, 0.0) + count
        described = {f"dev_{name}": value for name, value in self.describe(totals).items()}
        return {**described, "dev_wer": self.dev_wer(model)}
