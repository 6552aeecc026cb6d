"""Synthesised noise: five-second clips whose kinds are disjoint between noise/train and noise/test.

Train: white, pink, hum, rain, modulated band noise. Test: brown noise with gusts, babble of synthetic voices that
belong to no speaker, a keyboard, an engine.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from pyasr.base.artifact import atomic_path
from pyasr.base.executor import run_jobs
from pyasr.base.seeds import rng
from pyasr.corpora.demo.prompts import draw_prompt
from pyasr.corpora.demo.speak import Request, resample, speak
from pyasr.corpora.demo.speakers import make_speakers

SAMPLING_RATE = 16000
CLIP_S = 5.0
_LENGTH = int(CLIP_S * SAMPLING_RATE)
_BABBLE_VOICES = 5
_RMS = 0.1


def _shaped(draw: np.random.Generator, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Gaussian noise with the magnitude gain(frequency in Hz)."""
    spectrum = np.fft.rfft(draw.standard_normal(_LENGTH))
    return np.fft.irfft(spectrum * gain(np.fft.rfftfreq(_LENGTH, 1 / SAMPLING_RATE)), _LENGTH)


def _time() -> np.ndarray:
    return np.arange(_LENGTH) / SAMPLING_RATE


def _white(draw: np.random.Generator) -> np.ndarray:
    return draw.standard_normal(_LENGTH)


def _pink(draw: np.random.Generator) -> np.ndarray:
    return _shaped(draw, lambda hz: 1 / np.sqrt(np.maximum(hz, 20)))


def room_noise(draw: np.random.Generator, length: int) -> np.ndarray:
    """(length,) of unit power: the quiet background of a recording, between pink and white."""
    padded = 1 << (length - 1).bit_length()  # a length that factors well
    hz = np.fft.rfftfreq(padded, 1 / SAMPLING_RATE)
    spectrum = np.fft.rfft(draw.standard_normal(padded)) / np.maximum(hz, 50) ** draw.uniform(0.1, 0.6)
    noise = np.fft.irfft(spectrum, padded)[:length]
    return noise / np.sqrt(np.mean(noise**2))


def _hum(draw: np.random.Generator) -> np.ndarray:
    base = draw.choice([50.0, 60.0]) * draw.uniform(0.99, 1.01)
    harmonics = range(1, int(draw.integers(12, 40)))
    tones = [np.sin(2 * np.pi * (base * k * _time() + draw.random())) / k ** draw.uniform(0.3, 1.0) for k in harmonics]
    return np.sum(tones, axis=0) + 0.1 * _pink(draw) / 0.05


def _rain(draw: np.random.Generator) -> np.ndarray:
    drops = (draw.random(_LENGTH) < draw.uniform(0.005, 0.03)) * draw.exponential(1.0, _LENGTH)
    ring = np.exp(-np.arange(160) / draw.uniform(8, 30)) * draw.standard_normal(160)
    return np.convolve(drops, ring)[:_LENGTH]


def _band(draw: np.random.Generator) -> np.ndarray:
    centre, width = draw.uniform(300, 3500), draw.uniform(200, 1500)
    noise = _shaped(draw, lambda hz: np.exp(-(((hz - centre) / width) ** 2)) + 0.02)
    return noise * (1 + 0.8 * np.sin(2 * np.pi * (draw.uniform(0.5, 6) * _time() + draw.random())))


def _brown(draw: np.random.Generator) -> np.ndarray:
    gusts = 1 + 0.7 * np.sin(2 * np.pi * (draw.uniform(0.2, 1.0) * _time() + draw.random()))
    return _shaped(draw, lambda hz: 1 / np.maximum(hz, 60)) * gusts


def _keyboard(draw: np.random.Generator) -> np.ndarray:
    clicks = np.zeros(_LENGTH)
    at = draw.uniform(0, 0.1)
    while at < CLIP_S - 0.1:
        length = int(draw.uniform(0.02, 0.06) * SAMPLING_RATE)
        start = int(at * SAMPLING_RATE)
        click = draw.standard_normal(length) * np.exp(-np.arange(length) / (length / 4))
        clicks[start : start + length] += draw.uniform(0.3, 1.0) * click
        at += draw.uniform(0.05, 0.25)
    dull = np.convolve(clicks, np.hanning(10) / 5)[:_LENGTH]
    return dull + 0.5 * np.sqrt(np.mean(dull**2)) * room_noise(draw, _LENGTH)


def _engine(draw: np.random.Generator) -> np.ndarray:
    turning = draw.uniform(25, 60) * (1 + 0.1 * np.sin(2 * np.pi * (draw.uniform(0.1, 0.6) * _time() + draw.random())))
    phase = 2 * np.pi * np.cumsum(turning) / SAMPLING_RATE
    tones = np.sum([np.sin(k * phase + 7 * draw.random()) / k for k in range(1, 50)], axis=0)
    return tones + np.sqrt(np.mean(tones**2)) * room_noise(draw, _LENGTH)


def _babble(draw: np.random.Generator, codes: dict[str, dict[str, str]], seed: int, clip: int) -> np.ndarray:
    mixed = np.zeros(_LENGTH)
    for speaker in make_speakers("babble", _BABBLE_VOICES, clip * _BABBLE_VOICES, seed):
        words = [word for _ in range(6) for word in draw_prompt(draw)]
        text = " ".join("[[" + "|".join(codes[speaker.voice][word].split()) + "]]" for word in words)
        request = Request(f"{speaker.voice}+{speaker.variant}", text, speaker.rate, speaker.pitch, speaker.range)
        reply = speak([request])[0]
        voice = np.resize(resample(reply.samples, reply.rate, SAMPLING_RATE), 2 * _LENGTH)
        start = int(draw.integers(_LENGTH))
        part = voice[start : start + _LENGTH]
        mixed += part / np.sqrt(np.mean(part**2) + 1e-9)
    return mixed


_KINDS: dict[str, dict[str, Callable[[np.random.Generator], np.ndarray]]] = {
    "train": {"white": _white, "pink": _pink, "hum": _hum, "rain": _rain, "band": _band},
    "test": {"brown": _brown, "keyboard": _keyboard, "engine": _engine},
}


def write_noise(
    folder: Path, clips: int, codes: dict[str, dict[str, str]], seed: int, executor: Executor
) -> None:
    """Write `clips` five-second clips of each kind to folder/train and folder/test as 16 kHz FLAC."""
    kinds = [(part, kind) for part, makers in _KINDS.items() for kind in makers] + [("test", "babble")]
    jobs = [(part, kind, clip) for part, kind in kinds for clip in range(clips)]
    run_jobs(executor, partial(_write_clip, folder=folder, codes=codes, seed=seed), jobs, "synthesising noise", "clip")


def _write_clip(job: tuple[str, str, int], folder: Path, codes: dict[str, dict[str, str]], seed: int) -> None:
    part, kind, clip = job
    draw = rng(seed, "demo-noise", kind, clip)
    samples = _babble(draw, codes, seed, clip) if kind == "babble" else _KINDS[part][kind](draw)
    samples = samples - samples.mean()
    samples *= min(_RMS / np.sqrt(np.mean(samples**2)), 0.99 / np.abs(samples).max())
    with atomic_path(folder / part / f"{kind}{clip}.flac") as temporary:
        soundfile.write(str(temporary), samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
