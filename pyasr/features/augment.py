"""Training-time augmentation: what is drawn for an utterance is a function of (seed, epoch, cut id) alone.

Apply in the order of the functions: speed and noise to samples, warping, the stacking phase and the masks to frames.
Speed perturbation changes the number of frames: targets are then looked up where a frame's middle was.
"""

from __future__ import annotations

import numpy as np
import pydantic

from pyasr.base.config import Options
from pyasr.base.seeds import rng
from pyasr.features.audio import resample
from pyasr.features.noise import NoisePool, add_noise
from pyasr.features.options import SAMPLING_RATE, LfbeOptions


class AugmentOptions(Options):
    """What training may do to an utterance; the defaults do nothing but draw the stacking phase."""

    speeds: tuple[float, ...] = pydantic.Field((1.0,), min_length=1, description="such as [0.9, 1.0, 1.1]")
    noise_p: float = pydantic.Field(0.0, ge=0, le=1, description="fraction of utterances that get noise")
    snr_db: tuple[float, float] = pydantic.Field((5.0, 20.0), description="drawn uniformly from this range")
    warp: float = pydantic.Field(
        0.0, ge=0, lt=0.5, description="frequencies are multiplied by a factor from 1 - warp to 1 + warp"
    )
    stack_phase: bool = True
    time_masks: int = pydantic.Field(0, ge=0)
    time_mask_frames: int = pydantic.Field(20, ge=0, description="longest time mask")
    time_mask_fraction: float = pydantic.Field(0.2, ge=0, le=1, description="longest time mask, relative")
    frequency_masks: int = pydantic.Field(0, ge=0)
    frequency_mask_bins: int = pydantic.Field(12, ge=0, description="widest frequency mask")

    @pydantic.model_validator(mode="after")
    def _check(self) -> AugmentOptions:
        if min(self.speeds) < 0.5 or max(self.speeds) > 2.0:
            raise ValueError(f"speeds {list(self.speeds)} must lie between 0.5 and 2")
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db {list(self.snr_db)} must be [lowest, highest]")
        return self


def draw_speed(options: AugmentOptions, seed: int, epoch: int, cut_id: str) -> float:
    """The speed factor of an utterance in an epoch."""
    return options.speeds[rng(seed, "speed", epoch, cut_id).integers(len(options.speeds))]


def change_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Play samples (n,) `factor` times as fast, tempo and pitch together: about (n / factor,) samples."""
    return resample(samples, round(SAMPLING_RATE * factor), SAMPLING_RATE)


def draw_noise(
    samples: np.ndarray, options: AugmentOptions, pool: NoisePool, seed: int, epoch: int, cut_id: str
) -> np.ndarray:
    """Samples (n,) with noise at a drawn ratio, or as they are; errors as `add_noise`."""
    draws = rng(seed, "noise", epoch, cut_id)
    if draws.random() >= options.noise_p:
        return samples
    return add_noise(samples, pool, draws.uniform(*options.snr_db), draws)


def draw_warp(options: AugmentOptions, seed: int, epoch: int, cut_id: str) -> float:
    """The factor on the frequencies of an utterance in an epoch."""
    return float(rng(seed, "warp", epoch, cut_id).uniform(1 - options.warp, 1 + options.warp))


def warp_frequencies(frames: np.ndarray, factor: float, lfbe: LfbeOptions) -> np.ndarray:
    """LFBE (T, num_mel_bins) as of a vocal tract `factor` times as long: a bin has what was at `factor` times its
    frequency, between bins in proportion (vocal tract length perturbation, Jaitly and Hinton 2013)."""
    if factor == 1.0:
        return frames
    edges = _mel(np.array([lfbe.low_hz, lfbe.high_hz or SAMPLING_RATE / 2]))
    mels = np.linspace(*edges, lfbe.num_mel_bins + 2)[1:-1]
    warped = np.interp(_mel(factor * _hz(mels)), mels, np.arange(lfbe.num_mel_bins))
    below = np.minimum(warped.astype(np.int64), lfbe.num_mel_bins - 2)
    share = (warped - below).astype(np.float32)
    return frames[:, below] * (1 - share) + frames[:, below + 1] * share


def _mel(hz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(hz / 700.0)


def _hz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * np.expm1(mel / 1127.0)


def draw_phase(options: AugmentOptions, factor: int, seed: int, epoch: int, cut_id: str) -> int:
    """The stacking phase, 0..factor-1, of an utterance in an epoch; see `stack_frames`."""
    return int(rng(seed, "phase", epoch, cut_id).integers(factor)) if options.stack_phase else 0


def mask(
    frames: np.ndarray,
    options: AugmentOptions,
    seed: int,
    epoch: int,
    cut_id: str,
    num_bins: int | None = None,
) -> np.ndarray:
    """Set stretches of time and bands of frequency to 0, as SpecAugment (Park et al. 2019) without warping.

    frames: (T, D) normalised, so that 0 is their mean; a masked copy is returned. num_bins: the bins
    of one frame when frames are stacked, D = stack * num_bins: a band is then masked in all of the stack.
    """
    masked = np.array(frames)
    length, dim = masked.shape
    num_bins = num_bins or dim
    draws = rng(seed, "mask", epoch, cut_id)
    longest = min(options.time_mask_frames, int(options.time_mask_fraction * length))
    for _ in range(options.time_masks):
        begin, width = _span(draws, length, longest)
        masked[begin : begin + width] = 0.0
    bands = masked.reshape(length, dim // num_bins, num_bins)
    for _ in range(options.frequency_masks):
        begin, width = _span(draws, num_bins, options.frequency_mask_bins)
        bands[:, :, begin : begin + width] = 0.0
    return masked


def _span(draws: np.random.Generator, size: int, widest: int) -> tuple[int, int]:
    """Begin and width, 0..widest, of a stretch inside 0..size."""
    width = int(draws.integers(min(widest, size) + 1))
    return int(draws.integers(size - width + 1)), width
