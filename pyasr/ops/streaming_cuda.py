"""The streaming step of `pyasr.ops.streaming` on a GPU: weights as matrices of rows, in the same precisions.

csrc/lstm/streaming_cuda.h says how, and what limits it. A step is some ten launches; captured into a graph
(`torch.cuda.graph`) it costs one. Of int8 the integers are those of the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyasr.ops import cuda

if TYPE_CHECKING:
    from pyasr.ops.streaming import LayerWeights, LinearWeights

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


class Matrix:
    """Rows of weights, padded and rounded; for int8 with a scale of each."""

    def __init__(self, weight: Tensor, precision: str) -> None:
        rows, columns = weight.shape
        pad = cuda.kernels.STREAMING_PAD
        self.stride = -(-columns // pad) * pad
        self.data = torch.zeros(rows, self.stride, dtype=_DTYPES[precision], device=weight.device)
        self.scale = torch.zeros(rows, device=weight.device)
        if precision == "int8":
            largest = weight.abs().amax(dim=1, keepdim=True)
            largest[largest < 1e-30] = 0
            inverse = torch.where(largest > 0, 127 / largest, 0.0)
            weight, self.scale = (weight * inverse).round(), (largest / 127).flatten().contiguous()
        self.data[:, :columns] = weight.to(self.data.dtype)

    def address(self) -> tuple[int, int, int]:
        return self.data.data_ptr(), self.scale.data_ptr(), self.stride


class Vectors:
    """Room for `count` vectors of `size` elements, and for int8 for the rounded ones."""

    def __init__(self, count: int, size: int, device: torch.device) -> None:
        pad = cuda.kernels.STREAMING_PAD
        self.stride = -(-size // pad) * pad
        self.values = torch.zeros(count, self.stride, device=device)
        self.quantised = torch.zeros(count, self.stride, dtype=torch.int16, device=device)
        self.scale = torch.zeros(count, device=device)

    def address(self) -> tuple[int, int, int, int]:
        return self.values.data_ptr(), self.quantised.data_ptr(), self.scale.data_ptr(), self.stride


class CudaStreamingLstm:
    """Checked weights on a GPU, and the scratch of their steps."""

    def __init__(
        self, layers: list[LayerWeights], output: LinearWeights | None, precision: str, device: torch.device
    ) -> None:
        def there(weight: Tensor) -> Tensor:
            return weight.detach().to(device, torch.float32)

        self._layers = []
        for layer in layers:
            biases = [there(bias) for bias in (layer.bias_ih, layer.bias_hh) if bias is not None]
            bias = sum(biases, torch.zeros(len(layer.weight_hh), device=device))
            self._layers.append(
                (Matrix(there(layer.weight_ih), precision), Matrix(there(layer.weight_hh), precision), bias)
            )
        self._output = None
        if output is not None:
            bias = torch.zeros(len(output.weight), device=device) if output.bias is None else there(output.bias)
            self._output = Matrix(there(output.weight), precision), bias.contiguous()
        self._precision, self.device = precision, self._layers[0][2].device
        self._inputs, self._units = layers[0].weight_ih.shape[1], layers[0].weight_hh.shape[1]
        self._scratch: tuple[Vectors, Vectors, Vectors, Tensor] | None = None
        self._most_streams = 0

    def step(self, x: Tensor, hidden: Tensor, cell: Tensor, out: Tensor) -> None:
        """As `PackedLSTM.step`, of checked tensors. Scratch grows when there are more streams than ever before."""
        streams, frames, _ = x.shape
        if x.numel() == 0:
            return
        if self._scratch is None or streams > self._most_streams:
            layers, width = len(self._layers), max(self._units, 1)
            self._scratch = (
                Vectors(streams, max(self._inputs, 1), self.device),
                Vectors(layers * streams, width, self.device),
                Vectors(layers * streams, width, self.device),
                torch.zeros(streams, dtype=torch.int32, device=self.device),
            )
            self._most_streams = streams
        below, before, after, good = self._scratch
        weight, bias = (
            ((0, 0, 0), 0) if self._output is None else (self._output[0].address(), self._output[1].data_ptr())
        )
        outputs = 0 if self._output is None else len(self._output[1])
        layers = [(w_ih.address(), w_hh.address(), b.data_ptr()) for w_ih, w_hh, b in self._layers]
        cuda.kernels.streaming_step(
            *cuda.place(self.device), self._precision, layers, weight, bias, self._inputs, self._units, outputs,
            streams, frames, x.data_ptr(), hidden.data_ptr(), cell.data_ptr(), out.data_ptr(), below.address(),
            (before.address(), after.address()), good.data_ptr(),
        )  # fmt: skip
