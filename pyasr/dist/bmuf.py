"""Blockwise model-update filtering: workers train alone for a block of batches, then their models are averaged, and the
average's progress is filtered with momentum.

After K. Chen and Q. Huo, "Scalable training of deep learning machines by incremental block training with intra-block
parallel optimization and blockwise model-update filtering" (ICASSP 2016). With W(t) the global model after block t,
W_g(t) the model that the workers begin block t + 1 with, and W_avg(t) the mean of the models they end block t with:

    G(t)     = W_avg(t) - W_g(t-1)
    Delta(t) = eta Delta(t-1) + zeta G(t)
    W(t)     = W(t-1) + Delta(t)
    W_g(t)   = W(t)                     classical block momentum
    W_g(t)   = W(t) + eta Delta(t)      Nesterov block momentum

Averaging divides each worker's progress by N; eta = 1 - 1/N gives it back: where each worker makes a steady progress g
a block, Delta goes to g / (1 - eta) = N g in both forms, because G is measured from where the workers began.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist

from pyasr.dist.comm import Comm, comm_of

_MOMENTUM = ("momentum_buffer", "exp_avg")


class BMUF(torch.optim.Optimizer):
    """Wraps an optimizer: `step()` is a local step, and every `sync_every` of them an exchange of models.

    sync_every: batches of a block. sync_seconds: blocks of about so many seconds instead; the first has sync_every
        batches, then the mean speed of all workers, which travels with the models, says how many make the time.
    block_momentum: eta; None: 1 - 1/N for N workers. block_lr: zeta.
    process_group: None is the default group; a `pyasr.dist.comm.Comm` is taken as well.
    warm_start: so many first blocks are plain averaging (eta = 0, zeta = 1): for a model that is not trained yet, whose
        first steps are no direction to keep. Better: begin with a model that one worker has trained for a while.
    reset_momentum: at each exchange the optimizer's momentum is set to zero: it belongs to a model that is no more, and
        kept it often makes training diverge. Second moments of Adam are kept.
    buffers: tensors of the model to average along, without block momentum; those of whole numbers become rank 0's.

    All workers begin with rank 0's model. A worker that leaves a batch out calls `skip()`: batches are counted, and all
    workers have to count the same. With a GradScaler that goes by itself: its unsteady steps come here and are counted.
    If the mean of the models is not finite, all workers go back to where the block began; `rejected` counts it.
    """

    _step_supports_amp_scaling = True  # a GradScaler then calls step() for overflows too

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        sync_every: int = 50,
        block_momentum: float | None = None,
        block_lr: float = 1.0,
        nesterov: bool = True,
        process_group: dist.ProcessGroup | Comm | None = None,
        *,
        sync_seconds: float | None = None,
        warm_start: int = 0,
        reset_momentum: bool = True,
        buffers: Iterable[torch.Tensor] = (),
    ) -> None:
        self.optimizer = optimizer
        super().__setstate__({"defaults": dict(optimizer.defaults)})  # its hooks, without parameters of its own
        self.comm = comm_of(process_group)
        self.block_momentum = 1.0 - 1.0 / self.comm.size if block_momentum is None else block_momentum
        if not 0 <= self.block_momentum < 1 or block_lr <= 0 or sync_every < 1 or (sync_seconds or 1.0) <= 0:
            raise ValueError(
                f"block_momentum {self.block_momentum} has to be in [0, 1); block_lr {block_lr}, sync_every"
                f" {sync_every} and sync_seconds {sync_seconds} have to be positive"
            )
        self.block_lr, self.nesterov, self.sync_seconds = block_lr, nesterov, sync_seconds
        self.warm_start, self.reset_momentum = warm_start, reset_momentum
        self.block_batches, self.batches, self.blocks, self.rejected = sync_every, 0, 0, 0
        self.seconds = 0.0  # of the last exchange
        buffers = list(buffers)
        self._buffers = [buffer for buffer in buffers if buffer.is_floating_point()]
        self._whole_buffers = [buffer for buffer in buffers if not buffer.is_floating_point()]
        self._parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        self._dtype = torch.float64 if any(p.dtype == torch.float64 for p in self._parameters) else torch.float32
        self.global_weights = self._flat(self._parameters)
        self.comm.first(self.global_weights)
        self._fill(self._parameters, self.global_weights)
        self.delta = torch.zeros_like(self.global_weights)
        self._ahead = 0.0
        self._began = time.monotonic()
        if any(group.get("momentum", 0.0) > 0.9 for group in self.param_groups):
            message = "BMUF: momentum above 0.9 within blocks often diverges; block momentum adds to it"
            warnings.warn(message, stacklevel=2)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    @property
    def state(self) -> Mapping[torch.Tensor, Any]:
        return self.optimizer.state

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        raise ValueError("BMUF: add parameters to the optimizer before it is wrapped")

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """A step of the wrapped optimizer; at the end of a block, an exchange."""
        result = None
        if self._scaled_gradients_are_finite():
            result = self.optimizer.step() if closure is None else self.optimizer.step(closure)
        self.skip()
        return result

    def skip(self) -> None:
        """Count a batch that made no step."""
        self.batches += 1
        if self.batches >= self.block_batches:
            self.sync()

    @torch.no_grad()
    def sync(self) -> None:
        """End the block: average the models, filter the progress, begin with what comes out. All workers call it."""
        begun = time.monotonic()
        batch_s = (begun - self._began) / max(1, self.batches)
        tensors = [*self._parameters, *self._buffers]
        flat = torch.cat([self._flat(tensors), self.global_weights.new_tensor([batch_s])])
        self.comm.mean(flat).wait()
        if math.isfinite(float(torch.linalg.vector_norm(flat))):
            self._filter(flat[: len(self.global_weights)])
            self._fill(self._buffers, flat[len(self.global_weights) : -1])
            self.blocks += 1
        else:
            self.rejected += 1
        self._fill(self._parameters, self._start())
        for buffer in self._whole_buffers:
            self.comm.first(buffer)
        if self.reset_momentum:
            self._reset_momentum()
        if self.sync_seconds is not None and self.batches:
            wanted = self.sync_seconds / max(float(flat[-1]), 1e-9)
            self.block_batches = max(1, round(min(wanted, 4.0 * self.block_batches)))
        self.batches, self._began = 0, time.monotonic()
        self.seconds = self._began - begun

    @contextlib.contextmanager
    def global_model(self) -> Iterator[None]:
        """Within it the model has the global weights W(t), to be evaluated or saved; then this worker's own again."""
        own = self._flat(self._parameters)
        self._fill(self._parameters, self.global_weights)
        try:
            yield
        finally:
            self._fill(self._parameters, own)

    def state_dict(self) -> dict[str, Any]:
        """The wrapped optimizer's, and all that the next block needs; the model is saved as each worker has it."""
        numbers = {name: getattr(self, name) for name in ("block_batches", "batches", "blocks", "rejected")}
        bmuf = {**numbers, "ahead": self._ahead, "global_weights": self.global_weights, "delta": self.delta}
        return {"optimizer": self.optimizer.state_dict(), "bmuf": bmuf}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """ValueError when it is of another model."""
        bmuf = state_dict["bmuf"]
        if bmuf["global_weights"].shape != self.global_weights.shape:
            raise ValueError("BMUF's state is of another model")
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.global_weights.copy_(bmuf["global_weights"])
        self.delta.copy_(bmuf["delta"])
        self._ahead = bmuf["ahead"]
        for name in ("block_batches", "batches", "blocks", "rejected"):
            setattr(self, name, bmuf[name])
        self._began = time.monotonic()

    def _filter(self, average: torch.Tensor) -> None:
        eta, zeta = (0.0, 1.0) if self.blocks < self.warm_start else (self.block_momentum, self.block_lr)
        self.delta = eta * self.delta + zeta * (average - self._start())
        self.global_weights += self.delta
        self._ahead = eta if self.nesterov else 0.0

    def _start(self) -> torch.Tensor:
        """W_g: where the workers begin a block."""
        return self.global_weights + self._ahead * self.delta

    def _reset_momentum(self) -> None:
        for state in self.optimizer.state.values():
            for name in _MOMENTUM:
                if isinstance(state.get(name), torch.Tensor):
                    state[name].zero_()

    def _scaled_gradients_are_finite(self) -> bool:
        """What GradScaler leaves here for optimizers that ask for it; gradients are unscaled, if they are not yet."""
        found_inf, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        if found_inf is not None and float(found_inf):
            return False
        if scale is not None:
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.div_(scale.to(parameter.grad.device))
        return True

    def _flat(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([tensor.detach().reshape(-1).to(self._dtype) for tensor in tensors])

    @torch.no_grad()
    def _fill(self, tensors: list[torch.Tensor], flat: torch.Tensor) -> None:
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.copy_(part.view_as(tensor))


def share_out(states: list[Mapping[str, Any]], rank: int) -> dict[str, Any]:
    """The state of worker `rank` of another number of workers than made `states`, by rank.

    The global model and its momentum are everyone's; the local optimizer is one of the old ones. The local models,
    which are no part of this, are to be averaged: so nothing of a block under way is lost.
    """
    return {**states[0], "optimizer": states[rank % len(states)]["optimizer"]}
