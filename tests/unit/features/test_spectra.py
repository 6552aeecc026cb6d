"""MFCC and LFBE against a slow twin of Kaldi's definition; streaming against offline."""

from __future__ import annotations

import numpy as np
import pydantic
import pytest

from pyasr.features.lfbe import compute_lfbe, lfbe_stream
from pyasr.features.mfcc import compute_mfcc, mfcc_stream
from pyasr.features.options import LfbeOptions, MfccOptions
from pyasr.features.stream import num_frames


def twin_log_mel(samples: np.ndarray, num_bins: int, low_hz: float = 20.0, high_hz: float = 8000.0) -> np.ndarray:
    """Log mel energies (T, num_bins) in float64, sample by sample as feature-window.cc and mel-computations.cc say."""
    wave = samples.astype(np.float64) * 32768
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85

    def mel(hz: float) -> float:
        return 1127.0 * np.log(1.0 + hz / 700.0)

    edges = np.linspace(mel(low_hz), mel(high_hz), num_bins + 2)
    weights = np.zeros((num_bins, 257))
    for b in range(num_bins):
        left, centre, right = edges[b : b + 3]
        for k in range(256):
            at = mel(k * 16000 / 512)
            if left < at < right:
                weights[b, k] = (at - left) / (centre - left) if at <= centre else (right - at) / (right - centre)
    rows = []
    for t in range((len(wave) + 80) // 160):
        frame = np.empty(400)
        for i in range(400):
            s = 160 * t + 80 - 200 + i
            while not 0 <= s < len(wave):
                s = -s - 1 if s < 0 else 2 * len(wave) - 1 - s
            frame[i] = wave[s]
        frame -= frame.mean()
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        power = np.abs(np.fft.rfft(frame * window, 512)) ** 2
        rows.append(np.log(np.maximum(weights @ power, np.finfo(np.float32).eps)))
    return np.array(rows).reshape(-1, num_bins)


def twin_mfcc(samples: np.ndarray, num_bins: int, num_ceps: int = 13) -> np.ndarray:
    log_mel = twin_log_mel(samples, num_bins)
    k, n = np.arange(num_ceps)[:, None], np.arange(num_bins)
    dct = np.sqrt(2 / num_bins) * np.cos(np.pi / num_bins * (n + 0.5) * k)
    dct[0] = np.sqrt(1 / num_bins)
    return log_mel @ dct.T * (1 + 11.0 * np.sin(np.pi * np.arange(num_ceps) / 22))


@pytest.mark.parametrize("num_bins", [23, 40])
def test_mfcc_is_kaldis(num_bins: int, speech_like) -> None:
    samples = speech_like(9777)
    ours = compute_mfcc(samples, MfccOptions(num_mel_bins=num_bins))
    assert ours.dtype == np.float32 and ours.shape == (61, 13)
    np.testing.assert_allclose(ours, twin_mfcc(samples, num_bins), atol=5e-3)


def test_lfbe_is_kaldis(speech_like) -> None:
    samples = speech_like(9777, seed=1)
    ours = compute_lfbe(samples)
    assert ours.dtype == np.float32 and ours.shape == (61, 64)
    np.testing.assert_allclose(ours, twin_log_mel(samples, 64), atol=2e-3)


@pytest.mark.parametrize("num_samples", [0, 1, 79, 80, 81, 159, 200, 239, 240, 399, 400, 401, 16000])
@pytest.mark.parametrize("compute", [compute_mfcc, compute_lfbe])
def test_number_of_frames(num_samples: int, compute, speech_like) -> None:
    frames = compute(speech_like(num_samples))
    assert len(frames) == num_frames(num_samples) == (num_samples + 80) // 160
    assert frames.shape[1] in (13, 64) and np.isfinite(frames).all()


@pytest.mark.parametrize("num_samples", [80, 97, 250, 399])
def test_shorter_than_a_window(num_samples: int, speech_like) -> None:
    samples = speech_like(num_samples)
    np.testing.assert_allclose(compute_lfbe(samples), twin_log_mel(samples, 64), atol=2e-3)


def test_digital_silence_is_finite() -> None:
    assert np.isfinite(compute_mfcc(np.zeros(16000, np.float32))).all()


def test_several_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="one channel"):
        compute_mfcc(np.zeros((2, 16000), np.float32))


@pytest.mark.parametrize("make, compute", [(mfcc_stream, compute_mfcc), (lfbe_stream, compute_lfbe)])
@pytest.mark.parametrize("chunk", [1, 37, 160, 400, 1600, 100000])
def test_streaming_is_offline(make, compute, chunk: int, speech_like) -> None:
    samples = speech_like(4321, seed=2)
    stream = make()
    chunks = [stream.accept(samples[i : i + chunk]) for i in range(0, len(samples), chunk)]
    streamed = np.concatenate([*chunks, stream.finish()])
    np.testing.assert_array_equal(streamed, compute(samples))


def test_streaming_delay() -> None:
    """A frame comes as soon as its window is complete: frame t needs samples up to 160 t + 280."""
    stream = lfbe_stream()
    assert len(stream.accept(np.zeros(279, np.float32))) == 0
    assert len(stream.accept(np.zeros(1, np.float32))) == 1


def test_options_contradict() -> None:
    with pytest.raises(pydantic.ValidationError, match="num_ceps"):
        MfccOptions(num_ceps=30)
    with pytest.raises(pydantic.ValidationError):
        LfbeOptions(high_hz=9000)
