"""Reading the samples of a cut."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from lhotse import MonoCut
from lhotse.augmentation.torchaudio import get_or_create_resampler
from lhotse.cut import Cut

from pyasr.base.errors import DataError
from pyasr.features.options import SAMPLING_RATE

_LENGTH_TOLERANCE_S = 0.025
"""Manifests round durations; a file that is shorter by more than this is truncated."""


def load_samples(cut: Cut, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """Samples (n,) float32 of a single-channel Lhotse cut, in [-1, 1], at `sampling_rate` Hz.

    DataError names cut and file: missing, empty, truncated or undecodable audio, several channels, values
    that are not finite, and sources that would run a command or open a connection.
    """
    if not isinstance(cut, MonoCut):
        raise DataError(f"{cut.id}: a {type(cut).__name__}; make it a cut of one channel of one recording")
    where = f"{cut.id}: {describe_source(cut)}"
    for source in cut.recording.sources:
        if source.type in ("command", "url"):
            raise DataError(f"{where}: audio from a {source.type} is not read; save it to a file first")
        if source.type == "file" and not Path(source.source).is_file():
            raise DataError(f"{where}: no such file")
        if source.type == "file" and Path(source.source).stat().st_size == 0:
            raise DataError(f"{where}: the file is empty")
    try:
        samples = _read(cut)
    except Exception as error:  # lhotse passes on whatever its many decoders raise
        raise DataError(f"{where}: cannot be decoded: {_cause(error)}") from error
    missing_s = (cut.num_samples - len(samples)) / cut.sampling_rate
    if missing_s > _LENGTH_TOLERANCE_S:
        raise DataError(f"{where}: truncated: {missing_s:.2f} s of {cut.duration:.2f} s are missing")
    samples = samples[: cut.num_samples].astype(np.float32, copy=False)
    samples = resample(samples, cut.sampling_rate, sampling_rate)
    if not np.isfinite(samples).all():
        raise DataError(f"{where}: holds values that are not finite numbers")
    return samples


def _read(cut: MonoCut) -> np.ndarray:
    """(n,) samples as they are in the file."""
    if cut.recording.transforms:
        return cut.load_audio()[0]
    # Not cut.load_audio: it fills up to half a second of missing audio with a mirror image.
    source = next(source for source in cut.recording.sources if cut.channel in source.channels)
    samples = np.atleast_2d(source.load_audio(offset=cut.start, duration=cut.duration))
    return samples[source.channels.index(cut.channel)]


def describe_source(cut: MonoCut) -> str:
    """The files of a cut, for messages."""
    sources = cut.recording.sources
    return ", ".join(source.source if source.type == "file" else f"<{source.type}>" for source in sources)


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Samples (n,) float32 at another rate, (ceil(n * to_hz / from_hz),), by windowed-sinc interpolation."""
    if from_hz == to_hz or len(samples) == 0:
        return samples
    # torch's convolution; Recording.resample would need torchaudio or scipy.
    resampler = get_or_create_resampler(from_hz, to_hz)
    with torch.inference_mode():
        resampled = resampler(torch.from_numpy(np.ascontiguousarray(samples))).numpy()
    return resampled[: math.ceil(len(samples) * to_hz / from_hz)]


def _cause(error: Exception) -> str:
    """What the first decoder said: Lhotse lists all of them, with the arguments of every call."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    decoders = [line.rpartition(">: ")[2] for line in lines if line.startswith("Exception #")]
    return (decoders or lines or [type(error).__name__])[0]
