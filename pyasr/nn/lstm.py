"""LSTM layers behind one name, so that a faster implementation takes their place everywhere."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from pyasr.base.errors import ConfigError

BACKENDS = ("auto", "torch")


class LSTM(torch.nn.LSTM):
    """`torch.nn.LSTM` with batch_first=True: the same state_dict, call and results.

    backend: "torch"; "auto" is the fastest there is for the tensors at hand, which today is torch's.
    ConfigError for any other.
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
        """As `torch.nn.LSTM.forward`."""
        with _autocast_where_it_works(self.weight_ih_l0.device):
            return super().forward(frames, state)

    def padded(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Outputs (N, T, H or 2 H) of sequences (N, T, D) of which the first `lengths` (N,) frames count.

        The same as packing them; what lies behind a sequence's end is undefined. Layer by layer, with the
        backward direction reading each sequence from its own end: torch runs packed sequences of unequal
        lengths step by step, which takes two to three times as long on a CPU.
        """
        with _autocast_where_it_works(frames.device):
            return self._layers(frames, _reversal(lengths, frames))

    def _layers(self, hidden: torch.Tensor, reverse: torch.Tensor) -> torch.Tensor:
        for layer in range(self.num_layers):
            if layer and self.dropout:
                hidden = torch.nn.functional.dropout(hidden, self.dropout, self.training)
            outputs = self._direction(hidden, f"l{layer}")
            if self.bidirectional:
                backward = self._direction(_gather(hidden, reverse), f"l{layer}_reverse")
                outputs = torch.cat([outputs, _gather(backward, reverse)], dim=2)
            hidden = outputs
        return hidden

    def _direction(self, frames: torch.Tensor, suffix: str) -> torch.Tensor:
        weights = [getattr(self, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        zeros = frames.new_zeros(1, len(frames), self.hidden_size)
        return torch.lstm(frames, (zeros, zeros), weights, True, 1, 0.0, self.training, False, True)[0]


def _autocast_where_it_works(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A processor without bf16 instructions has no bf16 LSTM in torch (2.13: RuntimeError from oneDNN): fp32 there."""
    works = device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return contextlib.nullcontext() if works else torch.autocast("cpu", enabled=False)


def _reversal(lengths: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """int64 (N, T): at t the frame length - 1 - t; behind a sequence's end its own place."""
    t, lengths = torch.arange(frames.shape[1])[None], lengths[:, None].cpu()
    return torch.where(t < lengths, lengths - 1 - t, t).to(frames.device)


def _gather(frames: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return frames.gather(1, places[:, :, None].expand(-1, -1, frames.shape[2]))
