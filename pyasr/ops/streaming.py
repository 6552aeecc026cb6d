"""A stack of LSTM layers and its output layer, packed for being fed one or a few frames at a time.

`pyasr.nn.StreamingLSTM` is the class to use; this is the kernel below it. csrc/lstm/streaming.h says what limits the
speed, csrc/lstm/streaming_kernel.h how the weights lie. The precisions:

    fp32   weights as they are
    bf16   weights rounded to bfloat16, half to even; everything else in float32
    int8   weights rounded to -127 .. 127 times a scale of their own for each row; what they are multiplied with, a
           frame of input or of hidden outputs, is rounded to -127 .. 127 times its greatest magnitude / 127, anew for
           each frame and stream. Sums of products are exact, then scaled and added in float32.

`pyasr.ops.reference.streaming_step` is the same in a few lines of NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from pyasr import _core
from pyasr.base.errors import ConfigError
from pyasr.ops import cuda
from pyasr.ops.streaming_cuda import CudaStreamingLstm

PRECISIONS = ("fp32", "bf16", "int8")


class LayerWeights(NamedTuple):
    """weight_ih (4 H, D), weight_hh (4 H, H), biases (4 H,) or None: as in `torch.nn.LSTM`."""

    weight_ih: torch.Tensor
    weight_hh: torch.Tensor
    bias_ih: torch.Tensor | None
    bias_hh: torch.Tensor | None


class LinearWeights(NamedTuple):
    """weight (S, H), bias (S,) or None: as in `torch.nn.Linear`."""

    weight: torch.Tensor
    bias: torch.Tensor | None


class PackedLSTM:
    """The packed weights; they are copies. Weights on any device and of any floating dtype, rounded to float32 first.

    output: the layer whose log-softmax is the result; None: the hidden outputs of the last layer are.
    device: where steps run, the CPU or a GPU.
    ConfigError for an unknown precision; ValueError for shapes that do not fit together, for weights that are not
    finite, and for a device without kernels. Memory: 4, 2 or 1 bytes a weight.
    """

    def __init__(
        self,
        layers: Sequence[LayerWeights],
        output: LinearWeights | None,
        precision: str,
        device: torch.device | str = "cpu",
    ) -> None:
        if precision not in PRECISIONS:
            raise ConfigError(f"precision {precision!r}: there are {', '.join(PRECISIONS)}")
        self._native = _core.StreamingLstm(
            [tuple(_array(weight) for weight in layer) for layer in layers],
            None if output is None else tuple(_array(weight) for weight in output),
            precision,
        )
        self.precision = precision
        self.input_size: int = self._native.input_size
        self.hidden_size: int = self._native.hidden_size
        self.num_layers: int = self._native.num_layers
        self.output_size: int = self._native.output_size
        self.weight_bytes: int = self._native.weight_bytes
        self.device, self._on_gpu = torch.device(device), None
        if self.device.type != "cpu":
            cuda.check_device("the packed LSTM", torch.empty(0, device=self.device))
            # The weights on the CPU, which have been checked, make room.
            self._native, self._on_gpu = None, CudaStreamingLstm(list(layers), output, precision, self.device)
            self.device = self._on_gpu.device

    def step(
        self,
        x: torch.Tensor,
        hidden: torch.Tensor,
        cell: torch.Tensor,
        out: torch.Tensor | None = None,
        num_threads: int | None = None,
    ) -> torch.Tensor:
        """Feed x (N, T, D) to N streams; hidden and cell (layers, N, H) are updated in place. Returns out (N, T, S).

        All float32 on the device of the weights; hidden, cell and out contiguous, out apart from all others (a new
        tensor unless given).
        Without an output layer S is H. num_threads: torch's own number unless given; it changes the speed only.
        TypeError for another dtype; ValueError for another shape, device or layout, and for a frame or a state that is
        not finite, naming the stream; nothing has been written then. On a GPU nothing waits (`pyasr.ops.cuda`): there
        the results of such a stream are NaN and its state stays as it was, and the other streams go on.
        """
        threads = torch.get_num_threads() if num_threads is None else num_threads
        frames = _checked("x", x, self.device).contiguous()
        if frames.ndim != 3:
            raise ValueError(f"x has {frames.ndim} dimensions, not 3: (streams, frames, features)")
        if out is None:
            out = torch.empty(frames.shape[0], frames.shape[1], self.output_size, device=self.device)
        states_and_out = ("state h", hidden), ("state c", cell), ("out", out)
        written = [_written(name, tensor, self.device) for name, tensor in states_and_out]
        if self._on_gpu:
            self._check_shapes(frames, *written)
            self._on_gpu.step(frames, *written)
        else:
            self._native.step(frames.numpy(), *(tensor.numpy() for tensor in written), threads)
        return out

    def _check_shapes(self, x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, out: torch.Tensor) -> None:
        """As the kernel on the CPU does."""
        streams, frames, inputs = x.shape
        if inputs != self.input_size:
            raise ValueError(f"features of a frame against inputs of the network: {inputs} is not {self.input_size}")
        state = (self.num_layers, streams, self.hidden_size)
        wanted = (
            ("state h", hidden, state),
            ("state c", cell, state),
            ("out", out, (streams, frames, self.output_size)),
        )
        for name, tensor, shape in wanted:
            if tensor.shape != shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, not {shape}")
        for name, tensor in (("x", x), ("state h", hidden), ("state c", cell)):
            if _overlap(out, tensor):
                raise ValueError(f"out overlaps {name}")
        if _overlap(hidden, cell):
            raise ValueError("state h overlaps state c")


def _array(weight: torch.Tensor | None):
    return torch.empty(0).numpy() if weight is None else weight.detach().float().cpu().contiguous().numpy()


def _overlap(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.data_ptr() < b.data_ptr() + b.nbytes and b.data_ptr() < a.data_ptr() + a.nbytes


def _checked(name: str, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}, not a torch tensor")
    if tensor.dtype != torch.float32:
        raise TypeError(f"{name} is {tensor.dtype}, not torch.float32")
    if tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device}, the weights are on {device}")
    return tensor.detach()


def _written(name: str, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    tensor = _checked(name, tensor, device)
    if not tensor.is_contiguous():
        raise ValueError(f"{name} is not contiguous, and results are written into it")
    return tensor
