"""What a training loop asks of its workers, whichever way they train one model together."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pyasr.base.errors import ConfigError
from pyasr.dist import bmuf, gtc
from pyasr.dist.bmuf import BMUF
from pyasr.dist.comm import Alone, Comm, ProcessGroupComm, lost, tiers
from pyasr.dist.emulate import EmulatedComm
from pyasr.dist.gtc import GTCState
from pyasr.dist.options import DistOptions

_LR_FACTOR: dict[str, Callable[[int], float]] = {"none": lambda n: 1.0, "sqrt": math.sqrt, "linear": float}


class Workers:
    """One of `size` workers, of number `rank`; without arguments the only one.

    Of method "ddp" real workers use torch's DistributedDataParallel, which exchanges while it computes; emulated and
    deterministic ones take the mean afterwards. GTC exchanges after the backward pass, in one message: by then the norm
    over the whole model, by which gradients are clipped before they go into the residual, is known, and what is sent is
    too little to be worth hiding.
    """

    def __init__(self, options: DistOptions | None = None, comm: Comm | None = None) -> None:
        self.options, self.comm = options or DistOptions(), comm or Alone()
        self.rank, self.size = self.comm.rank, self.comm.size
        self.emulated = isinstance(self.comm, EmulatedComm)
        self.method = self.options.method
        if self.size > 1 and self.method == "none":
            raise ConfigError(f"{self.size} workers: train.dist.method says how they train: ddp, gtc, bmuf, ...")
        # Those whose gradients make one mean, and those whose models do.
        self.inner, self.outer = self.comm, self.comm
        if self.method == "gtc+bmuf":
            self.inner, self.outer = tiers(self.comm, self._group_size())
        self.lr_factor = _LR_FACTOR[self.options.lr_rule](1 if self.method in ("none", "bmuf") else self.inner.size)
        self._gtc: GTCState | None = None
        self._bmuf: BMUF | None = None

    def key(self) -> dict[str, Any]:
        """What of the options decides on the numbers, but for the number of workers, which may change."""
        return self.options.model_dump(exclude={"emulated_workers", "timeout_s"})

    def attach(self, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Begin with a model, which becomes that of worker 0, and a fresh optimiser; returns the one to step."""
        self._raw, self.model = model, model
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                self.comm.first(tensor)
        if self.method == "ddp" and isinstance(self.comm, ProcessGroupComm) and not self.comm.deterministic:
            self.model = DistributedDataParallel(model, process_group=self.comm.group, broadcast_buffers=False)
        if self.method.startswith("gtc"):
            chosen = self.options.gtc.model_dump()
            for name in ("density", "clip_residual"):
                chosen[name] = chosen[name] or None
            self._gtc = GTCState(model, process_group=self.inner, optimizer=optimiser, **chosen)
        if self.method.endswith("bmuf"):
            chosen = self.options.bmuf.model_dump()
            chosen["sync_seconds"] = chosen["sync_seconds"] or None
            self._bmuf = BMUF(optimiser, process_group=self.outer, **chosen)
        return self._bmuf or optimiser

    def backward(self, loss: torch.Tensor, clip_norm: float) -> tuple[torch.Tensor, bool]:
        """Gradients of a scalar loss, clipped and exchanged: (norm before clipping, whether to take the step).

        Workers whose gradients make one mean agree whether to. After False comes `skip`.
        """
        if self.method == "ddp" and not torch.isfinite(loss):
            loss = loss * math.nan  # so that all see it in the gradient
        self._run_backward(loss)
        if self.method == "ddp" and self.model is self._raw:
            self._average_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self._raw.parameters(), clip_norm)
        finite = bool(torch.isfinite(norm)) and (self.method == "ddp" or bool(torch.isfinite(loss)))
        if self._gtc is not None:
            grads = {name: p.grad for name, p in self._raw.named_parameters() if p.requires_grad}
            finite = self._gtc.exchange(grads, finite)
        return norm, finite

    def skip(self) -> None:
        """In the place of the optimiser's step."""
        if self._bmuf is not None:
            self._bmuf.skip()

    def end_sub_epoch(self) -> None:
        """The global model is then that of all batches."""
        if self._bmuf is not None and self._bmuf.batches:
            self._bmuf.sync()

    def global_model(self) -> contextlib.AbstractContextManager[None]:
        """Within it the model has the weights that all workers agree on."""
        return contextlib.nullcontext() if self._bmuf is None else self._bmuf.global_model()

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the workers, added in their order; everyone gives as many values."""
        parts = self.comm.gather(torch.tensor(values, dtype=torch.float64)).wait()
        return [sum(column[1:], column[0]) for column in zip(*(part.tolist() for part in parts))]

    def gather(self, values: dict[str, Any]) -> list[dict[str, Any]]:
        """Everyone's, by rank: what JSON can hold, which gives numbers back exactly."""
        text = torch.frombuffer(bytearray(json.dumps(values).encode()), dtype=torch.uint8)
        sizes = [int(size) for size in self.comm.gather(torch.tensor([len(text)])).wait()]
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded[: len(text)] = text
        parts = self.comm.gather(padded).wait()
        return [json.loads(part[:size].numpy().tobytes()) for part, size in zip(parts, sizes)]

    def stats(self) -> dict[str, float]:
        """Of the last exchange, for the log."""
        found: dict[str, float] = {}
        if self._gtc is not None:
            found.update({f"gtc_{name}": value for name, value in self._gtc.stats().items()})
        if self._bmuf is not None:
            bmuf_stats = {"blocks": self._bmuf.blocks, "rejected": self._bmuf.rejected, "sync_s": self._bmuf.seconds}
            found.update({f"bmuf_{name}": value for name, value in bmuf_stats.items()})
        return found

    @property
    def one_model(self) -> bool:
        """Whether model and optimiser are the same on all workers at every step."""
        return self._bmuf is None

    def state_dict(self) -> dict[str, Any]:
        """This worker's, beside model and optimiser."""
        return {} if self._gtc is None else {"gtc": self._gtc.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._gtc is not None:
            self._gtc.load_state_dict(state["gtc"])

    def share_out(self, states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """This worker's part of another number of workers' "model", "optimiser" and "workers", as of states by rank."""
        own = {name: states[0][name] for name in ("model", "optimiser", "workers")}
        if self._bmuf is not None:
            own["optimiser"] = bmuf.share_out([state["optimiser"] for state in states], self.rank)
            own["model"] = _mean([state["model"] for state in states])
        if self._gtc is not None:
            own["workers"] = {"gtc": gtc.share_out([state["workers"]["gtc"] for state in states])}
        return own

    def _run_backward(self, loss: torch.Tensor) -> None:
        try:
            loss.backward()
        except RuntimeError as error:
            if self.model is not self._raw and (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise lost(self.rank, self.size, error) from error
            raise

    def _average_gradients(self) -> None:
        grads = [parameter.grad for parameter in self._raw.parameters() if parameter.requires_grad]
        flat = torch.cat([grad.view(-1) for grad in grads])
        self.comm.mean(flat).wait()
        for grad, part in zip(grads, flat.split([grad.numel() for grad in grads])):
            grad.copy_(part.view_as(grad))

    def _group_size(self) -> int:
        size = self.options.group_size or int(os.environ.get("LOCAL_WORLD_SIZE", "0"))
        if self.size == 1:
            return 1
        if not size or self.size % size:
            raise ConfigError(
                f"train.dist.group_size = {size or 'unknown'}: {self.size} workers do not make groups of that size"
            )
        return size


def _mean(models: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Of the floats; the rest is the first's."""
    return {
        name: torch.stack([model[name] for model in models]).mean(dim=0) if value.is_floating_point() else value
        for name, value in models[0].items()
    }


class SaveClock:
    """When to save a checkpoint, the same step for all workers: worker 0's clock decides, and is asked only now and
    then."""

    def __init__(self, comm: Comm, every_s: float) -> None:
        self.comm, self.every_s = comm, every_s
        self._begin()
        self._look_at = 1

    def due(self) -> bool:
        """After each step."""
        elapsed = time.monotonic() - self._begun
        if self.comm.size == 1:
            if elapsed > self.every_s:
                self._begin()
                return True
            return False
        self._steps += 1
        if self._steps < self._look_at:
            return False
        elapsed = float(self.comm.gather(torch.tensor([elapsed], dtype=torch.float64)).wait()[0])
        steps_of_interval = int(self.every_s * self._steps / max(elapsed, 1e-9))
        if elapsed > self.every_s:
            self._look_at = max(1, steps_of_interval)
            self._begin()
            return True
        self._look_at = max(self._steps + 1, min(2 * self._steps, steps_of_interval))
        return False

    def _begin(self) -> None:
        self._begun, self._steps = time.monotonic(), 0
