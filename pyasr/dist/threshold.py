"""tau of each parameter: fixed, by a schedule, or following a density, and always the same on all workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

_AT_ONCE = 16
"""First steps, where tau follows a density, in which workers look and agree before they send. Residuals begin empty
and double in a step or two: the tau of the step before, or a guess, would send many times the share."""
_LOOK_EVERY = 8
"""Steps from one look at the residuals to the next after these."""
_BEYOND = 64
"""So many of the elements looked at should be beyond tau: the density is then met within about an eighth."""
_LIMIT = 4.0
"""The factor on what workers want is at most this, and at least one over it."""
_GAIN = 0.25
"""Of the factor, on the share of what was sent since the last look beyond what should have been."""


class Thresholds:
    """Those of a model's parameters, by name; see `GTCState` for tau and density.

    Where tau follows a density, each worker now and then tells which tau would have sent so many of a sample of its
    residual with the gradient. In the first steps the mean of all is the tau of the step itself. Later it is of
    the step before, and residuals grow between looks, so it is multiplied by a factor that follows what all have really
    sent.
    """

    def __init__(
        self,
        names: Iterable[str],
        tau: float | Callable[[int], float],
        density: float | Callable[[str], float] | None,
    ) -> None:
        if density is not None and callable(tau):
            raise ValueError("tau is either scheduled or adapted to a density, not both")
        self._schedule = tau if callable(tau) else None
        self._density = density if density is None or callable(density) else lambda name: density
        self.tau = dict.fromkeys(names, tau(0) if callable(tau) else tau)
        # By parameter, the factor; words of all workers, and weights they were of, since it was changed.
        self._trim: dict[str, list[float]] = {name: [1.0, 0, 0] for name in self.tau}

    def begin(self, step: int) -> None:
        """A step, from 0."""
        if self._schedule is not None:
            self.tau = dict.fromkeys(self.tau, self._schedule(step))

    def at_once(self, step: int) -> bool:
        """Whether what workers want is for this step, see `agree`, and not for the next. step: since warm-up."""
        return self._density is not None and step < _AT_ONCE

    def wanted(self, name: str, residual: torch.Tensor, grad: torch.Tensor, step: int) -> float:
        """The tau that the density's share of residual + grad is beyond; 0 where nobody asks. step: since warm-up."""
        if self._density is None or (step >= _AT_ONCE and step % _LOOK_EVERY):
            return 0.0
        density = self._density(name)
        stride = max(1, int(len(grad) * density / _BEYOND))
        begin = step % stride
        sample = (residual[begin::stride] + grad[begin::stride]).abs_()
        count = max(1, round(density * len(sample)))
        return float(torch.topk(sample, count, sorted=False).values.min())

    def agree(self, name: str, wanted: Sequence[float]) -> None:
        """Set tau to what workers want in the mean; as it is where nobody does. The factor has no part in it."""
        asked = [value for value in wanted if 0 < value < math.inf]
        if asked:
            self.tau[name] = sum(asked) / len(asked)

    def adapt(self, name: str, weights: int, words: int, wanted: Sequence[float]) -> None:
        """Take note of a step: words sent of so many weights, both of all workers, and what each wants.

        By operations that IEEE rounds exactly: the result has to be the same on all machines.
        """
        if self._density is None:
            return
        factor, sent, of = self._trim[name]
        sent, of = sent + words, of + weights
        asked = [value for value in wanted if value > 0]
        if asked:
            # Added, not multiplied: the factor then stands still where the mean density is the one asked for. Densities
            # vary by several times from step to step, and their geometric mean is well below their mean.
            excess = (sent + 1) / (self._density(name) * of + 1) - 1
            factor = min(_LIMIT, max(1 / _LIMIT, factor + _GAIN * min(_LIMIT, excess)))
            self.tau[name] = factor * (sum(asked) / len(asked))
            sent = of = 0
        self._trim[name] = [factor, sent, of]

    def state_dict(self) -> dict[str, Any]:
        return {"tau": dict(self.tau), "trim": {name: list(trim) for name, trim in self._trim.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.tau = dict(state["tau"])
        self._trim = {name: list(trim) for name, trim in state["trim"].items()}
