"""fMLLR: an affine transform of the features for each speaker (Gales 1998)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pyasr.align.frontend import apply_affine
from pyasr.align.gmm import DiagGmm
from pyasr.align.options import FmllrOptions
from pyasr.align.rows import RowStats, weighted_outer


def fmllr_stats(
    features: np.ndarray,
    pdf_ids: np.ndarray,
    gmm: DiagGmm,
    weights: np.ndarray | None = None,
    transform: np.ndarray | None = None,
    posterior_gmm: DiagGmm | None = None,
) -> RowStats:
    """Statistics of the features x (T, D) float32, before any transform, whose pdfs are known (-1: left out).

    weights: (T,) of the frames, one when None. Component posteriors come from `posterior_gmm` (default: gmm,
    with which it shares its components) at the features as they are now: through `transform`, if any.
    """
    now = features if transform is None else apply_affine(features, transform)
    precision, pull = np.zeros(features.shape), np.zeros(features.shape)
    inverse = 1.0 / gmm.variances
    kept = np.zeros(len(features))
    for owned, frames, posteriors, _ in (posterior_gmm or gmm).posteriors(now, pdf_ids):
        if weights is not None:
            posteriors = posteriors * weights[frames, None]
        precision[frames] = posteriors @ inverse[owned]
        pull[frames] = posteriors @ (gmm.means[owned] * inverse[owned])
        kept[frames] = posteriors.sum(axis=1)
    extended = np.concatenate([features.astype(np.float64), np.ones((len(features), 1))], axis=1)
    return RowStats(np.array([kept.sum()]), pull.T @ extended, weighted_outer(precision, extended))


def solve_fmllr(stats: RowStats, options: FmllrOptions, transform: np.ndarray | None = None) -> np.ndarray | None:
    """The transform [A, b] (D, D + 1) float64 of a speaker, from the start `transform` (default: identity).

    None when there are fewer than options.min_frames frames, or too little variety in them.
    """
    start = identity(len(stats.linear)) if transform is None else transform
    if stats.beta[0] < max(options.min_frames, 1.0):
        return None
    try:
        with np.errstate(all="ignore"):
            rows = stats.maximise(start, options.row_iterations)
            better = stats.objective(rows) >= stats.objective(start)
    except np.linalg.LinAlgError:
        return None
    return rows if better and np.isfinite(rows).all() else None


def estimate_fmllr(
    rows: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | None]],
    gmm: DiagGmm,
    options: FmllrOptions,
    transform: np.ndarray | None = None,
    posterior_gmm: DiagGmm | None = None,
) -> np.ndarray | None:
    """A speaker's transform from utterances (features (T, D) float32, pdf_ids (T,), weights (T,) or None).

    transform: the one in use, to start from; see `fmllr_stats` and `solve_fmllr`.
    """
    stats = RowStats.zeros(gmm.dim, gmm.dim + 1)
    for features, pdf_ids, weights in rows:
        stats.add(fmllr_stats(features, pdf_ids, gmm, weights, transform, posterior_gmm))
    return solve_fmllr(stats, options, transform)


def identity(dim: int) -> np.ndarray:
    """The transform that changes nothing, (D, D + 1)."""
    return np.eye(dim, dim + 1)


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The transform that applies `first`, then `second`; all (D, D + 1)."""
    composed = second[:, :-1] @ first
    composed[:, -1] += second[:, -1]
    return composed
