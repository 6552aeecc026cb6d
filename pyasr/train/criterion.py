"""What a training minimises, and what of dev says which model is best. The loop knows no more of it than this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from pyasr.nn.losses import hard_cross_entropy, stored_cross_entropy
from pyasr.nn.model import AcousticModel
from pyasr.train.data import Batch, BatchMaker
from pyasr.train.options import LossOptions

Counts = Mapping[str, float]


class Criterion(Protocol):
    """A loss with all that goes with it."""

    goes_on: bool
    """Whether the model has learnt something before: it is judged before the first step then (sub-epoch -1 of the log),
    and stays as it is if nothing is better."""

    chosen_by: str
    """Name of the value of a log row that is least for the best model, and that the learning rate follows."""

    def key(self) -> Any:
        """What it is made from beside options and data, for the key of a checkpoint."""
        ...

    def batches(self, maker: BatchMaker) -> torch.utils.data.Dataset:
        """A dataset of batches, by plan as `maker` is, with what the loss needs."""
        ...

    def loss(self, model: AcousticModel, logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, Counts]:
        """Of each frame, float32 (F,), from logits (F, S); and what to add up over a sub-epoch."""
        ...

    def describe(self, counts: Counts) -> dict[str, float]:
        """Values for the log from what was added up."""
        ...

    def judge(self, model: AcousticModel) -> dict[str, float]:
        """Further values of dev for the log; the model is in eval mode. Worker 0 alone is asked."""
        ...


@dataclass(frozen=True)
class FrameCriterion:
    """Cross-entropy to alignments or to stored posteriors, frame by frame."""

    options: LossOptions
    goes_on: bool = False
    chosen_by: str = "dev_loss"

    def key(self) -> Any:
        return None

    def batches(self, maker: BatchMaker) -> torch.utils.data.Dataset:
        return maker

    def loss(self, model: AcousticModel, logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, Counts]:
        if batch.senones is not None:
            return hard_cross_entropy(logits, batch.senones), {}
        options = self.options
        return stored_cross_entropy(logits, batch.ids, batch.logp, options.tail, options.temperature), {}

    def describe(self, counts: Counts) -> dict[str, float]:
        return {}

    def judge(self, model: AcousticModel) -> dict[str, float]:
        return {}
