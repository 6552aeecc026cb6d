"""Front end and resampling for live audio against those for whole recordings."""

import numpy as np
import pytest

from pyasr.features.audio import resample
from pyasr.features.network import NetworkFrontend
from pyasr.features.options import LfbeOptions
from pyasr.features.resample import ResampleStream


def chunks(samples, seed):
    """Of 0 to 3000 samples each."""
    ends = np.cumsum(np.random.default_rng(seed).integers(0, 3000, size=len(samples) // 1000 + 1))
    return np.split(samples, ends[ends < len(samples)])


@pytest.fixture(params=[1, 3, 4])
def frontend(request):
    options = LfbeOptions(num_mel_bins=10, stack=request.param)
    return NetworkFrontend(options, np.linspace(5, 9, 10, dtype=np.float32), np.linspace(1, 3, 10, dtype=np.float32))


@pytest.mark.parametrize("length", [0, 1, 100, 479, 480, 700, 16000, 16079])
def test_stacked_frames_are_the_same_bit_for_bit(frontend, speech_like, length):
    samples, live = speech_like(length), frontend.stream()
    found = [*(live.accept(part) for part in chunks(samples, length)), live.finish()]
    np.testing.assert_array_equal(np.concatenate(found), frontend.stacked(samples))


def test_samples_to_next_complete_exactly_one_frame(frontend, speech_like):
    samples, live, begin = speech_like(16000), frontend.stream(), 0
    while begin + live.samples_to_next <= len(samples):
        needed = live.samples_to_next
        assert len(live.accept(samples[begin : begin + needed - 1])) == 0
        assert len(live.accept(samples[begin + needed - 1 : begin + needed])) == 1
        begin += needed
    assert begin > 16000 - 1000


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("length", [0, 1, 777, 30000])
def test_live_resampling_is_that_of_the_whole(rate, length):
    samples = np.random.default_rng(rate).normal(scale=0.3, size=length).astype(np.float32)
    whole, found = resample(samples, rate, 16000), []
    for seed in (1, 2):
        live = ResampleStream(rate, 16000)
        found.append(np.concatenate([*map(live.accept, chunks(samples, seed)), live.finish()]))
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].shape == whole.shape
    np.testing.assert_allclose(found[0], whole, atol=1e-6)


def test_live_resampling_holds_little_back():
    live = ResampleStream(44100, 16000)
    out = sum(len(live.accept(np.zeros(441, np.float32))) for _ in range(100))
    assert 16000 - out < 0.025 * 16000
