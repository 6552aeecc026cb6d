"""Reading audio: rates, channels, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import AudioSource, Recording

from pyasr.base.errors import DataError
from pyasr.features.audio import load_samples, resample


def tone(hz: float, rate: int, seconds: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def test_samples_are_those_of_the_file(make_cut, speech_like) -> None:
    samples = speech_like(8123)
    loaded = load_samples(make_cut("a", samples, suffix=".flac"))
    assert loaded.dtype == np.float32 and loaded.shape == (8123,)
    np.testing.assert_allclose(loaded, samples, atol=1 / 32768)


@pytest.mark.parametrize("num_samples", [0, 1, 2, 159])
def test_very_short_files(make_cut, num_samples: int) -> None:
    cut = make_cut("a", np.full(100 + num_samples, 0.1, np.float32))
    if num_samples:
        part = cut.truncate(duration=num_samples / 16000)
        assert load_samples(part).shape == (num_samples,)
    assert load_samples(cut).shape == (100 + num_samples,)


def test_a_part_of_a_recording(make_cut, speech_like) -> None:
    samples = speech_like(32000)
    part = make_cut("a", samples).truncate(offset=0.5, duration=0.25)
    np.testing.assert_allclose(load_samples(part), samples[8000:12000], atol=1 / 32768)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_other_rates_are_resampled(make_cut, rate: int) -> None:
    loaded = load_samples(make_cut("a", tone(440, rate, 1.0), rate))
    assert loaded.shape == (16000,)
    np.testing.assert_allclose(loaded[500:-500], tone(440, 16000, 1.0)[500:-500], atol=3e-3)


def test_resample_cuts_what_the_new_rate_cannot_hold() -> None:
    assert np.abs(resample(tone(10000, 48000, 0.5), 48000, 16000)[200:-200]).max() < 0.01


def test_one_channel_of_two(make_cut, tmp_path: Path) -> None:
    left, right = tone(300, 16000, 0.5), tone(500, 16000, 0.5)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], axis=1), 16000)
    cut = Recording.from_file(tmp_path / "two.wav").to_cut()
    with pytest.raises(DataError, match="two: a MultiCut"):
        load_samples(cut)
    np.testing.assert_allclose(load_samples(cut.to_mono()[1]), right, atol=1 / 32768)


def damaged(cut, damage: str) -> str:
    path = Path(cut.recording.sources[0].source)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "junk":
        path.write_bytes(b"this is no audio" * 100)
    elif damage == "truncated":
        path.write_bytes(data[: len(data) * 3 // 4])
    elif damage == "not finite":
        soundfile.write(path, np.full(16000, np.nan, np.float32), 16000, format="WAV", subtype="FLOAT")
    return str(path)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("damage", ["missing", "empty", "junk", "truncated", "not finite"])
def test_damage_names_cut_and_file(make_cut, speech_like, damage: str, suffix: str) -> None:
    cut = make_cut("utt-7", speech_like(16000), suffix=suffix)
    path = damaged(cut, damage)
    with pytest.raises(DataError) as error:
        load_samples(cut)
    assert str(error.value).startswith(f"utt-7: {path}: ") and "\n" not in str(error.value)


def test_slightly_short_files_are_read(make_cut, speech_like) -> None:
    """Manifests round durations: up to 25 ms less than declared are no damage."""
    cut = make_cut("a", speech_like(16000))
    soundfile.write(cut.recording.sources[0].source, speech_like(15700), 16000)
    assert load_samples(cut).shape == (15700,)


def test_commands_are_not_run(make_cut, tmp_path: Path) -> None:
    cut = make_cut("a", np.zeros(1600, np.float32))
    cut.recording.sources = [AudioSource("command", [0], f"touch {tmp_path / 'ran'}")]
    with pytest.raises(DataError, match="audio from a command is not read"):
        load_samples(cut)
    assert not (tmp_path / "ran").exists()
