"""The optimiser and its learning rate: warm-up, then down whenever dev stops improving, and the end when that no longer
helps."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pyasr.train.options import OptimiserOptions


@dataclass
class PlateauRate:
    """step: optimiser steps so far. best: lowest dev loss. waited: sub-epochs since. decays: made so far."""

    options: OptimiserOptions
    step: int = 0
    best: float = math.inf
    waited: int = 0
    decays: int = 0

    @property
    def lr(self) -> float:
        """For the next step."""
        warm = min(1.0, (self.step + 1) / self.options.warmup_steps) if self.options.warmup_steps else 1.0
        return self.options.lr * warm * self.options.decay**self.decays

    def observe(self, dev_loss: float) -> bool:
        """Take note of a sub-epoch's dev loss. True: it has stopped falling at the lowest rate."""
        if dev_loss < self.best * (1 - self.options.min_improvement):
            self.best, self.waited = dev_loss, 0
            return False
        self.waited += 1
        if self.waited < self.options.patience:
            return False
        self.waited = 0
        if self.decays == self.options.max_decays:
            return True
        self.decays += 1
        return False

    def state(self) -> dict[str, Any]:
        """Plain numbers, for a checkpoint."""
        return {name: value for name, value in asdict(self).items() if name != "options"}

    @classmethod
    def from_state(cls, options: OptimiserOptions, state: dict[str, Any]) -> PlateauRate:
        return cls(options, **state)


def make_optimiser(model: torch.nn.Module, options: OptimiserOptions) -> torch.optim.Optimizer:
    """With an empty state."""
    if options.kind == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay
        )
    return torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=options.weight_decay, fused=True)
