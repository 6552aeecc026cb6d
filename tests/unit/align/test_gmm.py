import math
import pickle

import numpy as np
import pytest

from pyasr.align.gmm import DiagGmm, GmmStats
from pyasr.align.mixtures import estimate, grow, growth_targets
from pyasr.align.options import MixtureOptions
from pyasr.base.errors import DataError
from pyasr.base.seeds import rng

SIZES = (3, 1, 4)
LOOSE = MixtureOptions(
    min_gaussian_occupancy=1e-3, min_gaussian_weight=0.0, min_split_occupancy=1.0, variance_smoothing=0.0
)


@pytest.fixture
def bank():
    random = rng(0, "bank")
    offsets = np.concatenate([[0], np.cumsum(SIZES)])
    weights = np.concatenate([random.dirichlet(np.ones(size)) for size in SIZES])
    means = 3 * random.standard_normal((offsets[-1], 5))
    return DiagGmm(weights, means, random.uniform(0.3, 3.0, means.shape), offsets)


def frames(count=200):
    return (3 * rng(1, "frames").standard_normal((count, 5))).astype(np.float32)


def exact(bank, x, pdf):
    """log p(x | pdf) term by term in float64."""
    total = 0.0
    for m in range(bank.offsets[pdf], bank.offsets[pdf + 1]):
        logp = math.log(bank.weights[m])
        for d in range(bank.dim):
            variance = bank.variances[m, d]
            logp -= 0.5 * (math.log(2 * math.pi * variance) + (float(x[d]) - bank.means[m, d]) ** 2 / variance)
        total += math.exp(logp)
    return math.log(total)


def test_loglikes_are_those_of_the_formula(bank):
    features = frames(20)
    expected = [[exact(bank, x, pdf) for pdf in range(3)] for x in features]
    result = bank.loglikes(features)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4)


def test_a_subset_of_pdfs_gives_their_columns(bank):
    features = frames()
    np.testing.assert_allclose(bank.loglikes(features, np.array([2, 0])), bank.loglikes(features)[:, [2, 0]], rtol=1e-6)
    assert bank.loglikes(features[:0]).shape == (0, 3)


def test_long_utterances_are_taken_in_blocks(bank, monkeypatch):
    whole = bank.loglikes(frames())
    monkeypatch.setattr("pyasr.align.gmm._VALUES_AT_ONCE", 60)
    np.testing.assert_allclose(bank.loglikes(frames()), whole, rtol=1e-5, atol=1e-5)


def test_far_frames_stay_finite(bank):
    assert np.isfinite(bank.loglikes(np.full((1, 5), 1e4, np.float32))).all()


def test_statistics_are_posterior_weighted_sums(bank):
    features = frames()
    pdf_ids = rng(2, "pdfs").integers(-1, 3, len(features)).astype(np.int32)
    stats, loglike = bank.accumulate(features, pdf_ids)
    expected, expected_loglike = GmmStats.zeros(bank.num_gauss, 5), 0.0
    for x, pdf in zip(features.astype(np.float64), pdf_ids):
        if pdf < 0:
            continue
        expected_loglike += exact(bank, x, pdf)
        for m in range(bank.offsets[pdf], bank.offsets[pdf + 1]):
            part = DiagGmm(np.ones(1), bank.means[m : m + 1], bank.variances[m : m + 1], np.array([0, 1]))
            gamma = bank.weights[m] * math.exp(exact(part, x, 0) - exact(bank, x, pdf))
            expected.occupancy[m] += gamma
            expected.sum[m] += gamma * x
            expected.sumsq[m] += gamma * x * x
    assert loglike == pytest.approx(expected_loglike, rel=1e-6)
    np.testing.assert_allclose(stats.occupancy, expected.occupancy, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stats.sum, expected.sum, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(stats.sumsq, expected.sumsq, rtol=1e-4, atol=1e-4)


def test_em_never_lowers_the_likelihood(bank):
    features = frames(600)
    pdf_ids = (np.arange(600) % 3).astype(np.int32)
    before = -np.inf
    for _ in range(15):
        stats, loglike = bank.accumulate(features, pdf_ids)
        assert loglike >= before - 1e-3
        before = loglike
        bank, removed = estimate(bank, stats, np.full(5, 1e-6), LOOSE)
        assert removed == 0


def test_thin_components_are_removed_and_counted_and_the_last_one_stays(bank):
    stats = GmmStats(np.array([50.0, 1.0, 49.0, 2.0, 0, 0, 0, 0]), np.ones((8, 5)), np.full((8, 5), 100.0))
    new, removed = estimate(bank, stats, np.full(5, 0.01), MixtureOptions())
    assert removed == 1
    assert np.diff(new.offsets).tolist() == [2, 1, 4]  # the pdf without any frame is as it was
    np.testing.assert_array_equal(new.means[2], bank.means[3])  # too few frames: mean and variance kept
    np.testing.assert_allclose(np.add.reduceat(new.weights, new.offsets[:-1]), 1.0)
    np.testing.assert_allclose(new.means[0], 1 / 50)
    kept, removed = estimate(bank, stats, np.full(5, 0.01), MixtureOptions(), remove=False)
    assert (kept.num_gauss, removed) == (8, 0)


def test_variances_are_floored(bank):
    stats = GmmStats(np.full(8, 100.0), np.full((8, 5), 200.0), np.full((8, 5), 400.0))
    new, _ = estimate(bank, stats, np.full(5, 0.25), MixtureOptions())
    np.testing.assert_array_equal(new.variances, 0.25)


def test_smoothed_variances_lie_between_their_own_and_the_average_of_the_pdf(bank):
    features = frames(600)
    stats, _ = bank.accumulate(features, (np.arange(600) % 3).astype(np.int32))
    own, smooth, flat = (
        estimate(bank, stats, np.zeros(5), LOOSE.model_copy(update={"variance_smoothing": count}))[0].variances
        for count in (0.0, 20.0, 1e9)
    )
    mean = stats.sum / stats.occupancy[:, None]
    np.testing.assert_allclose(own, stats.sumsq / stats.occupancy[:, None] - mean**2, rtol=1e-9)
    for begin, end in zip(bank.offsets, bank.offsets[1:]):
        average = np.average(own[begin:end], axis=0, weights=stats.occupancy[begin:end])
        np.testing.assert_allclose(flat[begin:end], np.tile(average, (end - begin, 1)), rtol=1e-5)
    share = 20 / (stats.occupancy[:, None] + 20)
    np.testing.assert_allclose(smooth, (1 - share) * own + share * flat, rtol=1e-5)


def test_growth_follows_occupancy_and_respects_its_minimum():
    occupancy = np.array([10000.0, 1000.0, 30.0])
    targets = growth_targets(occupancy, np.ones(3, int), 40, 0.5, 20.0)
    assert targets.sum() == 40
    assert targets[2] == 1
    assert targets[0] / targets[1] == pytest.approx(10**0.5, rel=0.2)
    assert growth_targets(occupancy, np.ones(3, int), 10**6, 0.5, 20.0).sum() < (occupancy / 20).sum()


def test_splitting_keeps_weight_and_mean_and_depends_on_the_seed_alone(bank):
    occupancy = np.array([500.0, 900.0, 100.0])
    grown = [grow(bank, occupancy, 14, LOOSE, rng(seed, "split")) for seed in (1, 1, 2)]
    assert grown[0].num_gauss == 14
    np.testing.assert_array_equal(grown[0].means, grown[1].means)
    assert not np.array_equal(grown[0].means, grown[2].means)
    for bank_now in (bank, grown[0]):
        np.testing.assert_allclose(bank_now.pdf_sums(bank_now.weights), 1.0)
    mean = [np.add.reduceat(b.weights[:, None] * b.means, b.offsets[:-1]) for b in (bank, grown[0])]
    np.testing.assert_allclose(*mean)


def test_a_bank_survives_pickling_and_refuses_nonsense(bank):
    copy = pickle.loads(pickle.dumps(bank))
    np.testing.assert_array_equal(copy.loglikes(frames()), bank.loglikes(frames()))
    with pytest.raises(DataError, match="no component"):
        DiagGmm(bank.weights, bank.means, bank.variances, np.array([0, 3, 3, 8]))
    with pytest.raises(DataError, match="not positive"):
        DiagGmm(bank.weights, bank.means, -bank.variances, bank.offsets)
    with pytest.raises(DataError, match="belong together"):
        DiagGmm(bank.weights[:-1], bank.means, bank.variances, bank.offsets)
