"""The acoustic model: frames of features to log-posteriors of senones."""

from __future__ import annotations

import math

import torch

from pyasr.nn.lstm import LSTM
from pyasr.nn.options import NetworkOptions


class AcousticModel(torch.nn.Module):
    """An LSTM or BLSTM stack with a linear output layer over senones.

    A network that hears only what has been said gives its output for frame t after frame t + delay: its input
    is `delay` frames longer than its output. `with_delay` appends them to the end of an utterance.
    log_priors: float32 (S,), natural log of how frequent the senones are in the training alignments.
    """

    def __init__(self, input_dim: int, num_senones: int, options: NetworkOptions) -> None:
        super().__init__()
        self.options = options
        self.lstm = LSTM(input_dim, options.units, options.layers, options.bidirectional, options.dropout)
        self.dropout = torch.nn.Dropout(options.dropout)
        self.output = torch.nn.Linear(options.units * (2 if options.bidirectional else 1), num_senones)
        self.register_buffer("log_priors", torch.full((num_senones,), -math.log(num_senones)))

    @property
    def input_dim(self) -> int:
        return self.lstm.input_size

    @property
    def num_senones(self) -> int:
        return self.output.out_features

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (N, T, S) of frames (N, T + delay, D).

        lengths: int64 (N,) on the CPU, output frames of each utterance; what lies behind them is undefined.
        None: all have T.
        """
        if self.options.bidirectional and lengths is not None and int(lengths.min()) < frames.shape[1]:
            # The backward direction has to begin at the true end of each utterance.
            hidden = self.lstm.padded(frames, lengths)
        else:
            hidden, _ = self.lstm(frames)
        return self.output(self.dropout(hidden[:, self.options.delay_frames :]))

    def with_delay(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames (T + delay, D) of a whole utterance (T, D): its last frame is repeated."""
        delay = self.options.delay_frames
        return torch.cat([frames, frames[-1:].expand(delay, -1)]) if delay and len(frames) else frames

    @torch.inference_mode()
    def log_posteriors(self, frames: torch.Tensor) -> torch.Tensor:
        """Log-posteriors (T, S), natural log, of one utterance (T, D); the model has to be in eval mode."""
        if not len(frames):
            return frames.new_zeros((0, self.num_senones))
        return torch.log_softmax(self(self.with_delay(frames)[None])[0].float(), dim=-1)
