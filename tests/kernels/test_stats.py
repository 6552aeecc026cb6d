"""Grouped statistics against their slow twin."""

import numpy as np
import pytest

from pyasr.ops import reference
from pyasr.ops.stats import accumulate_stats


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "frames, dim, keys", [(0, 3, 2), (5, 0, 2), (1, 1, 1), (3, 97, 5), (97, 40, 13), (1025, 39, 300)]
)
def test_equals_the_twin(frames, dim, keys, weighted):
    rng = np.random.default_rng(frames)
    features = rng.normal(size=(frames, dim)).astype(np.float32)
    labels = rng.integers(-1, keys, frames).astype(np.int32)
    weights = rng.random(frames).astype(np.float32) if weighted else None
    expected = reference.accumulate_stats(features, labels, keys, weights)
    for num_threads in (1, 3):
        for ours, theirs in zip(accumulate_stats(features, labels, keys, weights, num_threads), expected):
            assert ours.dtype == np.float64
            np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-13)


def test_threads_change_no_bit():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(999, 37)).astype(np.float32), rng.integers(0, 9, 999).astype(np.int32)
    for one, many in zip(
        accumulate_stats(features, labels, 9, num_threads=1), accumulate_stats(features, labels, 9, num_threads=4)
    ):
        np.testing.assert_array_equal(one, many)


def test_strided_features_are_read_right():
    features = np.arange(60, dtype=np.float32).reshape(6, 10)[::2, ::3]
    labels = np.array([0, 1, 0], np.int32)
    np.testing.assert_array_equal(
        accumulate_stats(features, labels, 2)[1], reference.accumulate_stats(features, labels, 2)[1]
    )


def test_bad_input_is_refused():
    features, labels = np.zeros((3, 2), np.float32), np.array([0, 1, 0], np.int32)
    with pytest.raises(ValueError, match=r"key of frame 1 is 1, outside \[-1, 1\)"):
        accumulate_stats(features, labels, 1)
    with pytest.raises(ValueError, match="feature 1 of frame 2 is nan"):
        accumulate_stats(np.array([[0, 0], [0, 0], [0, np.nan]], np.float32), labels, 2)
    with pytest.raises(ValueError, match="weight of frame 0 is inf"):
        accumulate_stats(features, labels, 2, np.array([np.inf, 0, 0], np.float32))
    with pytest.raises(ValueError, match="number of keys against frames: 2 is not 3"):
        accumulate_stats(features, labels[:2], 2)
    with pytest.raises(ValueError, match="number of weights: 0 is not 3"):
        accumulate_stats(features, labels, 2, np.empty(0, np.float32))
    with pytest.raises(ValueError, match="num_keys is -1"):
        accumulate_stats(features, labels, -1)
    with pytest.raises(TypeError, match="features is float64"):
        accumulate_stats(features.astype(np.float64), labels, 2)
    with pytest.raises(TypeError, match="keys is int64"):
        accumulate_stats(features, labels.astype(np.int64), 2)
