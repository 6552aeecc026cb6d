"""Augmentation is a function of (seed, epoch, cut id) and does what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydantic
import pytest
import soundfile

from pyasr.features import augment
from pyasr.features.augment import AugmentOptions
from pyasr.features.lfbe import compute_lfbe
from pyasr.features.noise import NoisePool
from pyasr.features.options import LfbeOptions

LFBE = LfbeOptions()

OPTIONS = AugmentOptions(
    speeds=(0.9, 1.0, 1.1),
    noise_p=0.5,
    warp=0.1,
    time_masks=2,
    time_mask_frames=10,
    frequency_masks=2,
    frequency_mask_bins=8,
)


@pytest.fixture
def pool(tmp_path: Path) -> NoisePool:
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(30000), 16000)
    return NoisePool.open(tmp_path)


def everything(pool: NoisePool, samples: np.ndarray, seed: int, epoch: int, cut_id: str) -> list:
    key = (seed, epoch, cut_id)
    frames = np.ones((97, 64), np.float32)
    return [
        augment.draw_speed(OPTIONS, *key),
        augment.draw_warp(OPTIONS, *key),
        augment.draw_phase(OPTIONS, 3, *key),
        augment.draw_noise(samples, OPTIONS, pool, *key).tobytes(),
        augment.mask(frames, OPTIONS, *key).tobytes(),
    ]


def test_depends_on_the_key_alone(pool: NoisePool, speech_like) -> None:
    samples = speech_like(8000)
    keys = [(seed, epoch, cut_id) for seed in (1, 2) for epoch in (0, 1) for cut_id in ("a", "b", "c")]
    forward = {key: everything(pool, samples, *key) for key in keys}
    backward = {key: everything(pool, samples, *key) for key in reversed(keys)}
    assert forward == backward
    for position in range(5):
        assert len({forward[key][position] for key in keys}) > 1


def test_draws_are_spread() -> None:
    speeds = [augment.draw_speed(OPTIONS, 0, 0, f"cut-{i}") for i in range(300)]
    phases = [augment.draw_phase(OPTIONS, 3, 0, 0, f"cut-{i}") for i in range(300)]
    for values, expected in ((speeds, (0.9, 1.0, 1.1)), (phases, (0, 1, 2))):
        assert set(values) == set(expected)
        assert min(values.count(value) for value in expected) > 70
    assert len(set(zip(speeds, phases))) == 9  # independent of each other


def test_noise_probability_and_range(pool: NoisePool, speech_like) -> None:
    samples = speech_like(4000)
    same = sum(
        augment.draw_noise(samples, OPTIONS, pool, 0, 0, f"cut-{i}") is samples for i in range(200)
    )
    assert 70 < same < 130
    none = AugmentOptions()
    assert augment.draw_noise(samples, none, pool, 0, 0, "a") is samples


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("num_samples", [0, 1, 4001, 16000])
def test_speed(factor: float, num_samples: int) -> None:
    samples = np.sin(2 * np.pi * 500 * np.arange(num_samples) / 16000).astype(np.float32)
    fast = augment.change_speed(samples, factor)
    assert fast.dtype == np.float32 and len(fast) == int(np.ceil(num_samples * 16000 / round(16000 * factor)))
    if num_samples == 16000:
        peak_hz = np.argmax(np.abs(np.fft.rfft(fast))) * 16000 / len(fast)
        assert peak_hz == pytest.approx(500 * factor, abs=2)
    if factor == 1.0:
        np.testing.assert_array_equal(fast, samples)


@pytest.mark.parametrize("length", [0, 1, 5, 97])
def test_mask_is_bounded(length: int) -> None:
    frames = np.ones((length, 192), np.float32)
    for i in range(50):
        masked = augment.mask(frames, OPTIONS, 0, i, "a", num_bins=64)
        assert masked.shape == frames.shape and set(np.unique(masked)) <= {0.0, 1.0}
        if length == 97:
            whole_rows = (masked == 0).all(axis=1).sum()
            bands = (masked == 0).all(axis=0).reshape(3, 64)
            assert whole_rows <= 20 and bands.sum(axis=1).max() <= 16
            assert (bands == bands[0]).all()  # the same band in each of the stacked frames
    assert (frames == 1).all()


def test_warping_moves_frequencies_and_keeps_the_rest() -> None:
    time_s = np.arange(16000) / 16000
    tones = [compute_lfbe(np.sin(2 * np.pi * hz * time_s).astype(np.float32), LFBE) for hz in (1000, 1100)]
    for factor, frames, expected in ((1.1, tones[1], tones[0]), (1 / 1.1, tones[0], tones[1])):
        warped = augment.warp_frequencies(frames, factor, LFBE)
        assert warped.dtype == np.float32 and warped.shape == frames.shape
        assert abs(int(warped.mean(axis=0).argmax()) - int(expected.mean(axis=0).argmax())) <= 1
    assert augment.warp_frequencies(tones[0], 1.0, LFBE) is tones[0]
    flat = np.full((3, 64), 2.5, np.float32)
    np.testing.assert_allclose(augment.warp_frequencies(flat, 1.3, LFBE), flat, rtol=1e-6)
    assert augment.warp_frequencies(flat[:0], 0.9, LFBE).shape == (0, 64)


def test_the_range_of_warping() -> None:
    factors = [augment.draw_warp(AugmentOptions(warp=0.2), 0, 0, f"cut-{i}") for i in range(200)]
    assert 0.8 <= min(factors) < 0.82 and 1.18 < max(factors) <= 1.2
    assert augment.draw_warp(AugmentOptions(), 0, 0, "a") == 1.0


def test_defaults_mask_nothing() -> None:
    frames = np.ones((50, 64), np.float32)
    np.testing.assert_array_equal(augment.mask(frames, AugmentOptions(), 0, 0, "a"), frames)


@pytest.mark.parametrize(
    "bad", [{"speeds": ()}, {"speeds": (0.1,)}, {"snr_db": (20, 5)}, {"noise_p": 1.5}, {"warp": 0.5}]
)
def test_bad_options(bad: dict) -> None:
    with pytest.raises(pydantic.ValidationError):
        AugmentOptions(**bad)
