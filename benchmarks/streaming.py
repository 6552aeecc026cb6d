"""A streaming step of the 24 M student (5 x 768, input 192, 3183 outputs), one stream, one thread, against torch.

The bound is the reading of all packed weights once, at the bandwidth that one thread reaches summing a matrix that
fits no cache, in turns with the steps: at T = 1 every weight is used for one multiplication. A 32 MB L3 cache keeps
some weights from step to step, so bf16 and int8 may come out above it. At T = 10 the input weights are read once for
all frames, but the recurrent ones, which each frame needs, 10 times from the L3 cache: no bound is given there.

Peers, the same network in the same precision, output layer and log-softmax included:
    nn.LSTM      torch.nn.LSTM and Linear as they are (oneDNN); for bf16 only where torch has such an LSTM
    no mkldnn    the same under torch.backends.mkldnn.flags(enabled=False)
    loop         two addmv a layer and frame on weights of that precision, the gates in a few torch calls
    dynamic int8 torch.ao.quantization.quantize_dynamic of LSTM and Linear
The best of them is the peer of a row; nn.LSTM has a row of its own.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable

import torch
from common import best_s, main, row

from pyasr.nn import StreamingLSTM

INPUTS, UNITS, LAYERS, SENONES = 192, 768, 5, 3183
BYTES = 200_000_000
SECONDS = 2.5  # for each precision and T
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Student(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(INPUTS, UNITS, LAYERS, batch_first=True)
        self.output = torch.nn.Linear(UNITS, SENONES)
        with torch.no_grad():  # as large as training leaves them: the default's gates hardly move
            for parameter in self.parameters():
                parameter.mul_(2)

    def forward(self, x, state):
        hidden, state = self.lstm(x, state)
        return self.output(hidden).float().log_softmax(dim=2), state


def ours(student: Student, precision: str) -> Callable:
    streaming = StreamingLSTM.from_lstm(student.lstm, student.output, precision)
    state, outs = streaming.init_state(1), {}

    def step(x):
        out = outs.setdefault(x.shape[1], torch.empty(1, x.shape[1], SENONES))
        return streaming.step(x, state, out)

    step.weight_bytes = streaming.weight_bytes
    return step


def with_module(module: torch.nn.Module, dtype: torch.dtype, context=contextlib.nullcontext) -> Callable:
    state = [torch.zeros(LAYERS, 1, UNITS, dtype=dtype)] * 2

    def step(x):
        nonlocal state
        with context():
            logp, state = module(x.to(dtype), state)
        return logp

    return step


def with_loop(student: Student, dtype: torch.dtype) -> Callable:
    lstm = student.lstm
    weights = [[getattr(lstm, f"{name}_l{i}").to(dtype) for name in ("weight_ih", "weight_hh")] for i in range(LAYERS)]
    biases = [(getattr(lstm, f"bias_ih_l{i}") + getattr(lstm, f"bias_hh_l{i}")).to(dtype) for i in range(LAYERS)]
    output, output_bias = student.output.weight.to(dtype), student.output.bias.to(dtype)
    h = [torch.zeros(UNITS, dtype=dtype) for _ in range(LAYERS)]
    c = [torch.zeros(UNITS) for _ in range(LAYERS)]

    def step(x):
        rows = []
        for below in x[0].to(dtype):
            for i, (weight_ih, weight_hh) in enumerate(weights):
                gates = torch.addmv(torch.addmv(biases[i], weight_ih, below), weight_hh, h[i]).float().view(4, UNITS)
                into, forget, _, out = gates.sigmoid()
                c[i] = forget * c[i] + into * gates[2].tanh()
                h[i] = (out * c[i].tanh()).to(dtype)
                below = h[i]
            rows.append(below)
        return torch.nn.functional.linear(torch.stack(rows), output, output_bias).float().log_softmax(dim=1)[None]

    return step


def peers(student: Student, precision: str) -> dict[str, Callable]:
    """By name; "nn.LSTM" is the plain one."""
    if precision == "int8":
        kinds = {torch.nn.LSTM, torch.nn.Linear}
        quantised = torch.ao.quantization.quantize_dynamic(student, kinds, torch.qint8)
        return {"dynamic int8": with_module(quantised, torch.float32)}
    dtype = DTYPES[precision]
    module = Student().to(dtype)
    module.load_state_dict(student.state_dict())
    without_mkldnn = lambda: torch.backends.mkldnn.flags(enabled=False)  # noqa: E731
    result = {"no mkldnn": with_module(module, dtype, without_mkldnn), "loop": with_loop(student, dtype)}
    if precision == "fp32" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return {"nn.LSTM": with_module(module, dtype), **result}
    return result  # torch has no other bf16 LSTM on this processor


def seconds_of(steps: dict[str, Callable], x: torch.Tensor) -> dict[str, float]:
    """The fastest call of each, taken in turns."""
    seconds = {}
    for step in steps.values():
        step(x)
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        for name, step in steps.items():
            seconds[name] = min(seconds.get(name, 1e9), best_s(lambda step=step: step(x), repeats=3))
    return seconds


def errors(exact: torch.Tensor, logp: torch.Tensor) -> str:
    difference = (logp - exact).abs()
    return f"{difference.mean():.2e} (highest {difference.max():.2e})"


@torch.inference_mode()
def measure() -> list[dict]:
    warnings.filterwarnings("ignore", message=".*(deprecated|quantiz).*")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    student, rows = Student().eval(), []
    utterance = torch.randn(1, 40, INPUTS)
    exact = ours(student, "fp32")(utterance)
    memory = torch.ones(BYTES // 4)
    for precision in ("fp32", "bf16", "int8"):
        steps = {"ours": ours(student, precision), **peers(student, precision)}
        distances = {name: errors(exact, step(utterance)) for name, step in steps.items()}
        print(f"{precision}: log-probabilities from ours in fp32, mean: {distances}")
        for frames in (1, 10):
            seconds = seconds_of({**steps, "read": lambda _: memory.sum()}, torch.randn(1, frames, INPUTS))
            ours_s, bandwidth = seconds.pop("ours"), BYTES / seconds.pop("read")
            bound = bandwidth / steps["ours"].weight_bytes if frames == 1 else None
            best = min(seconds, key=seconds.get)
            name = f"streaming step, {precision}, N = 1, T = {frames}"
            for peer in dict.fromkeys((best, "nn.LSTM")):
                if peer in seconds:
                    what = f"torch, {peer}, 1 thread"
                    rows.append(row(name, "frames/s", frames / ours_s, frames / seconds[peer], what, bound))
    return rows


if __name__ == "__main__":
    main(__doc__.splitlines()[0], measure)
