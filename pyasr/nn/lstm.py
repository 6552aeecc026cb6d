"""LSTM layers behind one name: torch's own, or our recurrence between torch's products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from pyasr.base.errors import ConfigError
from pyasr.ops.cuda import is_built, kernels
from pyasr.ops.linear import linear
from pyasr.ops.lstm import lstm_recurrence
from pyasr.ops.lstm_cuda import can_launch
from pyasr.ops.lstm_wavefront import lstm_wavefront, most_layers

CPU_HAS_BF16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
BACKENDS = ("auto", "native", "torch")


class LSTM(torch.nn.LSTM):
    """`torch.nn.LSTM` with batch_first=True: the same state_dict, call and results.

    backend: "torch"; "native", our recurrence (`pyasr.ops.lstm`), for float32, and on a GPU bfloat16, which differs in
    rounding and in the random draws of the dropout between layers; "auto", whichever is faster by benchmarks/lstm.py:
    native for float32 on the CPU, but torch for sequences of equal lengths without a gradient when they are 8 or more
    (or, on one thread and with fewer than 512 units, 3 or more), and native for bfloat16 on a Hopper GPU with 64 to 768
    units, a multiple of 64; else torch. ConfigError for any other.

    Under autocast to bfloat16 on the CPU the large products, three quarters of the work, are in bfloat16; the native
    recurrence keeps its product, gates, cells and outputs in float32, where torch rounds the outputs of every layer. A
    processor without bfloat16 instructions computes in float32 all the same. Under autocast on such a GPU all of the
    native backend is in bfloat16 but sums and cells, outputs and h included, and torch's in float32. There layers run
    beside each other if the LSTM is forward-only and no dropout is between them.
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
        dtype = self._native_dtype(data)
        if dtype is None or self._is_for_onednn(frames):
            if _autocast_works(data.device):
                return super().forward(frames, state)
            with torch.autocast(data.device.type, enabled=False):
                state = None if state is None else tuple(s.to(self.weight_hh_l0.dtype) for s in state)
                return super().forward(frames.to(self.weight_hh_l0.dtype), state)
        if isinstance(frames, PackedSequence):
            return self._packed(frames, state, dtype)
        if frames.dim() == 2:
            state = None if state is None else tuple(s.unsqueeze(1) for s in state)
            outputs, state = self(frames[None], state)
            return outputs[0], tuple(s.squeeze(1) for s in state)
        self.check_input(frames, None)
        lengths = torch.full((frames.shape[0],), frames.shape[1], device=frames.device)
        outputs, state = self._stack(frames.transpose(0, 1).to(dtype), lengths, state)
        return outputs.transpose(0, 1), state

    def padded(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Outputs (N, T, H or 2 H) of sequences (N, T, D) of which the first `lengths` (N,) frames count.

        The same as packing them; what lies behind a sequence's end is undefined. Layer by layer, with the
        backward direction reading each sequence from its own end: torch runs packed sequences of unequal
        lengths step by step, which takes two to three times as long on a CPU.
        """
        dtype = self._native_dtype(frames)
        if dtype is None:
            reversal = _reversal(lengths, frames)
            if _autocast_works(frames.device):
                return self._layers(frames, reversal)
            with torch.autocast(frames.device.type, enabled=False):
                return self._layers(frames.to(self.weight_hh_l0.dtype), reversal)
        lengths = lengths.to(frames.device, torch.int64, non_blocking=True)
        hidden = _without_padding(frames.transpose(0, 1), lengths).to(dtype)
        return self._stack(hidden, lengths, None)[0].transpose(0, 1)

    def _native_dtype(self, frames: Tensor) -> torch.dtype | None:
        """In which the native backend computes them; None: torch does."""
        if self.backend == "torch":
            return None
        kind, weights = frames.device.type, self.weight_hh_l0.dtype
        on_cpu, on_gpu = kind == "cpu", kind == "cuda" and is_built()
        cast = torch.get_autocast_dtype(kind) if (on_cpu or on_gpu) and torch.is_autocast_enabled(kind) else None
        if on_gpu and cast == frames.dtype == weights:
            cast = None  # it changes nothing
        on_hopper = on_gpu and can_launch(frames.device, self.hidden_size, 1 + self.bidirectional)
        dtype, floats = None, (torch.float32, torch.float16, torch.bfloat16)
        if cast is None and frames.dtype == weights and weights in (torch.float32, torch.bfloat16):
            dtype = weights if on_gpu or (on_cpu and weights == torch.float32) else None
        elif cast == torch.bfloat16 and on_cpu and frames.dtype == weights == torch.float32:
            dtype = torch.float32
        elif cast == torch.bfloat16 and on_hopper and frames.dtype in floats and weights in floats:
            dtype = torch.bfloat16
        if self.backend == "native" and dtype is None:
            raise TypeError(
                "the native LSTM is for float32 on the CPU, also under autocast to bfloat16, and float32 or bfloat16 on"
                " a GPU where pyasr was built with CUDA, under autocast to bfloat16 on a Hopper GPU with 64 to 768"
                f" units, a multiple of 64, not for {frames.dtype} on {kind} with weights of"
                f" {weights}{'' if cast is None else f' under autocast to {cast}'}"
            )
        faster = on_cpu or (on_hopper and dtype == torch.bfloat16)
        return dtype if faster or self.backend == "native" else None

    def _is_for_onednn(self, frames: Any) -> bool:
        """Whether "auto" leaves to torch what the native backend can do, too.

        Without a gradient torch computes with oneDNN's LSTM, whose product of a step is no faster than ours, but whose
        gates are: up to a tenth of the time where they count, with many rows or few units.
        """
        if self.backend != "auto" or isinstance(frames, PackedSequence) or frames.dim() != 3:
            return False
        if frames.device.type != "cpu" or (torch.is_autocast_enabled("cpu") and CPU_HAS_BF16):
            return False
        if torch.is_grad_enabled() and (frames.requires_grad or any(p.requires_grad for p in self.parameters())):
            return False
        least = 3 if self.hidden_size < 512 and torch.get_num_threads() == 1 else 8
        return len(frames) >= least

    def _packed(self, packed: PackedSequence, state: Any, dtype: torch.dtype) -> Any:
        """In the packed order, which is that of descending lengths."""
        self.check_input(packed.data, packed.batch_sizes)
        frames, lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        lengths = lengths.to(frames.device, non_blocking=True)
        if state is not None:
            state = self.permute_hidden(state, packed.sorted_indices)
        outputs, state = self._stack(frames.to(dtype), lengths, state)
        data = outputs[_inside(frames.shape[0], lengths)]  # time by time: the order of packed data
        outputs = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return outputs, self.permute_hidden(state, packed.unsorted_indices)

    def _stack(self, hidden: Tensor, lengths: Tensor, state: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """All layers on frames (T, N, D): outputs (T, N, H or 2 H) and the final states."""
        directions = 1 + self.bidirectional
        shape = (self.num_layers * directions, hidden.shape[1], self.hidden_size)
        if state is None:
            state = (hidden.new_zeros(shape),) * 2
        for name, tensor in zip(("hx[0]", "hx[1]"), state):
            if tuple(tensor.shape) != shape:
                raise RuntimeError(f"Expected {name} size {shape}, got {tuple(tensor.shape)}")  # torch's own words
        h_0, c_0 = state[0].to(hidden.dtype), state[1].float()
        last, at_once = [], self._layers_at_once(hidden)
        # On a GPU all has been cast.
        cast = hidden.device.type == "cpu" and torch.is_autocast_enabled("cpu") and CPU_HAS_BF16
        with torch.autocast(hidden.device.type, torch.bfloat16, enabled=cast):
            for first in range(0, self.num_layers, at_once):
                layers = range(first, min(first + at_once, self.num_layers))
                own = slice(layers.start * directions, layers.stop * directions)
                if first and self.dropout:
                    hidden = torch.nn.functional.dropout(hidden, self.dropout, self.training)
                if at_once > 1:
                    weights = [self._weights(f"l{layer}", hidden.dtype) for layer in layers]
                    results = lstm_wavefront(hidden, *map(list, zip(*weights)), h_0[own], c_0[own], lengths)
                else:
                    results = self._recurrence(hidden, first, h_0[own], c_0[own], lengths)
                hidden, *final = results
                last.append(final)
        h_n, c_n = (torch.cat(tensors) for tensors in zip(*last))
        return hidden, (h_n, c_n.to(state[1].dtype))

    def _recurrence(
        self, hidden: Tensor, layer: int, h_0: Tensor, c_0: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One layer: outputs and final states."""
        # Under autocast on the CPU the input product and its gradients are bfloat16; the recurrence takes and gives
        # float32.
        bf16 = hidden.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        suffixes = [f"l{layer}", f"l{layer}_reverse"][: len(h_0)]
        weight_ih, weight_hh, bias = zip(*(self._weights(suffix, hidden.dtype) for suffix in suffixes))
        projected = [linear(hidden, w, b).to(hidden.dtype) for w, b in zip(weight_ih, bias)]
        return lstm_recurrence(projected, list(weight_hh), h_0, c_0, lengths, bf16)

    def _weights(self, suffix: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """weight_ih, weight_hh and the sum of both biases."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weight_ih, weight_hh, bias_ih, bias_hh = (getattr(self, f"{name}_{suffix}") for name in names)
        return weight_ih.to(dtype), weight_hh.to(dtype), (bias_ih + bias_hh).to(dtype)

    def _layers_at_once(self, frames: Tensor) -> int:
        """How many layers run beside each other, as a wavefront; 1: none do."""
        dropout = self.training and self.dropout
        if not frames.is_cuda or frames.dtype != torch.bfloat16 or self.bidirectional or dropout or not frames.numel():
            return 1
        if len(frames) > kernels.LSTM_MOST_FRAMES:
            return 1
        return max(1, most_layers(frames.device, self.hidden_size, self.num_layers))

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


def _autocast_works(device: torch.device) -> bool:
    """Whether torch's LSTM does what autocast asks for; where not, it gets float32.

    A processor without bf16 instructions has no bf16 LSTM in torch (2.13: RuntimeError from oneDNN). On a GPU autocast
    to bf16 makes cuDNN's LSTM compute in float16 (torch 2.11), in which small gradients vanish unless the loss is
    scaled: those of the first of five layers were off by 94 %. Float32, or TF32 where torch allows it, was faster, too.
    """
    kind = device.type
    if kind == "cuda":
        return not torch.is_autocast_enabled(kind) or torch.get_autocast_dtype(kind) != torch.bfloat16
    return kind != "cpu" or CPU_HAS_BF16


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
