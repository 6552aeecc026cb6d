"""One host of network.py: its exchanges, timed, and counted at its own network interface."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from hosts import INTERFACE

from pyasr.dist.comm import Pending, ProcessGroupComm
from pyasr.dist.gtc import GTCState
from pyasr.nn.model import AcousticModel
from pyasr.nn.options import NetworkOptions

DENSITY, SYNC_EVERY, RANKS = 9e-4, 50, (1, 2, 4)  # the density wavers: at most a thousandth is meant
_BUCKET = 25 * 1024 * 1024 // 4
_PORT = 29500
_SETTLE_S = 0.05
_SHIFT = 1 << 20
_UNTIL_SETTLED = 40
"""Steps of GTC until its density is what it is to be."""


@dataclass(frozen=True)
class Task:
    """What a host is to do. address: of host 0."""

    rank: int
    size: int
    address: str
    layers: int
    units: int
    mbit: float


class TimedGather(ProcessGroupComm):
    """All hosts begin a gather together, and go on together: it is timed alone, on processors that do nothing else."""

    interval = (0.0, 0.0)

    def gather(self, tensor: torch.Tensor) -> Pending[list[torch.Tensor]]:
        dist.barrier()
        begun = time.monotonic()
        gathering = super().gather(tensor)

        def wait() -> list[torch.Tensor]:
            parts = gathering.wait()
            self.interval = (begun, time.monotonic())
            dist.barrier()
            return parts

        return Pending(wait)


class Gradients:
    """One after the other, normal, with a scale of each weight that is kept: those of its row and of its column,
    log-normal. A worker's noise is drawn once and shifted with each step."""

    def __init__(self, shapes: Mapping[str, torch.Size], seed: int) -> None:
        self.shapes = dict(shapes)
        same = torch.Generator().manual_seed(0)  # on all workers
        self._scale = torch.cat([_scales(shape, same).reshape(-1) for shape in shapes.values()])
        self._own = torch.Generator().manual_seed(1 + seed)
        self._noise = torch.randn(len(self._scale) + _SHIFT, generator=self._own)
        self.flat = torch.empty_like(self._scale)
        self.draw()

    def draw(self) -> dict[str, torch.Tensor]:
        """By name, views of `flat`, which is overwritten."""
        first = int(torch.randint(_SHIFT, (), generator=self._own))
        torch.mul(self._scale, self._noise[first : first + len(self._scale)], out=self.flat)
        parts = self.flat.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts)}


def _scales(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    axes = [torch.exp(torch.randn(size, generator=generator)) for size in shape]
    return 1e-3 * (axes[0][:, None] * axes[1] if len(axes) == 2 else axes[0])


class Exchanges:
    """Of one host, by every method."""

    def __init__(self, task: Task) -> None:
        options = NetworkOptions(preset="student", layers=task.layers, units=task.units)
        self.model = AcousticModel(192, 3183, options)
        self.gradients = Gradients({name: p.shape for name, p in self.model.named_parameters()}, task.rank)
        self.flat = self.gradients.flat
        self.comm = TimedGather()
        tau = float(self.flat[:: max(1, len(self.flat) // 250_000)].abs().quantile(1 - DENSITY))
        self.state = GTCState(self.model, tau, self.comm, density=DENSITY)
        self.dense: dict[str, Callable[[], None]] = {
            "fp32": lambda: self._reduce(*self.flat.split(_BUCKET)),
            "bf16": self._bf16,
            **{f"PowerSGD, rank {rank}": self._power_sgd(rank) for rank in RANKS},
            "bmuf": lambda: self.comm.mean(self.flat).wait(),
        }

    def seconds_without_delay(self, method: str, task: Task) -> float:
        """About: how often it can be measured."""
        share = {"fp32": 1.0, "bf16": 0.5, "bmuf": 1.0}.get(method, 0.01)
        return 2 * (task.size - 1) / task.size * share * 4 * len(self.flat) / (task.mbit * 1e6 / 8)

    def gtc(self, steps: int) -> list[dict]:
        """With the time of the gather beside that of the whole step."""
        for _ in range(_UNTIL_SETTLED):
            self.state.exchange(self.gradients.draw())
        found = []
        for _ in range(steps):
            gradients = self.gradients.draw()
            whole = timed(lambda: self.state.exchange(gradients))  # noqa: B023
            found.append({**whole, "interval": self.comm.interval, **self.state.stats()})
        return found

    def _reduce(self, *buckets: torch.Tensor) -> None:
        works = [dist.all_reduce(bucket, async_op=True) for bucket in buckets]
        for work in works:
            work.wait()

    def _bf16(self) -> None:
        buckets = self.flat.split(_BUCKET)
        cast = [bucket.to(torch.bfloat16).div_(self.comm.size) for bucket in buckets]
        self._reduce(*cast)
        for bucket, reduced in zip(buckets, cast):
            bucket.copy_(reduced)

    def _power_sgd(self, rank: int) -> Callable[[], None]:
        parts = [torch.zeros(size) for size in power_sgd_sizes(list(self.gradients.shapes.values()), rank)]

        def step() -> None:
            for part in parts:  # P is needed for Q
                self._reduce(part)

        return step


def power_sgd_sizes(shapes: list[torch.Size], rank: int) -> tuple[int, int, int]:
    """Floats of what torch's hook leaves as it is, of P and of Q."""
    matrices = [shape for shape in shapes if len(shape) == 2 and 2 * rank * sum(shape) < shape.numel()]
    rest = sum(shape.numel() for shape in shapes) - sum(shape.numel() for shape in matrices)
    return rest, rank * sum(shape[0] for shape in matrices), rank * sum(shape[1] for shape in matrices)


def measure_on_host(task: Task, path: Path) -> None:
    """Leaves, by method, a list of steps in path."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://{task.address}:{_PORT}", rank=task.rank, world_size=task.size,
        timeout=timedelta(seconds=60),
    )  # fmt: skip
    exchanges = Exchanges(task)
    found = {"gtc": exchanges.gtc(steps=10)}
    for method, exchange in exchanges.dense.items():
        about_s = exchanges.seconds_without_delay(method, task)
        if about_s < 2.0:
            exchange()
        repeats = min(10, max(1 if method == "bmuf" else 2, int(10 / about_s)))
        found[method] = [timed(exchange) for _ in range(repeats)]
    dist.barrier()
    dist.destroy_process_group()
    path.write_text(json.dumps(found))


def timed(work: Callable[[], object]) -> dict:
    """All hosts begin within a millisecond; acknowledgements are waited for before bytes are read."""
    dist.barrier()
    time.sleep(_SETTLE_S)
    before, begun = _counted(), time.monotonic()
    work()
    ended = time.monotonic()
    time.sleep(_SETTLE_S)
    return {"interval": (begun, ended), "whole": (begun, ended), "bytes": _counted() - before}


def _counted() -> int:
    return int(Path(f"/sys/class/net/{INTERFACE}/statistics/tx_bytes").read_text())


if __name__ == "__main__":
    measure_on_host(Task(**json.loads(sys.argv[1])), Path(sys.argv[2]))
