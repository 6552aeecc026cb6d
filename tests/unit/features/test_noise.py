"""Noise: the ratio reached, draws that depend on their key alone, bad pools and silent speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pyasr.base.errors import DataError
from pyasr.base.seeds import rng
from pyasr.features.noise import NoisePool, NoiseSpec, add_noise, speech_power


def write_noise(folder: Path, rate: int = 16000, lengths: tuple[int, ...] = (8000, 40000), scale: float = 0.1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, length in enumerate(lengths):
        wave = scale * np.random.default_rng(i).standard_normal(length)
        soundfile.write(folder / f"noise-{i}.{'flac' if i % 2 else 'wav'}", wave.clip(-1, 1), rate)
    return folder


@pytest.fixture
def pool(tmp_path: Path) -> NoisePool:
    return NoisePool.open(write_noise(tmp_path / "noise"))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 5.0, 10.0, 20.0])
@pytest.mark.parametrize("num_noises", [1, 3])
@pytest.mark.parametrize("num_samples", [500, 16000, 100000])
def test_ratio(pool: NoisePool, speech_like, snr_db: float, num_noises: int, num_samples: int) -> None:
    samples = speech_like(num_samples)
    noisy = add_noise(samples, pool, snr_db, rng(1, "n"), num_noises)
    assert noisy.shape == samples.shape and noisy.dtype == np.float32
    noise = noisy.astype(np.float64) - samples
    reached = 10 * np.log10(speech_power(samples) / np.mean(noise**2))
    assert reached == pytest.approx(snr_db, abs=0.01)


def test_pauses_do_not_change_the_ratio(speech_like) -> None:
    tone = 0.3 * np.sin(np.arange(16000)).astype(np.float32)
    padded = np.concatenate([np.zeros(32000, np.float32), tone, np.zeros(32000, np.float32)])
    assert speech_power(padded) == pytest.approx(speech_power(tone), rel=0.02)
    assert speech_power(tone) == pytest.approx(0.045, rel=0.01)


def test_no_clipping(pool: NoisePool) -> None:
    noisy = add_noise(np.full(16000, 0.9, np.float32), pool, -10, rng(1))
    assert np.abs(noisy).max() > 1.0


@pytest.mark.parametrize("rate", [8000, 44100])
def test_other_rates(tmp_path: Path, speech_like, rate: int) -> None:
    pool = NoisePool.open(write_noise(tmp_path / "noise", rate))
    for key in range(5):
        assert pool.draw(12345, rng(0, key)).shape == (12345,)


def test_short_clips_are_looped(tmp_path: Path) -> None:
    folder = tmp_path / "noise"
    folder.mkdir()
    period = np.linspace(-0.5, 0.5, 100)
    soundfile.write(folder / "a.wav", period, 16000, subtype="FLOAT")
    drawn = NoisePool.open(folder).draw(1000, rng(3))
    np.testing.assert_allclose(drawn[:900], drawn[100:], atol=1e-6)
    np.testing.assert_allclose(np.sort(drawn[:100]), period, atol=1e-6)


def test_fixed_draws(pool: NoisePool, speech_like) -> None:
    samples = speech_like(9000)
    spec = NoiseSpec(pool, 10.0, seed=5)
    first = spec.add(samples, "cut-a")
    other = spec.add(samples, "cut-b")
    np.testing.assert_array_equal(spec.add(samples, "cut-a"), first)
    np.testing.assert_array_equal(NoiseSpec(pool, 10, seed=5).add(samples, "cut-a"), first)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, NoiseSpec(pool, 10.0, seed=6).add(samples, "cut-a"))
    at_20 = NoiseSpec(pool, 20.0, seed=5).add(samples, "cut-a")
    assert abs(np.corrcoef(first - samples, at_20 - samples)[0, 1]) < 0.99


@pytest.mark.parametrize("samples", [np.zeros(16000, np.float32), np.zeros(10, np.float32), np.zeros(0, np.float32)])
def test_silent_speech(pool: NoisePool, samples: np.ndarray) -> None:
    with pytest.raises(DataError, match="silent audio"):
        add_noise(samples, pool, 10, rng(1))


def test_silent_stretches_are_drawn_again(tmp_path: Path, speech_like) -> None:
    folder = tmp_path / "noise"
    folder.mkdir()
    wave = np.zeros(80000)
    wave[:20000] = 0.1 * np.random.default_rng(0).standard_normal(20000)
    soundfile.write(folder / "burst.wav", wave, 16000)
    pool = NoisePool.open(folder)
    samples = speech_like(4000)
    for key in range(20):
        noise = add_noise(samples, pool, 10, rng(key)) - samples
        assert 10 * np.log10(speech_power(samples) / np.mean(noise**2)) == pytest.approx(10, abs=0.01)


def test_silent_pool(tmp_path: Path, speech_like) -> None:
    with pytest.raises(DataError, match="all silent"):
        add_noise(speech_like(4000), NoisePool.open(write_noise(tmp_path / "n", scale=0.0)), 10, rng(1))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; --noise-dir"):
        NoisePool.open(tmp_path / "nowhere")


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("no noise")
    with pytest.raises(DataError, match=r"no \.flac or \.wav"):
        NoisePool.open(tmp_path)


def test_empty_and_corrupt_files(tmp_path: Path) -> None:
    folder = write_noise(tmp_path / "noise")
    (folder / "bad.wav").write_bytes(b"junk" * 100)
    with pytest.raises(DataError, match=r"bad\.wav: cannot be read"):
        NoisePool.open(folder)
    soundfile.write(folder / "bad.wav", np.zeros(0), 16000)
    with pytest.raises(DataError, match=r"bad\.wav: holds no sample"):
        NoisePool.open(folder)


def test_file_damaged_inside(tmp_path: Path) -> None:
    folder = tmp_path / "noise"
    folder.mkdir()
    soundfile.write(folder / "a.flac", 0.1 * np.random.default_rng(0).standard_normal(80000), 16000)
    data = (folder / "a.flac").read_bytes()
    (folder / "a.flac").write_bytes(data[: len(data) // 3])
    pool = NoisePool.open(folder)
    with pytest.raises(DataError, match=r"a\.flac"):
        for key in range(20):
            pool.draw(80000, rng(key))
