"""Deltas, splicing, stacking and mean normalisation against loops."""

from __future__ import annotations

import numpy as np
import pytest

from pyasr.base.errors import DataError
from pyasr.features.cmvn import RunningMean, speaker_cmvn
from pyasr.features.delta import add_deltas
from pyasr.features.splice import splice
from pyasr.features.stack import stack_frames

LENGTHS = [0, 1, 2, 3, 5, 97]


def matrix(length: int, dim: int = 13, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(3.0, 2.0, (length, dim)).astype(np.float32)


def slope(frames: np.ndarray, t: int, window: int) -> np.ndarray:
    last = len(frames) - 1
    total = sum(j * frames[min(max(t + j, 0), last)] for j in range(-window, window + 1))
    return total / (2 * sum(j * j for j in range(1, window + 1)))


@pytest.mark.parametrize("length", LENGTHS)
def test_first_deltas(length: int) -> None:
    frames = matrix(length)
    out = add_deltas(frames, order=1, window=2)
    assert out.shape == (length, 26) and out.dtype == np.float32
    np.testing.assert_array_equal(out[:, :13], frames)
    for t in range(length):
        np.testing.assert_allclose(out[t, 13:], slope(frames.astype(np.float64), t, 2), atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_second_deltas(length: int) -> None:
    """Kaldi convolves the windows: the same as the slope of slopes of frames repeated beyond the edges."""
    frames = matrix(length)
    out = add_deltas(frames)
    assert out.shape == (length, 39)
    if length == 0:
        return
    padded = np.concatenate([frames[:1]] * 8 + [frames] + [frames[-1:]] * 8).astype(np.float64)
    first = np.array([slope(padded, t, 2) for t in range(len(padded))])
    second = np.array([slope(first, t, 2) for t in range(len(padded))])
    np.testing.assert_allclose(out[:, 26:], second[8:-8], atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("left, right", [(0, 0), (3, 3), (4, 1)])
def test_splice(length: int, left: int, right: int) -> None:
    frames = matrix(length)
    out = splice(frames, left, right)
    assert out.shape == (length, 13 * (left + 1 + right)) and out.dtype == np.float32
    for t in range(length):
        row = [frames[min(max(t + j, 0), length - 1)] for j in range(-left, right + 1)]
        np.testing.assert_array_equal(out[t], np.concatenate(row))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 6, 7, 98])
@pytest.mark.parametrize("phase", [0, 1, 2])
def test_stack(length: int, phase: int) -> None:
    frames = matrix(length, dim=64)
    out = stack_frames(frames, 3, phase)
    expected = []
    t = phase
    while t + 3 <= length:
        expected.append(np.concatenate([frames[t], frames[t + 1], frames[t + 2]]))
        t += 3
    assert out.shape == (len(expected), 192)
    np.testing.assert_array_equal(out, np.array(expected, np.float32).reshape(-1, 192))


def test_stack_refuses_a_phase_out_of_range() -> None:
    with pytest.raises(ValueError, match="phase 3"):
        stack_frames(matrix(9), 3, 3)


def test_mean_and_deviation_of_speakers() -> None:
    frames = {"a": matrix(5, seed=1), "b": matrix(0), "c": matrix(7, seed=2), "d": matrix(1, seed=3)}
    cmvn = speaker_cmvn(frames, {"a": "x", "b": "x", "c": "y", "d": "x"})
    assert set(cmvn) == {"x", "y"} and cmvn["x"].dtype == np.float64
    pooled = np.concatenate([frames["a"], frames["d"]]).astype(np.float64)
    np.testing.assert_allclose(cmvn["x"], [pooled.mean(axis=0), pooled.std(axis=0)], rtol=1e-9)
    other = frames["c"].astype(np.float64)
    np.testing.assert_allclose(cmvn["y"], [other.mean(axis=0), other.std(axis=0)], rtol=1e-9)


def test_a_coefficient_that_does_not_vary_is_not_divided_by_zero() -> None:
    assert (speaker_cmvn({"a": np.ones((5, 3), np.float32)}, {"a": "x"})["x"][1] > 0).all()


def test_speaker_without_frames() -> None:
    with pytest.raises(DataError, match="speaker x"):
        speaker_cmvn({"a": matrix(0)}, {"a": "x"})


def test_running_mean_is_its_definition() -> None:
    frames, prior = matrix(50), np.full(13, 2.0)
    out = RunningMean(prior, prior_frames=10, window_frames=20)(frames)
    decay = 1 - 1 / 20
    for t in range(50):
        weights = decay ** np.arange(t, -1, -1.0)
        start = 10 * decay ** (t + 1)
        mean = (start * prior + weights @ frames[: t + 1].astype(np.float64)) / (start + weights.sum())
        np.testing.assert_allclose(out[t], frames[t] - mean, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
def test_running_mean_in_chunks(chunk: int) -> None:
    frames, prior = matrix(101, 64), np.zeros(64)
    whole = RunningMean(prior)(frames)
    running = RunningMean(prior)
    chunks = [running(frames[i : i + chunk]) for i in range(0, len(frames), chunk)]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)


def test_running_mean_is_causal() -> None:
    frames = matrix(40)
    changed = frames.copy()
    changed[20:] += 100
    prior = np.zeros(13)
    np.testing.assert_array_equal(RunningMean(prior)(frames)[:20], RunningMean(prior)(changed)[:20])
    assert RunningMean(prior)(frames[:0]).shape == (0, 13)
