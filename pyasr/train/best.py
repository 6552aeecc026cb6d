"""The best models that a training has seen, and what is made of them at its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

Weights = dict[str, torch.Tensor]


class BestModels:
    """The weights of the `count` models with the lowest values, on the CPU, best first."""

    def __init__(self, count: int, rows: list[tuple[float, Weights]] | None = None) -> None:
        self._count, self._rows = count, rows or []

    @property
    def value(self) -> float | None:
        """Of the best; None when no value was finite."""
        return self._rows[0][0] if self._rows else None

    def see(self, value: float, model: torch.nn.Module) -> None:
        """Keep the model as it is now if it is one of the best."""
        if math.isfinite(value) and (len(self._rows) < self._count or value < self._rows[-1][0]):
            weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
            self._rows = sorted([*self._rows, (value, weights)], key=lambda row: row[0])[: self._count]

    def put_into(self, model: torch.nn.Module, judge: Callable[[], float]) -> None:
        """Give the model the mean of the best weights; those of the best alone if they are better as `judge` says."""
        best = self._rows[0][1]
        model.load_state_dict(best)
        if len(self._rows) > 1:
            mean = {name: torch.stack([w[name] for _, w in self._rows]).mean(dim=0) for name in best}
            model.load_state_dict(mean)
            value = judge()
            if value < self._rows[0][0]:
                self._rows = [(value, mean)]
            else:
                model.load_state_dict(best)

    def state(self) -> list[list[Any]]:
        """For a checkpoint."""
        return [[value, weights] for value, weights in self._rows]

    @classmethod
    def from_state(cls, count: int, state: list[list[Any]]) -> BestModels:
        return cls(count, [(value, weights) for value, weights in state])
