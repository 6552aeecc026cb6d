"""Reading a user's audio file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from pyasr.base.errors import DataError
from pyasr.features.audio import resample
from pyasr.features.options import SAMPLING_RATE

LONGEST_S = 600.0
_SHORTEST_S = 0.1
_LOWEST_HZ = 8000


def read_audio(path: str | Path) -> np.ndarray:
    """Samples (n,) float32 in [-1, 1] at 16 kHz of a WAV, FLAC, OGG, MP3 or NIST sphere file.

    Several channels are averaged, other rates of at least 8 kHz resampled. DataError names the file: missing,
    empty, not audio, truncated, shorter than 0.1 s, longer than 10 minutes, values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    try:
        with soundfile.SoundFile(path) as file:
            rate, expected = file.samplerate, file.frames
            _check_length(path, expected / rate, rate)
            truncated = "(should be" in file.extra_info.partition("data :")[2].partition("\n")[0]
            samples = file.read(dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise DataError(f"{path}: cannot be read as audio ({error}); use WAV or FLAC") from error
    if truncated or len(samples) < expected:
        raise DataError(f"{path}: truncated: audio is missing at the end; copy or convert the file again")
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: holds values that are not finite numbers; convert the file again")
    return resample(np.ascontiguousarray(samples.mean(axis=1)), rate, SAMPLING_RATE)


def _check_length(path: Path, duration_s: float, rate: int) -> None:
    if rate < _LOWEST_HZ:
        raise DataError(f"{path}: {rate} Hz; at least {_LOWEST_HZ} Hz are needed")
    if duration_s < _SHORTEST_S:
        raise DataError(f"{path}: too short: {duration_s:.3f} s, at least {_SHORTEST_S} s are needed")
    if duration_s > LONGEST_S:
        raise DataError(f"{path}: {duration_s:.0f} s long; cut it into parts of at most {LONGEST_S:.0f} s")
