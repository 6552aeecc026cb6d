"""From stored MFCC to what the Gaussians see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyasr.base.errors import DataError
from pyasr.features.delta import add_deltas
from pyasr.features.splice import splice


@dataclass(frozen=True)
class Frontend:
    """Normalisation to the speaker, then deltas (no matrix), or splicing and a linear map (LDA, MLLT).

    splice_frames: neighbours on each side; used with a matrix only. matrix: float64 (D, D_spliced) or None.
    """

    splice_frames: int = 0
    matrix: np.ndarray | None = None

    def expand(self, mfcc: np.ndarray, cmvn: np.ndarray) -> np.ndarray:
        """What the matrix is applied to: (T, 13) float32, cmvn of the speaker (2, 13) -> (T, D_spliced) float32."""
        if cmvn.shape != (2, mfcc.shape[1]):
            raise DataError(f"features have {mfcc.shape[1]} coefficients, the speaker's statistics {cmvn.shape[1:]}")
        normalised = (mfcc - cmvn[0].astype(np.float32)) / cmvn[1].astype(np.float32)
        if self.matrix is None:
            return add_deltas(normalised)
        return splice(normalised, self.splice_frames, self.splice_frames)

    def __call__(self, mfcc: np.ndarray, cmvn: np.ndarray, transform: np.ndarray | None = None) -> np.ndarray:
        """Features of an utterance: (T, 13) float32 -> (T, D) float32.

        cmvn: the speaker's mean and standard deviation, float64 (2, 13) (`pyasr.features.cmvn`).
        transform: the speaker's fMLLR, float64 (D, D + 1).
        """
        features = self.expand(mfcc, cmvn)
        if self.matrix is not None:
            features = features @ self.matrix.T.astype(np.float32)
        return features if transform is None else apply_affine(features, transform)


def apply_affine(features: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """A x + b for each frame: (T, D) float32, transform [A, b] (D, D + 1) -> (T, D) float32."""
    linear, bias = transform[:, :-1], transform[:, -1]
    return features @ linear.T.astype(np.float32) + bias.astype(np.float32)
