"""Additive noise at a stated signal-to-noise ratio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from pyasr.base import seeds
from pyasr.base.errors import DataError
from pyasr.features.audio import resample
from pyasr.features.options import SAMPLING_RATE

_ACTIVE_FRAME = SAMPLING_RATE // 50
_ACTIVE_RANGE = 10.0 ** (-30.0 / 10.0)
_DRAWS = 20


@dataclass(frozen=True)
class NoiseClip:
    """One recording: its file, rate in Hz and length in samples at that rate."""

    path: Path
    sampling_rate: int
    num_samples: int


@dataclass(frozen=True)
class NoisePool:
    """The recordings of a noise folder (train/ or test/), sorted by name; files are read when drawn."""

    folder: Path
    clips: tuple[NoiseClip, ...]

    @classmethod
    def open(cls, folder: str | Path) -> NoisePool:
        """All .flac and .wav files below `folder`, of any rate; DataError: no folder, no file, a bad file."""
        folder = Path(folder)
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; --noise-dir needs the folders train/ and test/")
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".flac", ".wav"))
        if not files:
            raise DataError(f"{folder}: no .flac or .wav file; put recordings of noise there")
        return cls(folder, tuple(_inspect(path) for path in files))

    def draw(self, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """(num_samples,) float32 of a drawn clip at 16 kHz from a drawn offset, looped if short."""
        clip = self.clips[rng.integers(len(self.clips))]
        start = int(rng.integers(clip.num_samples))
        needed = -(-num_samples * clip.sampling_rate // SAMPLING_RATE)
        try:
            with soundfile.SoundFile(clip.path) as stream:
                stream.seek(start)
                noise = stream.read(min(needed, clip.num_samples - start), dtype="float32", always_2d=True)
                while len(noise) < needed:
                    stream.seek(0)
                    more = stream.read(needed - len(noise), dtype="float32", always_2d=True)
                    if len(more) == 0:
                        raise DataError(f"{clip.path}: truncated; remove or replace it")
                    noise = np.concatenate([noise, more])
        except soundfile.LibsndfileError as error:
            raise DataError(f"{clip.path}: cannot be read: {error}; remove or replace it") from error
        noise = resample(noise[:, 0], clip.sampling_rate, SAMPLING_RATE)[:num_samples]
        if not np.isfinite(noise).all():
            raise DataError(f"{clip.path}: holds values that are not finite numbers; remove or replace it")
        return noise - noise.mean(dtype=np.float64).astype(np.float32)


def _inspect(path: Path) -> NoiseClip:
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path}: cannot be read: {error}; remove or replace it") from error
    if info.frames == 0:
        raise DataError(f"{path}: holds no sample; remove or replace it")
    return NoiseClip(path, info.samplerate, info.frames)


def speech_power(samples: np.ndarray) -> float:
    """Mean square of (n,) samples over their speech part.

    The speech part are the 20 ms frames at most 30 dB below the loudest one: pauses around and between words
    are left out, so an utterance with long pauses is not given less noise. 0.0 for silence or no samples.
    """
    if len(samples) < _ACTIVE_FRAME:
        return _power(samples)
    whole = len(samples) // _ACTIVE_FRAME * _ACTIVE_FRAME
    powers = np.mean(np.square(samples[:whole].reshape(-1, _ACTIVE_FRAME), dtype=np.float64), axis=1)
    return float(powers[powers >= _ACTIVE_RANGE * powers.max()].mean())


def add_noise(
    samples: np.ndarray, pool: NoisePool, snr_db: float, rng: np.random.Generator, num_noises: int = 1
) -> np.ndarray:
    """Add noise from `pool` to samples (n,) float32; the sum (n,) float32 is not clipped to [-1, 1].

    snr_db: 10 log10 of the speech's power over its speech part (`speech_power`) to the noise's power over the
    whole of the n samples (so a burst far from the speech is not blown up). num_noises: that many draws are
    set to equal power and summed before they are scaled. Silent stretches of a recording are drawn again.
    DataError when the speech is silent or the pool gives nothing but silence.
    """
    level = speech_power(samples)
    if not level > 0.0:
        raise DataError("silent audio: noise cannot be added at a ratio to it")
    noise = np.sum([_draw_unit(pool, len(samples), rng) for _ in range(num_noises)], axis=0)
    power = _power(noise)
    if not power > 0.0:
        raise DataError(f"{pool.folder}: the noises drawn cancel each other")
    return samples + (noise * np.sqrt(level / power * 10.0 ** (-snr_db / 10.0))).astype(np.float32)


def _draw_unit(pool: NoisePool, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise (n,) float64 of power 1."""
    for _ in range(_DRAWS):
        noise = pool.draw(num_samples, rng).astype(np.float64)
        power = _power(noise)
        if power > 1e-12:
            return noise / np.sqrt(power)
    raise DataError(f"{pool.folder}: {_DRAWS} noises drawn and all silent; put recordings of noise there")


def _power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0


@dataclass(frozen=True)
class NoiseSpec:
    """A test condition: noise of `pool` at `snr_db`, drawn as a function of (seed, snr_db, cut id) alone."""

    pool: NoisePool
    snr_db: float
    seed: int

    def add(self, samples: np.ndarray, cut_id: str) -> np.ndarray:
        """The samples (n,) of cut `cut_id` in this condition; errors as `add_noise`."""
        draws = seeds.rng(self.seed, "test-noise", f"{self.snr_db:g}", cut_id)
        return add_noise(samples, self.pool, self.snr_db, draws)
