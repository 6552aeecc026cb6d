"""Log mel filterbank energies for networks, offline and streaming with the same numbers."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np

from pyasr.features.options import LfbeOptions
from pyasr.features.stream import FeatureStream, compute, frame_options

_DEFAULT = LfbeOptions()


def lfbe_stream(options: LfbeOptions = _DEFAULT) -> FeatureStream:
    """A stream of LFBE frames for one utterance."""
    kaldi = knf.FbankOptions()
    kaldi.frame_opts = frame_options()
    kaldi.mel_opts.num_bins = options.num_mel_bins
    kaldi.mel_opts.low_freq = options.low_hz
    kaldi.mel_opts.high_freq = options.high_hz
    return FeatureStream(knf.OnlineFbank(kaldi), options.num_mel_bins)


def compute_lfbe(samples: np.ndarray, options: LfbeOptions = _DEFAULT) -> np.ndarray:
    """LFBE (T, num_mel_bins) float32, natural log of power, of samples (n,) float32 in [-1, 1] at 16 kHz.

    T = round(n / 160).
    """
    return compute(lfbe_stream(options), samples)
