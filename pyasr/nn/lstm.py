"""LSTM layers behind one name: torch's own, or our recurrence between torch's products."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from pyasr.base.errors import ConfigError
from pyasr.ops.cuda import is_built
from pyasr.ops.linear import linear
from pyasr.ops.lstm import lstm_recurrence
from pyasr.ops.lstm_wavefront import lstm_wavefront, most_layers

CPU_HAS_BF16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
BACKENDS = ("auto", "native", "torch")


class LSTM(torch.nn.LSTM):
    """`torch.nn.LSTM` with batch_first=True: the same state_dict, call and results.

    backend: "torch"; "native", our recurrence (`pyasr.ops.lstm`), for float32, and on a GPU bfloat16, which differs in
    rounding and in the random draws of the dropout between layers; "auto", whichever is faster by benchmarks/lstm.py:
    native for float32 on the CPU, but torch for sequences of equal lengths without a gradient when they are 8 or more
    (or, on one thread and with fewer than 512 units, 3 or more), else torch. ConfigError for any other.

    Under autocast to bfloat16 on the CPU the large products, three quarters of the work, are in bfloat16; the native
    recurrence keeps its product, gates, cells and outputs in float32, where torch rounds the outputs of every layer. A
    processor without bfloat16 instructions computes in float32 all the same.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool = False,
        dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        if backend not in BACKENDS:
            raise ConfigError(f"LSTM backend {backend!r}: there are {', '.join(BACKENDS)}")
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            batch_first=True,
            # torch warns when there is no "between layers" for the dropout to be in.
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.backend = backend

    def forward(self, frames: Any, state: Any = None) -> Any:
        """As `torch.nn.LSTM.forward`; TypeError where the backend is native and cannot run them."""
        data = frames.data if isinstance(frames, PackedSequence) else frames
        with _autocast_where_it_works(data.device):
            if not self._is_native(data) or self._is_for_onednn(frames):
                return super().forward(frames, state)
            if isinstance(frames, PackedSequence):
                return self._packed(frames, state)
            if frames.dim() == 2:
                state = None if state is None else tuple(s.unsqueeze(1) for s in state)
                outputs, state = self(frames[None], state)
                return outputs[0], tuple(s.squeeze(1) for s in state)
            self.check_input(frames, None)
            lengths = torch.full((frames.shape[0],), frames.shape[1], device=frames.device)
            outputs, state = self._stack(frames.transpose(0, 1), lengths, state)
            return outputs.transpose(0, 1), state

    def padded(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Outputs (N, T, H or 2 H) of sequences (N, T, D) of which the first `lengths` (N,) frames count.

        The same as packing them; what lies behind a sequence's end is undefined. Layer by layer, with the
        backward direction reading each sequence from its own end: torch runs packed sequences of unequal
        lengths step by step, which takes two to three times as long on a CPU.
        """
        with _autocast_where_it_works(frames.device):
            if not self._is_native(frames):
                return self._layers(frames, _reversal(lengths, frames))
            lengths = lengths.to(frames.device, torch.int64, non_blocking=True)
            return self._stack(_without_padding(frames.transpose(0, 1), lengths), lengths, None)[0].transpose(0, 1)

    def _is_native(self, frames: Tensor) -> bool:
        if self.backend == "torch":
            return False
        kind = frames.device.type
        on_cpu, on_gpu = kind == "cpu", kind == "cuda" and is_built()
        cast = torch.get_autocast_dtype(kind) if (on_cpu or on_gpu) and torch.is_autocast_enabled(kind) else None
        dtypes, casts = (torch.float32, torch.bfloat16) if on_gpu else (torch.float32,), (None,)
        if on_cpu:
            casts = (None, torch.bfloat16)
        able = (on_cpu or on_gpu) and frames.dtype == self.weight_hh_l0.dtype and frames.dtype in dtypes
        if self.backend == "native" and not (able and cast in casts):
            raise TypeError(
                "the native LSTM is for float32 on the CPU, also under autocast to bfloat16, and float32 or bfloat16 on"
                f" a GPU where pyasr was built with CUDA, without autocast, not for {frames.dtype} on {kind} with"
                f" weights of {self.weight_hh_l0.dtype}{'' if cast is None else f' under autocast to {cast}'}"
            )
        return able and cast in casts and (on_cpu or self.backend == "native")

    def _is_for_onednn(self, frames: Any) -> bool:
        """Whether "auto" leaves to torch what the native backend can do, too.

        Without a gradient torch computes with oneDNN's LSTM, whose product of a step is no faster than ours, but whose
        gates are: up to a tenth of the time where they count, with many rows or few units.
        """
        if self.backend != "auto" or isinstance(frames, PackedSequence) or frames.dim() != 3:
            return False
        if torch.is_autocast_enabled(frames.device.type):
            return False
        if torch.is_grad_enabled() and (frames.requires_grad or any(p.requires_grad for p in self.parameters())):
            return False
        least = 3 if self.hidden_size < 512 and torch.get_num_threads() == 1 else 8
        return len(frames) >= least

    def _packed(self, packed: PackedSequence, state: Any) -> Any:
        """In the packed order, which is that of descending lengths."""
        self.check_input(packed.data, packed.batch_sizes)
        frames, lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        lengths = lengths.to(frames.device, non_blocking=True)
        if state is not None:
            state = self.permute_hidden(state, packed.sorted_indices)
        outputs, state = self._stack(frames, lengths, state)
        data = outputs[_inside(frames.shape[0], lengths)]  # time by time: the order of packed data
        outputs = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return outputs, self.permute_hidden(state, packed.unsorted_indices)

    def _stack(self, hidden: Tensor, lengths: Tensor, state: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """All layers on frames (T, N, D): outputs (T, N, H or 2 H) and the final states."""
        directions = ("", "_reverse") if self.bidirectional else ("",)
        shape = (self.num_layers * len(directions), hidden.shape[1], self.hidden_size)
        if state is None:
            state = (hidden.new_zeros(shape),) * 2
        for name, tensor in zip(("hx[0]", "hx[1]"), state):
            if tuple(tensor.shape) != shape:
                raise RuntimeError(f"Expected {name} size {shape}, got {tuple(tensor.shape)}")  # torch's own words
        if self._is_wavefront(hidden):
            return self._wavefront(hidden, lengths, state)
        # Under autocast the input product and its gradients are bfloat16; the recurrence takes and gives float32.
        bf16, last = hidden.device.type == "cpu" and torch.is_autocast_enabled("cpu"), []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                hidden = torch.nn.functional.dropout(hidden, self.dropout, self.training)
            suffixes = [f"_l{layer}{direction}" for direction in directions]
            projected = [
                linear(
                    hidden,
                    getattr(self, f"weight_ih{suffix}"),
                    getattr(self, f"bias_ih{suffix}") + getattr(self, f"bias_hh{suffix}"),
                ).to(hidden.dtype)
                for suffix in suffixes
            ]
            own = slice(layer * len(directions), (layer + 1) * len(directions))
            weights = [getattr(self, f"weight_hh{suffix}") for suffix in suffixes]
            h_0, c_0 = (tensor[own] for tensor in state)
            hidden, h_n, c_n = lstm_recurrence(projected, weights, h_0, c_0.float(), lengths, bf16)
            last.append((h_n, c_n.to(c_0.dtype)))
        return hidden, tuple(torch.cat(tensors) for tensors in zip(*last))

    def _is_wavefront(self, frames: Tensor) -> bool:
        """Whether layers run beside each other."""
        dropout = self.training and self.dropout
        if not frames.is_cuda or frames.dtype != torch.bfloat16 or self.bidirectional or dropout or not frames.numel():
            return False
        return self.num_layers > 1 and _most_layers_at_once(frames.device, self.hidden_size) > 1

    def _wavefront(self, hidden: Tensor, lengths: Tensor, state: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        last, at_once = [], _most_layers_at_once(hidden.device, self.hidden_size)
        h_0, c_0 = state
        for first in range(0, self.num_layers, at_once):
            own = range(first, min(first + at_once, self.num_layers))
            weight_ih, weight_hh, bias_ih, bias_hh = (
                [getattr(self, f"{name}_l{layer}") for layer in own]
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            bias = [a + b for a, b in zip(bias_ih, bias_hh)]
            mine = slice(own.start, own.stop)
            hidden, h_n, c_n = lstm_wavefront(
                hidden, weight_ih, weight_hh, bias, h_0[mine], c_0[mine].float(), lengths
            )
            last.append((h_n, c_n.to(c_0.dtype)))
        return hidden, tuple(torch.cat(tensors) for tensors in zip(*last))

    def _layers(self, hidden: Tensor, reverse: Tensor) -> Tensor:
        for layer in range(self.num_layers):
            if layer and self.dropout:
                hidden = torch.nn.functional.dropout(hidden, self.dropout, self.training)
            outputs = self._direction(hidden, f"l{layer}")
            if self.bidirectional:
                backward = self._direction(_gather(hidden, reverse), f"l{layer}_reverse")
                outputs = torch.cat([outputs, _gather(backward, reverse)], dim=2)
            hidden = outputs
        return hidden

    def _direction(self, frames: Tensor, suffix: str) -> Tensor:
        weights = [getattr(self, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        zeros = frames.new_zeros(1, len(frames), self.hidden_size)
        return torch.lstm(frames, (zeros, zeros), weights, True, 1, 0.0, self.training, False, True)[0]


@torch.compiler.assume_constant_result
def _most_layers_at_once(device: torch.device, units: int) -> int:
    return most_layers(device, units)


def _autocast_where_it_works(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A processor without bf16 instructions has no bf16 LSTM in torch (2.13: RuntimeError from oneDNN): fp32 there.

    On a GPU autocast to bf16 makes cuDNN's LSTM compute in float16 (torch 2.11), in which small gradients vanish unless
    the loss is scaled: those of the first of five layers were off by 94 %. Float32 there, too, which was faster.
    """
    kind = device.type
    if kind == "cuda":
        works = not torch.is_autocast_enabled(kind) or torch.get_autocast_dtype(kind) != torch.bfloat16
    else:
        works = kind != "cpu" or CPU_HAS_BF16
    return contextlib.nullcontext() if works else torch.autocast(kind, enabled=False)


def _inside(num_frames: int, lengths: Tensor) -> Tensor:
    """bool (T, N): frames before their sequence's end."""
    return torch.arange(num_frames, device=lengths.device)[:, None] < lengths


def _without_padding(frames: Tensor, lengths: Tensor) -> Tensor:
    """Frames (T, N, D) with zeros behind the ends: what stood there, NaN perhaps, must not reach the products that
    give the weights' gradients, where it would be multiplied by zeros."""
    return torch.where(_inside(len(frames), lengths)[:, :, None], frames, 0.0)


def _reversal(lengths: Tensor, frames: Tensor) -> Tensor:
    """int64 (N, T): at t the frame length - 1 - t; behind a sequence's end its own place."""
    t, lengths = torch.arange(frames.shape[1])[None], lengths[:, None].cpu()
    return torch.where(t < lengths, lengths - 1 - t, t).to(frames.device)


def _gather(frames: Tensor, places: Tensor) -> Tensor:
    return frames.gather(1, places[:, :, None].expand(-1, -1, frames.shape[2]))
