"""A trained LSTM stack as live audio needs it: a frame in, log-probabilities out, the state kept in between."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pyasr.base.errors import ConfigError
from pyasr.ops.streaming import LayerWeights, LinearWeights, PackedLSTM


@dataclass
class LSTMState:
    """What N streams carry from frame to frame: hidden outputs h and cells c, both float32 (layers, N, H).

    Row [:, i] belongs to stream i alone. The tensors may be read, saved, and written: h[:, i] = other.h[:, j] moves a
    stream from one batch to another.
    """

    h: torch.Tensor
    c: torch.Tensor

    def copy(self) -> LSTMState:
        """An independent copy."""
        return LSTMState(self.h.clone(), self.c.clone())

    def reset(self, stream: int | None = None) -> None:
        """Back to zeros, for a new utterance: of one stream, or of all. IndexError for a stream there is not."""
        for tensor in (self.h, self.c):
            (tensor if stream is None else tensor[:, stream]).zero_()


class StreamingLSTM:
    """A forward-only LSTM stack for inference, fed with a few frames a call; made by `from_lstm`.

    Meant for 1 to 16 streams (N) and one to a few frames (T) a call, whatever their number. A stream's
    results have the same bits whatever other streams are fed with it, however its frames are divided into calls, and
    on any number of threads. Frames do not wait for others: a delay that a network was trained with is the caller's
    to apply.
    """

    def __init__(self, packed: PackedLSTM) -> None:
        self._packed = packed

    @classmethod
    def from_lstm(
        cls,
        lstm: torch.nn.LSTM,
        output: torch.nn.Linear | None = None,
        precision: str = "fp32",
        device: torch.device | str = "cpu",
    ) -> StreamingLSTM:
        """Copy and pack the weights of a (trained) LSTM, and of the layer from its H outputs to S senones.

        precision: "fp32", "bf16" or "int8", that of the weights; `pyasr.ops.streaming` says what each does. Dropout
        does nothing, as in eval mode; batch_first does not matter. device: where steps run, wherever lstm is.
        ConfigError for a bidirectional LSTM, one with projections, or an unknown precision; ValueError for an output
        layer of another input size, or weights that are not finite.
        """
        if lstm.bidirectional:
            raise ConfigError("a bidirectional LSTM reads utterances from their end too: it cannot be streamed")
        if lstm.proj_size:
            raise ConfigError(f"an LSTM with projections (proj_size={lstm.proj_size}) cannot be streamed here")
        if output is not None and output.in_features != lstm.hidden_size:
            raise ValueError(f"the output layer has {output.in_features} inputs, the LSTM {lstm.hidden_size} units")
        layers = []
        for layer in range(lstm.num_layers):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            layers.append(LayerWeights(*(getattr(lstm, f"{name}_l{layer}", None) for name in names)))
        linear = None if output is None else LinearWeights(output.weight, output.bias)
        return cls(PackedLSTM(layers, linear, precision, device))

    @property
    def precision(self) -> str:
        return self._packed.precision

    @property
    def weight_bytes(self) -> int:
        """Bytes of the packed weights: what a step of one frame has to read."""
        return self._packed.weight_bytes

    def init_state(self, num_streams: int) -> LSTMState:
        """The state of N streams before their first frame: zeros."""
        if num_streams < 1:
            raise ValueError(f"{num_streams} streams: there is at least one")
        shape = (self._packed.num_layers, num_streams, self._packed.hidden_size)
        return LSTMState(*(torch.zeros(shape, device=self._packed.device) for _ in range(2)))

    def step(self, x: torch.Tensor, state: LSTMState, out: torch.Tensor | None = None) -> torch.Tensor:
        """Feed the next T frames of each of N streams: x (N, T, D) -> (N, T, S); `state` is updated in place.

        With an output layer the result is log-probabilities (natural log) over its S outputs, without one the hidden
        outputs of the last layer (S = H). All float32 on the device of the weights. The result is `out` where that is
        given: contiguous, and apart from x and the state. On torch's number of threads; with one, nothing is allocated
        after the first call of a size but the few Python objects of the call itself. No gradient flows.
        TypeError for another dtype; ValueError for another shape, device or layout, and for a frame or state that is
        NaN or infinite, naming the stream. The state is as before then, that of the other streams too: leave the bad
        frame out, or reset its stream, and step again. On a GPU, where nothing waits, the results of such a stream
        are NaN instead.
        """
        return self._packed.step(x, state.h, state.c, out)
