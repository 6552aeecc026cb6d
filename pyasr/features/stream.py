"""Feature extraction sample by sample through kaldi-native-fbank.

Offline extraction is one chunk followed by `finish`, so a streaming front end gives the same numbers.
"""

from __future__ import annotations

from typing import Any

import kaldi_native_fbank as knf
import numpy as np

from pyasr.features.options import SAMPLING_RATE

_INT16_SCALE = 32768.0
"""Kaldi reads 16-bit audio as integers; its energies and floors are in that scale."""


def frame_options() -> Any:
    """Kaldi's frames: 25 ms Povey windows every 10 ms, centred on the frame (edges reflected), no dither."""
    options = knf.FrameExtractionOptions()
    options.samp_freq = SAMPLING_RATE
    options.frame_length_ms = 25.0
    options.frame_shift_ms = 10.0
    options.preemph_coeff = 0.97
    options.remove_dc_offset = True
    options.window_type = "povey"
    options.dither = 0.0
    options.snip_edges = False
    return options


def num_frames(num_samples: int) -> int:
    """Frames of an utterance of `num_samples`: its length in frame shifts, rounded to the nearest."""
    shift = SAMPLING_RATE // 100
    return (num_samples + shift // 2) // shift


def samples_of_frames(count: int) -> int:
    """Samples after which the first `count` frames of an utterance are complete while more is to come."""
    shift, window = SAMPLING_RATE // 100, SAMPLING_RATE // 40
    return (count - 1) * shift + shift // 2 + window // 2 if count else 0


class FeatureStream:
    """Frames of one utterance as its samples arrive.

    extractor: an Online* extractor of kaldi-native-fbank. dim: D, its feature size.
    """

    def __init__(self, extractor: Any, dim: int) -> None:
        self._extractor = extractor
        self._dim = dim
        self._taken = 0

    def accept(self, samples: np.ndarray) -> np.ndarray:
        """Take (n,) samples in [-1, 1]; return the frames (t, D) float32 that they complete; t may be 0."""
        if samples.ndim != 1:
            raise ValueError(f"samples have shape {samples.shape}; one channel (n,) is needed")
        self._extractor.accept_waveform(SAMPLING_RATE, samples.astype(np.float32) * np.float32(_INT16_SCALE))
        return self._new_frames()

    def finish(self) -> np.ndarray:
        """The last frames (t, D) float32: those whose window reaches past the end of the utterance."""
        self._extractor.input_finished()
        return self._new_frames()

    def _new_frames(self) -> np.ndarray:
        ready = self._extractor.num_frames_ready
        frames = np.empty((ready - self._taken, self._dim), np.float32)
        for row, index in enumerate(range(self._taken, ready)):
            frames[row] = self._extractor.get_frame(index)  # the buffer belongs to the extractor: copied
        self._extractor.pop(ready - self._taken)
        self._taken = ready
        return frames


def compute(stream: FeatureStream, samples: np.ndarray) -> np.ndarray:
    """All frames (T, D) float32 of one utterance, T = num_frames(len(samples))."""
    return np.concatenate([stream.accept(samples), stream.finish()])
