"""A bank of diagonal Gaussian mixtures, one mixture a pdf.

log p(x | pdf) = log sum_m exp(c_m + [mean_m / var_m, -1 / (2 var_m)] . [x, x^2]), so the components of all
pdfs are one matrix product. Parameters are float64; likelihoods are computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pyasr.base.errors import DataError

_VALUES_AT_ONCE = 8_000_000  # components times frames held in memory by `loglikes`


@dataclass(frozen=True)
class GmmStats:
    """Sufficient statistics of all components: occupancy (G,), sum and sum of squares (G, D), float64."""

    occupancy: np.ndarray
    sum: np.ndarray
    sumsq: np.ndarray

    @classmethod
    def zeros(cls, num_gauss: int, dim: int) -> GmmStats:
        return cls(np.zeros(num_gauss), np.zeros((num_gauss, dim)), np.zeros((num_gauss, dim)))

    def add(self, other: GmmStats) -> None:
        """Add the statistics of another part of the data, in place."""
        for mine, its in ((self.occupancy, other.occupancy), (self.sum, other.sum), (self.sumsq, other.sumsq)):
            mine += its


@dataclass(frozen=True)
class DiagGmm:
    """weights (G,), means and variances (G, D), float64. offsets: int64 (P + 1,), pdf p has components
    offsets[p]:offsets[p + 1]."""

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        shape, offsets = self.means.shape, self.offsets
        if (
            self.weights.shape != shape[:1]
            or self.variances.shape != shape
            or offsets[0] != 0
            or offsets[-1] != shape[0]
        ):
            raise DataError("Gaussian mixtures: weights, means, variances and offsets do not belong together")
        if (np.diff(offsets) < 1).any():
            raise DataError("Gaussian mixtures: a pdf has no component")
        if not ((self.weights > 0).all() and (self.variances > 0).all() and np.isfinite(self.means).all()):
            raise DataError("Gaussian mixtures: a weight or variance is not positive, or a mean is not finite")

    @classmethod
    def single(cls, means: np.ndarray, variances: np.ndarray) -> DiagGmm:
        """One Gaussian a pdf: means and variances (P, D)."""
        return cls(np.ones(len(means)), means, variances, np.arange(len(means) + 1))

    @property
    def num_pdfs(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_gauss(self) -> int:
        return len(self.weights)

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    @cached_property
    def _packed(self) -> tuple[np.ndarray, np.ndarray]:
        """float32 (G, 2 D) coefficients of [x, x^2] and (G, 1) constants."""
        precision = 1.0 / self.variances
        constant = np.log(self.weights) - 0.5 * (
            self.dim * math.log(2 * math.pi) + np.log(self.variances).sum(1) + (self.means**2 * precision).sum(1)
        )
        coefficients = np.concatenate([self.means * precision, -0.5 * precision], axis=1)
        return coefficients.astype(np.float32), constant.astype(np.float32)[:, None]

    def __reduce__(self) -> Any:  # without what is cached
        return DiagGmm, (self.weights, self.means, self.variances, self.offsets)

    def loglikes(self, features: np.ndarray, pdfs: np.ndarray | None = None) -> np.ndarray:
        """log p(x_t | pdf), natural log: features float32 (T, D) -> float32 (T, P).

        pdfs: the ids wanted, one a column; all when None.
        """
        coefficients, constant = self._packed
        sizes = np.diff(self.offsets)
        if pdfs is not None:
            sizes = sizes[pdfs]
            begins = np.cumsum(sizes) - sizes
            rows = np.arange(sizes.sum()) + np.repeat(self.offsets[pdfs] - begins, sizes)
            coefficients, constant = coefficients[rows], constant[rows]
        result = np.empty((len(features), len(sizes)), np.float32)
        if len(sizes):
            block = max(1, _VALUES_AT_ONCE // len(constant))
            for begin in range(0, len(features), block):
                rows = slice(begin, begin + block)
                result[rows] = _log_sums(coefficients @ _squared(features[rows]).T + constant, sizes).T
        return result

    def posteriors(
        self, features: np.ndarray, pdf_ids: np.ndarray
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """Component posteriors of frames whose pdf is known, pdf by pdf.

        features: float32 (T, D). pdf_ids: int32 (T,); frames with -1 are left out.
        Yields (components of the pdf, its frames (n,), posteriors float64 (n, M), log-likelihoods float64 (n,)).
        """
        coefficients, constant = self._packed
        squared = _squared(features)
        order = np.argsort(pdf_ids, kind="stable")
        bounds = np.searchsorted(pdf_ids[order], np.arange(self.num_pdfs + 1))
        for pdf in np.flatnonzero(np.diff(bounds)):
            frames = order[bounds[pdf] : bounds[pdf + 1]]
            owned = slice(int(self.offsets[pdf]), int(self.offsets[pdf + 1]))
            logp = (squared[frames] @ coefficients[owned].T + constant[owned].T).astype(np.float64)
            peak = logp.max(axis=1)
            likelihood = np.exp(logp - peak[:, None])
            total = likelihood.sum(axis=1)
            yield owned, frames, likelihood / total[:, None], np.log(total) + peak

    def accumulate(
        self, features: np.ndarray, pdf_ids: np.ndarray, statistics_of: np.ndarray | None = None
    ) -> tuple[GmmStats, float]:
        """Statistics and total log-likelihood of frames whose pdf is known (-1: left out).

        statistics_of: other features (T, D') of the same frames whose statistics are taken instead, for a
        model of one feature space aligned in another.
        """
        data = (features if statistics_of is None else statistics_of).astype(np.float64)
        stats = GmmStats.zeros(self.num_gauss, data.shape[1])
        loglike = 0.0
        for owned, frames, posteriors, loglikes in self.posteriors(features, pdf_ids):
            x = data[frames]
            stats.occupancy[owned] = posteriors.sum(axis=0)
            stats.sum[owned] = posteriors.T @ x
            stats.sumsq[owned] = posteriors.T @ (x * x)
            loglike += float(loglikes.sum())
        return stats, loglike

    def pdf_sums(self, per_component: np.ndarray) -> np.ndarray:
        """Sum a value (G,) of the components over each pdf -> (P,)."""
        return np.add.reduceat(per_component, self.offsets[:-1])

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {
            "weights": self.weights,
            "means": self.means,
            "variances": self.variances,
            "offsets": self.offsets,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> DiagGmm:
        return cls(arrays["weights"], arrays["means"], arrays["variances"], arrays["offsets"])


def _log_sums(components: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """log sum exp over groups of rows: (G, T), overwritten, and the sizes of the groups (P,) -> (P, T)."""
    # Components are in rows, so that sums over those of a pdf run along whole rows.
    begins = np.cumsum(sizes) - sizes
    peak = np.maximum.reduceat(components, begins, axis=0)
    components -= np.repeat(peak, sizes, axis=0)
    np.exp(components, out=components)
    return np.log(np.add.reduceat(components, begins, axis=0)) + peak


def _squared(features: np.ndarray) -> np.ndarray:
    return np.concatenate([features, features * features], axis=1)
