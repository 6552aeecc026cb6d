"""A student that listens to its teacher while it trains: all posteriors of a frame, and none of them stored.

It is what the stored k best are measured against. The teacher hears what it would label, the speech as it is at every
stacking phase, again in every pass: with a small teacher that is bearable, with a large one it is why there is a store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pyasr.base.artifact import digest_file
from pyasr.features.audio import load_samples
from pyasr.features.stack import stack_frames
from pyasr.nn.losses import dense_cross_entropy
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.train.criterion import Counts, FrameCriterion
from pyasr.train.data import Batch, BatchMaker
from pyasr.train.options import LossOptions
from pyasr.train.plan import BatchPlan
from pyasr.train.targets import TeacherTargets


@dataclass(frozen=True)
class TaughtBatch(Batch):
    """teacher_frames: float32 (M, T, D), what the teacher hears, zeros behind each sequence's end; teacher_lengths:
    int64 (M,), their frames of output. teacher_rows: int64 (F,), the row of its outputs (M * T, S) for each frame."""

    teacher_frames: torch.Tensor | None = None
    teacher_lengths: torch.Tensor | None = None
    teacher_rows: torch.Tensor | None = None


@dataclass(frozen=True)
class TaughtBatches(torch.utils.data.Dataset):
    """Batches of `maker`, those of `TeacherTargets` with what the teacher hears of them."""

    maker: BatchMaker
    teacher: Network

    def __getitem__(self, plan: BatchPlan) -> Batch:
        batch, source = self.maker[plan], self.maker.sources[plan.source]
        if not isinstance(source.targets, TeacherTargets):
            return batch
        return taught(batch, [source.cuts[index] for index in plan.cuts], self.teacher)


def taught(batch: Batch, cuts: Sequence[Any], teacher: Network) -> TaughtBatch:
    """A batch whose targets are `places`, with what the teacher hears of its cuts."""
    model, stack = teacher.model, teacher.frontend.options.stack
    framed = [teacher.frontend.frames(load_samples(cut)) for cut in cuts]
    stacks = [torch.from_numpy(stack_frames(frames, stack, phase)) for frames in framed for phase in range(stack)]
    heard = torch.nn.utils.rnn.pad_sequence([model.with_delay(sequence) for sequence in stacks], batch_first=True)
    length, rows = heard.shape[1] - model.options.delay_frames, []
    for number, (frames, places) in enumerate(zip(framed, batch.places.split(batch.frames_of_cuts))):
        places = places.clip(0, max(0, len(frames) - stack))
        # The stack that begins with 10 ms frame f is number f // stack of phase f % stack.
        rows.append((number * stack + places % stack) * length + places // stack)
    lengths = torch.tensor([max(1, len(sequence)) for sequence in stacks])  # LSTMs take none that is empty
    return TaughtBatch(**vars(batch), teacher_frames=heard, teacher_lengths=lengths, teacher_rows=torch.cat(rows))


@dataclass(frozen=True)
class TaughtCriterion(FrameCriterion):
    """Cross-entropy to alignments, or to all posteriors of a teacher.

    fingerprint: of the teacher's weights. teacher_temperature: divides its logits.
    """

    teacher: Network | None = None
    fingerprint: str = ""
    teacher_temperature: float = 1.0

    @classmethod
    def of(cls, options: LossOptions, folder: Path, teacher_temperature: float = 1.0) -> TaughtCriterion:
        """folder: of the teacher's `Network`."""
        teacher, fingerprint = Network.load(folder), digest_file(folder / "weights.pt")
        return cls(options, teacher=teacher, fingerprint=fingerprint, teacher_temperature=teacher_temperature)

    def key(self) -> Any:
        return [self.fingerprint, self.teacher_temperature]

    def batches(self, maker: BatchMaker) -> TaughtBatches:
        return TaughtBatches(maker, self.teacher)

    def loss(self, model: AcousticModel, logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, Counts]:
        if not isinstance(batch, TaughtBatch):
            return super().loss(model, logits, batch)
        target = self._outputs(batch) / self.teacher_temperature
        return dense_cross_entropy(logits, target, self.options.temperature), {}

    @torch.no_grad()
    def _outputs(self, batch: TaughtBatch) -> torch.Tensor:
        """float32 (F, S)"""
        device = batch.teacher_frames.device
        # As it labels: bf16 products on a GPU, float32 on the CPU.
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            outputs = self.teacher.model.to(device)(batch.teacher_frames, batch.teacher_lengths)
        return outputs.flatten(0, 1)[batch.teacher_rows].float()
