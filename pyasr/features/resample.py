"""Another sampling rate for audio as it arrives."""

from __future__ import annotations

import math

import numpy as np
import torch
from lhotse.augmentation.torchaudio import get_or_create_resampler

_BLOCK_S = 0.01


class ResampleStream:
    """`pyasr.features.audio.resample` for samples that come bit by bit: the same filter, the same samples.

    What comes out has the same bits however the samples are divided, and differs from the whole recording resampled
    at once in rounding alone (torch chooses its convolution by size). Each sample is held back until those after it
    that the filter needs are there, 6 periods of the lower rate, and a block is full: 10 ms, or where the two rates
    have no large common divisor, what they have to have in common.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        gcd = math.gcd(from_hz, to_hz)
        self._from, self._to = from_hz // gcd, to_hz // gcd
        if from_hz == to_hz:
            return
        resampler = get_or_create_resampler(from_hz, to_hz)
        self._kernel, self._width = resampler.kernel, resampler.width
        self._steps = max(1, round(_BLOCK_S * from_hz / self._from))
        self._buffer = np.zeros(self._width, np.float32)  # silence before the beginning
        self._num_in = self._num_out = 0

    def accept(self, samples: np.ndarray) -> np.ndarray:
        """Take (n,) float32 samples; return those (m,) at the other rate that are complete; m may be 0."""
        if self._from == self._to:
            return samples
        self._num_in += len(samples)
        self._buffer = np.concatenate([self._buffer, samples])
        return self._blocks()

    def finish(self) -> np.ndarray:
        """The last samples (m,), as if silence followed; ceil(n * to_hz / from_hz) have then come."""
        if self._from == self._to:
            return np.empty(0, np.float32)
        wanted = math.ceil(self._num_in * self._to / self._from) - self._num_out
        silence = np.zeros(self._steps * self._from + self._width, np.float32)
        self._buffer = np.concatenate([self._buffer, silence])
        return self._blocks()[:wanted]

    def _blocks(self) -> np.ndarray:
        taken = self._steps * self._from
        needed = taken + 2 * self._width
        blocks = [np.empty(0, np.float32)]
        while len(self._buffer) >= needed:
            with torch.inference_mode():
                block = torch.from_numpy(self._buffer[:needed])[None, None]
                # (1, to, steps): a filter for each phase of the output, the block's steps in turn.
                found = torch.nn.functional.conv1d(block, self._kernel, stride=self._from)
            blocks.append(found[0].T.reshape(-1).numpy())
            self._buffer = self._buffer[taken:]
        resampled = np.concatenate(blocks)
        self._num_out += len(resampled)
        return resampled
