"""MFCC as Kaldi computes them (compute-mfcc-feats with --use-energy=false --dither=0 --snip-edges=false)."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np

from pyasr.features.options import MfccOptions
from pyasr.features.stream import FeatureStream, compute, frame_options

_DEFAULT = MfccOptions()


def mfcc_stream(options: MfccOptions = _DEFAULT) -> FeatureStream:
    """A stream of MFCC frames for one utterance."""
    kaldi = knf.MfccOptions()
    kaldi.frame_opts = frame_options()
    kaldi.mel_opts.num_bins = options.num_mel_bins
    kaldi.mel_opts.low_freq = options.low_hz
    kaldi.mel_opts.high_freq = options.high_hz
    kaldi.num_ceps = options.num_ceps
    kaldi.cepstral_lifter = options.cepstral_lifter
    kaldi.use_energy = False
    return FeatureStream(knf.OnlineMfcc(kaldi), options.num_ceps)


def compute_mfcc(samples: np.ndarray, options: MfccOptions = _DEFAULT) -> np.ndarray:
    """MFCC (T, num_ceps) float32 of samples (n,) float32 in [-1, 1] at 16 kHz.

    T = round(n / 160), so fewer than 80 samples give no frame.
    """
    return compute(mfcc_stream(options), samples)
