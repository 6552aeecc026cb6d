"""Row-by-row estimation of a linear or affine feature transform (Gales 1998, "Maximum likelihood linear
transformations for HMM-based speech recognition", and 1999, "Semi-tied covariance matrices").

Both fMLLR and MLLT maximise, over W = [A, b] (or W = A),

    beta log |det A| + sum_i (w_i . k_i - w_i G_i w_i' / 2)

where w_i is row i of W, k_i row i of K (zero for MLLT). One row is optimal in closed form when the others
are fixed; the rows are visited in turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FRAMES_AT_ONCE = 1024


@dataclass(frozen=True)
class RowStats:
    """beta: number of frames (1,). linear: K, float64 (D, E). quadratic: G, float64 (D, E, E). E is D or D + 1."""

    beta: np.ndarray
    linear: np.ndarray
    quadratic: np.ndarray

    @classmethod
    def zeros(cls, dim: int, width: int) -> RowStats:
        return cls(np.zeros(1), np.zeros((dim, width)), np.zeros((dim, width, width)))

    def add(self, other: RowStats) -> None:
        """Add the statistics of other frames, in place."""
        for mine, its in (
            (self.beta, other.beta),
            (self.linear, other.linear),
            (self.quadratic, other.quadratic),
        ):
            mine += its

    def objective(self, rows: np.ndarray) -> float:
        """What is maximised, at W = rows (D, E)."""
        _, logdet = np.linalg.slogdet(rows[:, : len(rows)])
        quadratic = np.einsum("ie,ief,if->", rows, self.quadratic, rows)
        return float(self.beta[0] * logdet + (rows * self.linear).sum() - 0.5 * quadratic)

    def maximise(self, rows: np.ndarray, iterations: int) -> np.ndarray:
        """W (D, E) from the start `rows`. np.linalg.LinAlgError when the statistics are singular."""
        dim, rows = len(rows), rows.copy()
        inverses = np.linalg.inv(self.quadratic)
        for _ in range(iterations):
            inverse = np.linalg.inv(rows[:, :dim])
            for i in range(dim):
                new = self._best_row(inverse[:, i], self.linear[i], inverses[i])
                # Replacing row i of A changes its inverse by rank one (Sherman and Morrison).
                change = (new - rows[i])[:dim] @ inverse
                inverse -= np.outer(inverse[:, i], change) / (1.0 + change[i])
                rows[i] = new
        return rows

    def _best_row(self, cofactors: np.ndarray, linear: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """w = (alpha p + k) G^-1 with p the cofactors of the row (up to a factor), alpha a root of
        alpha^2 p G^-1 p' + alpha p G^-1 k' - beta = 0: the one with the larger objective."""
        p = np.zeros(len(linear))
        p[: len(cofactors)] = cofactors
        pg = p @ inverse
        a, b, beta = float(pg @ p), float(pg @ linear), float(self.beta[0])
        root = np.sqrt(b * b + 4 * a * beta)
        alphas = np.array([(-b + root) / (2 * a), (-b - root) / (2 * a)])
        gains = beta * np.log(np.abs(alphas * a + b)) - 0.5 * alphas**2 * a
        return float(alphas[np.argmax(gains)]) * pg + linear @ inverse


def weighted_outer(weights: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """sum over t of weights[t, i] v_t v_t': (T, D), (T, E) float64 -> (D, E, E)."""
    width = vectors.shape[1]
    upper = np.triu_indices(width)
    packed = np.zeros((weights.shape[1], len(upper[0])))
    for begin in range(0, len(vectors), _FRAMES_AT_ONCE):
        block = vectors[begin : begin + _FRAMES_AT_ONCE]
        packed += weights[begin : begin + _FRAMES_AT_ONCE].T @ (block[:, upper[0]] * block[:, upper[1]])
    full = np.empty((weights.shape[1], width, width))
    full[:, upper[0], upper[1]] = packed
    full[:, upper[1], upper[0]] = packed
    return full
