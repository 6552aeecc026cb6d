"""The native LSTM against torch's, both as pyasr.nn.LSTM runs them: forward (no gradient) and a training step.

GFLOP/s of the products alone: 8 H (D + H) flops a frame, layer and direction forward, three times that in training.
Training under autocast to bfloat16 is set beside torch's float32, where the processor has bfloat16 instructions.
The bound is what torch reaches with the same flops where no frame waits for another: the products of N T rows by the
weights, forward, for the inputs' and for the weights' gradients, measured on the same threads. A recurrent step has N
rows only, and the gates' nonlinearities are not counted, so 1.0 is out of reach.

Ours and the peer take turns, so that whatever disturbs the machine disturbs both; the fastest of each counts. Rows of
backend="auto", which picks one of the two by a rule (pyasr.nn.LSTM), are against the better of both.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial

import torch
from common import gpu_medians_s, main, row

from pyasr.nn import LSTM
from pyasr.nn.lstm import BACKENDS, CPU_HAS_BF16

INPUT = 192
# layers, units, bidirectional, sequences, frames
SHAPES = [
    (3, 256, True, 4, 100),
    (3, 256, False, 4, 100),
    (2, 192, True, 3, 150),
    (3, 320, False, 8, 60),
    (3, 320, True, 16, 100),
    (5, 768, False, 8, 64),
    (5, 768, False, 32, 64),
]
BUDGET_S = 1.0


def fastest(*works: Callable[[], object]) -> list[float]:
    """Seconds of the fastest call of each, taken in turns for BUDGET_S, at least three times."""
    best = [float("inf")] * len(works)
    end, rounds = time.perf_counter() + BUDGET_S, 0
    while rounds < 3 or time.perf_counter() < end:
        for i, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[i] = min(best[i], time.perf_counter() - start)
        rounds += 1
    return best


def products(lstm: LSTM, num_rows: int, training: bool) -> Callable[[], None]:
    """The flops of a step as large products."""
    operands = []
    for name, weight in lstm.named_parameters():
        if name.startswith("weight"):
            x, gradient = (weight.detach().new_empty(num_rows, size).normal_() for size in reversed(weight.shape))
            operands.append((x, weight.detach(), gradient))

    def run() -> None:
        for x, weight, gradient in operands:
            x @ weight.t()
            if training:
                gradient @ weight
                gradient.t() @ x

    return run


def forward(lstm: LSTM, frames: torch.Tensor) -> None:
    with torch.no_grad():
        lstm(frames)


def train(lstm: LSTM, frames: torch.Tensor, gradient: torch.Tensor, bf16: bool = False) -> None:
    lstm.zero_grad()
    with torch.autocast(frames.device.type, torch.bfloat16, enabled=bf16):
        output = lstm(frames)[0]
    output.backward(gradient.to(output.dtype))


def by(backend: str, work: Callable[..., None], lstm: LSTM, *arguments: object) -> None:
    """One module for all, so that where its weights lie in memory is the same for all."""
    lstm.backend = backend
    work(lstm, *arguments)


def measure() -> list[dict]:
    rows = []
    for layers, units, bidirectional, batch, frames in SHAPES:
        lstm = LSTM(INPUT, units, layers, bidirectional)
        weights = sum(weight.numel() for name, weight in lstm.named_parameters() if name.startswith("weight"))
        x = torch.randn(batch, frames, INPUT)
        gradient = torch.randn(batch, frames, units * (1 + bidirectional))
        shape = f"{layers}x{units}{' bidirectional' if bidirectional else ''}, N = {batch}, T = {frames}"
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for what, flops, training, work in (
                ("forward", 2, False, lambda lstm, x=x: forward(lstm, x)),
                ("training step", 6, True, lambda lstm, x=x, gradient=gradient: train(lstm, x, gradient)),
            ):
                bound = products(lstm, batch * frames, training)
                seconds = fastest(*(partial(by, backend, work, lstm) for backend in ("native", "torch", "auto")), bound)
                speed = [flops * weights * batch * frames / s / 1e9 for s in seconds]
                name = f"lstm {what} {shape}, {threads} thread{'s' if threads > 1 else ''}"
                rows.append(row(name, "GFLOP/s", speed[0], speed[1], "torch.nn.LSTM", bound=speed[3]))
                better, what_better = max(speed[:2]), "the better of native and torch"
                rows.append(row(f'{name}, backend="auto"', "GFLOP/s", speed[2], better, what_better))
            if CPU_HAS_BF16 and units == 768:
                ways = (("native", True), ("torch", False), ("torch", True))
                seconds = fastest(*(partial(by, backend, train, lstm, x, gradient, bf16) for backend, bf16 in ways))
                speed = [6 * weights * batch * frames / s / 1e9 for s in seconds]
                name = f"lstm training step {shape}, bf16, {threads} thread{'s' if threads > 1 else ''}"
                rows.append(row(name, "GFLOP/s", speed[0], speed[1], "torch.nn.LSTM in float32"))
                rows.append(row(name, "GFLOP/s", speed[0], speed[2], "torch.nn.LSTM in bf16"))
    return rows


# layers, units, bidirectional, sequences, frames: the student on a GPU, a teacher, and small ones
SHAPES_ON_GPU = [(5, 768, False, n, t) for n in (64, 256) for t in (32, 400)]
SHAPES_ON_GPU += [(5, 768, True, 64, 400), (3, 256, False, 32, 100), (3, 320, True, 16, 100)]


def measure_on_gpu() -> list[dict]:
    """TFLOP/s, by medians: bfloat16, against cuDNN in bfloat16; and training under autocast, against what torch's
    backend does there: cuDNN in float32, its products in TF32."""
    rows = []
    for layers, units, bidirectional, batch, frames in SHAPES_ON_GPU:
        single = {name: LSTM(INPUT, units, layers, bidirectional, backend=name).cuda() for name in BACKENDS}
        half = {name: copy.deepcopy(module).bfloat16() for name, module in single.items()}
        for module in (*single.values(), *half.values()):
            module.flatten_parameters()
        weights = sum(weight.numel() for name, weight in half["auto"].named_parameters() if name.startswith("weight"))
        x = torch.randn(batch, frames, INPUT, device="cuda")
        gradient = torch.randn(batch, frames, units * (1 + bidirectional), device="cuda").bfloat16()
        shape = f"{layers}x{units}{' bidirectional' if bidirectional else ''}, N = {batch}, T = {frames}"
        for what, flops, training in (("forward", 2, False), ("training step", 6, True)):

            def work(lstm: LSTM, bf16: bool = False, training: bool = training, x: torch.Tensor = x) -> None:
                inputs = x.to(lstm.weight_hh_l0.dtype)
                if training:
                    train(lstm, inputs, gradient, bf16)  # noqa: B023, called in this round of the loop
                else:
                    forward(lstm, inputs)

            works = [partial(work, half[name]) for name in BACKENDS]
            works += [partial(work, single[name], True) for name in ("auto", "torch") if training]
            seconds = gpu_medians_s(*works, products(half["auto"], batch * frames, training), rounds=7)
            speed = [flops * weights * batch * frames / s / 1e12 for s in seconds]
            name, by_name = f"lstm {what} {shape}, bfloat16, GPU", dict(zip(BACKENDS, speed))
            native, cudnn = by_name["native"], by_name["torch"]
            rows.append(row(name, "TFLOP/s", native, cudnn, "cuDNN", bound=speed[-1], on_gpu=True))
            better = max(native, cudnn), "the better of native and torch"
            rows.append(row(f'{name}, backend="auto"', "TFLOP/s", by_name["auto"], *better, on_gpu=True))
            if training:
                name = f"lstm {what} {shape}, autocast, GPU"
                rows.append(row(name, "TFLOP/s", speed[3], speed[4], "cuDNN in float32", on_gpu=True))
    return rows


if __name__ == "__main__":
    main(__doc__.splitlines()[0], measure, measure_on_gpu)
