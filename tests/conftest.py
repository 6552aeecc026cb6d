"""Fixtures for everybody: a corpus of tones, whose senones are known and which networks learn in a second; and the
folders of real speech, which not every machine has."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment

from pyasr.base.executor import SerialExecutor
from pyasr.base.seeds import rng
from pyasr.features.network import NetworkFrontend, estimate_frontend
from pyasr.features.options import LfbeOptions

TONES_HZ = (0.0, 400.0, 900.0, 2000.0)
NUM_SENONES = len(TONES_HZ)


@dataclass(frozen=True)
class Tones:
    """cuts: 12, of 0.5 to 2 s. senones: cut_id -> int32 (T10,)."""

    cuts: list
    senones: dict
    frontend: NetworkFrontend


def _make_cut(folder, number):
    draws = rng(number, "tones")
    phones = draws.integers(NUM_SENONES, size=draws.integers(4, 14))
    frames = np.repeat(phones, 15)
    time_s = np.arange(len(frames) * 160) / 16000
    samples = 0.2 * np.sin(2 * np.pi * np.repeat(np.array(TONES_HZ)[frames], 160) * time_s)
    samples = samples + draws.normal(scale=0.003, size=len(samples))
    path = folder / f"tone-{number}.flac"
    soundfile.write(path, samples, 16000)
    duration = len(samples) / 16000
    supervision = SupervisionSegment(path.stem, path.stem, 0.0, duration, speaker=f"s{number % 3}")
    recording = Recording.from_file(path, recording_id=path.stem)
    cut = MonoCut(path.stem, 0.0, duration, 0, supervisions=[supervision], recording=recording)
    return cut, frames.astype(np.int32)


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones")
    made = [_make_cut(folder, number) for number in range(12)]
    cuts = [cut for cut, _ in made]
    frontend = estimate_frontend(cuts, LfbeOptions(num_mel_bins=16), SerialExecutor())
    return Tones(cuts, {cut.id: senones for cut, senones in made}, frontend)


@pytest.fixture(scope="session")
def an4_dir() -> Path:
    """The AN4 corpus: set PYASR_AN4_DIR to run the tests that need it."""
    return _folder("PYASR_AN4_DIR")


@pytest.fixture(scope="session")
def noise_dir() -> Path:
    """Recorded noise with train/ and test/: set PYASR_NOISE_DIR to run the tests that need it."""
    return _folder("PYASR_NOISE_DIR")


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    if not Path(value).is_dir():
        pytest.fail(f"{variable}={value} is not a folder")
    return Path(value).resolve()
