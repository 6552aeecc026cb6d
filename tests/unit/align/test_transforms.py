import numpy as np
import pytest

from pyasr.align.fmllr import compose, estimate_fmllr, fmllr_stats, identity, solve_fmllr
from pyasr.align.frontend import apply_affine
from pyasr.align.gmm import DiagGmm
from pyasr.align.lda_mllt import lda_matrix, mllt_stats
from pyasr.align.options import FmllrOptions
from pyasr.base.errors import DataError
from pyasr.base.seeds import rng
from pyasr.ops.stats import accumulate_stats

DIM, PDFS = 5, 12
OPTIONS = FmllrOptions(min_frames=100, row_iterations=30)


@pytest.fixture(scope="module")
def model():
    random = rng(0, "model")
    means = 4 * random.standard_normal((PDFS, DIM))
    return DiagGmm.single(means, random.uniform(0.5, 2.0, (PDFS, DIM)))


def speech(model, count, key):
    random = rng(1, key)
    pdf_ids = random.integers(0, PDFS, count).astype(np.int32)
    x = model.means[pdf_ids] + np.sqrt(model.variances[pdf_ids]) * random.standard_normal((count, DIM))
    return x, pdf_ids


@pytest.mark.parametrize("speaker", range(3))
def test_fmllr_recovers_a_speakers_affine_transform(model, speaker):
    x, pdf_ids = speech(model, 20000, f"speaker {speaker}")
    random = rng(2, speaker)
    true = np.eye(DIM, DIM + 1) + 0.2 * random.standard_normal((DIM, DIM + 1))
    heard = np.linalg.solve(true[:, :-1], (x - true[:, -1]).T).T.astype(np.float32)
    found = estimate_fmllr([(heard, pdf_ids, None)], model, OPTIONS)
    np.testing.assert_allclose(found, true, atol=0.05)
    before = model.accumulate(heard, pdf_ids)[1]
    after = model.accumulate(apply_affine(heard, found), pdf_ids)[1]
    assert after + len(x) * np.linalg.slogdet(found[:, :-1])[1] > before


def test_every_pass_over_the_rows_raises_the_objective(model):
    x, pdf_ids = speech(model, 500, "passes")
    mixed = (x @ rng(3, "mix").standard_normal((DIM, DIM))).astype(np.float32)
    stats = fmllr_stats(mixed, pdf_ids, model)
    objectives = [stats.objective(stats.maximise(identity(DIM), n)) for n in range(8)]
    assert all(later >= earlier - 1e-6 for earlier, later in zip(objectives, objectives[1:]))
    assert objectives[-1] > objectives[0]


def test_fmllr_statistics_are_the_likelihood_up_to_a_constant(model):
    x, pdf_ids = speech(model, 400, "constant")
    features = x.astype(np.float32)
    stats = fmllr_stats(features, pdf_ids, model)

    def gap(transform):
        loglike = model.accumulate(apply_affine(features, transform), pdf_ids)[1]
        return stats.objective(transform) - loglike - len(x) * np.linalg.slogdet(transform[:, :-1])[1]

    moved = identity(DIM) + 0.1 * rng(4, "moved").standard_normal((DIM, DIM + 1))
    assert gap(moved) == pytest.approx(gap(identity(DIM)), rel=1e-5)


def test_weights_leave_frames_out(model):
    x, pdf_ids = speech(model, 600, "weights")
    features = x.astype(np.float32)
    weights = np.where(pdf_ids < 4, 0.0, 1.0)
    stats = fmllr_stats(features, pdf_ids, model, weights)
    other = fmllr_stats(features[pdf_ids >= 4], pdf_ids[pdf_ids >= 4], model)
    for name in ("beta", "linear", "quadratic"):
        np.testing.assert_allclose(getattr(stats, name), getattr(other, name), rtol=1e-9, atol=1e-9)


def test_too_little_or_too_uniform_speech_gives_no_transform(model):
    x, pdf_ids = speech(model, 300, "little")
    assert estimate_fmllr([(x[:99].astype(np.float32), pdf_ids[:99], None)], model, OPTIONS) is None
    same = np.ones((300, DIM), np.float32)
    assert solve_fmllr(fmllr_stats(same, pdf_ids, model), OPTIONS) is None


def test_transforms_compose():
    random = rng(5, "compose")
    first, second = random.standard_normal((2, DIM, DIM + 1))
    x = random.standard_normal((7, DIM)).astype(np.float32)
    np.testing.assert_allclose(
        apply_affine(x, compose(second, first)), apply_affine(apply_affine(x, first), second), rtol=1e-4, atol=1e-4
    )


def test_mllt_makes_a_mixed_space_diagonal(model):
    x, pdf_ids = speech(model, 20000, "mllt")
    mixing = np.eye(DIM) + 0.4 * rng(6, "mixing").standard_normal((DIM, DIM))
    mixed = (x @ mixing.T).astype(np.float32)
    count, sums, squares = accumulate_stats(mixed, pdf_ids, PDFS)
    means = sums / count[:, None]
    diagonal = DiagGmm.single(means, squares / count[:, None] - means**2)
    stats = mllt_stats(mixed, pdf_ids, diagonal)
    rotation = stats.maximise(np.eye(DIM), 100)
    assert stats.objective(rotation) > stats.objective(np.eye(DIM))

    def total(matrix):
        """Log-likelihood of the data with Gaussians estimated after the matrix, with its Jacobian."""
        y = (mixed @ matrix.T).astype(np.float32)
        n, s, q = accumulate_stats(y, pdf_ids, PDFS)
        m = s / n[:, None]
        bank = DiagGmm.single(m, q / n[:, None] - m**2)
        return bank.accumulate(y, pdf_ids)[1] + len(y) * np.linalg.slogdet(matrix)[1]

    best = total(np.linalg.inv(mixing))
    assert total(rotation) > total(np.eye(DIM)) + 0.5 * (best - total(np.eye(DIM)))


def test_mllt_statistics_are_those_of_the_definition(model):
    x, pdf_ids = speech(model, 300, "definition")
    bank = DiagGmm(
        np.full(2 * PDFS, 0.5),
        np.repeat(model.means, 2, axis=0) + rng(7, "m").standard_normal((2 * PDFS, DIM)),
        np.repeat(model.variances, 2, axis=0),
        np.arange(0, 2 * PDFS + 1, 2),
    )
    features = x.astype(np.float32)
    expected = np.zeros((DIM, DIM, DIM))
    for owned, frames, posteriors, _ in bank.posteriors(features, pdf_ids):
        for j, m in enumerate(range(owned.start, owned.stop)):
            off = features[frames].astype(np.float64) - bank.means[m]
            scatter = (off * posteriors[:, j, None]).T @ off
            expected += scatter / bank.variances[m][:, None, None]
    np.testing.assert_allclose(mllt_stats(features, pdf_ids, bank).quadratic, expected, rtol=1e-8, atol=1e-8)


def test_lda_finds_the_directions_that_tell_classes_apart():
    random = rng(8, "lda")
    centres = np.zeros((6, 8))
    centres[:, :2] = 5 * random.standard_normal((6, 2))
    mixing = random.standard_normal((8, 8))
    classes = random.integers(0, 6, 5000).astype(np.int32)
    x = ((centres[classes] + random.standard_normal((5000, 8))) @ mixing.T).astype(np.float32)
    count, sums, _ = accumulate_stats(x, classes, 6)
    wide = x.astype(np.float64)
    matrix = lda_matrix(count, sums, wide.T @ wide, 2)
    projected = wide @ matrix.T
    within = np.concatenate([projected[classes == c] - projected[classes == c].mean(0) for c in range(6)])
    np.testing.assert_allclose(within.T @ within / 5000, np.eye(2), atol=1e-6)
    # The two directions are those of the centres: the rest of the space is noise to them.
    noise = matrix @ mixing[:, 2:]
    assert np.abs(noise).max() < 0.1 * np.abs(matrix @ mixing[:, :2]).max()


def test_lda_of_constant_features_is_a_clear_error():
    with pytest.raises(DataError, match="do not vary enough"):
        lda_matrix(np.array([3.0, 4.0]), np.zeros((2, 3)), np.zeros((3, 3)), 2)
