"""Cuts over audio files that a test writes itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import MonoCut, Recording

MakeCut = Callable[..., MonoCut]


@pytest.fixture
def make_cut(tmp_path: Path) -> MakeCut:
    """make_cut(cut_id, samples, rate=16000, suffix=".wav") writes the audio and returns a cut of all of it."""

    def make(cut_id: str, samples: np.ndarray, rate: int = 16000, suffix: str = ".wav") -> MonoCut:
        path = tmp_path / "audio" / f"{cut_id}{suffix}"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, rate, subtype="PCM_16")
        cut = Recording.from_file(path, recording_id=cut_id).to_cut()
        cut.id = cut_id
        return cut

    return make


@pytest.fixture
def speech_like() -> Callable[..., np.ndarray]:
    """speech_like(num_samples, seed=0): a modulated sum of tones, weak noise, pauses at both ends, (n,) float32."""
    return _speech_like


def _speech_like(num_samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time_s = np.arange(num_samples) / 16000
    tones = sum(np.sin(2 * np.pi * hz * time_s) / hz**0.5 for hz in rng.uniform(100, 4000, 8))
    envelope = np.clip(np.sin(2 * np.pi * 3 * time_s), 0, 1) * ((time_s > 0.2) & (time_s < num_samples / 16000 - 0.2))
    return (0.5 * tones * envelope + 1e-3 * rng.standard_normal(num_samples)).astype(np.float32).clip(-0.5, 0.5)
