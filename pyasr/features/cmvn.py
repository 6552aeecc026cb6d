"""Normalisation: mean and variance over a speaker's utterances for the GMM, a running, causal mean for networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from pyasr.base.errors import DataError

_MIN_DEVIATION = 1e-3  # of a coefficient that does not vary; real cepstra have standard deviations above 1


def cmvn_of(matrices: Iterable[np.ndarray]) -> np.ndarray:
    """Mean and standard deviation of all frames, the two rows of a float64 (2, D).

    matrices: (T, D) each, summed in their order in float64. ValueError without a frame.
    """
    count, total, squares = 0, 0.0, 0.0
    for matrix in matrices:
        frames = matrix.astype(np.float64)
        count, total, squares = count + len(frames), total + frames.sum(axis=0), squares + (frames**2).sum(axis=0)
    if count == 0:
        raise ValueError("no frames")
    mean = total / count
    return np.stack([mean, np.sqrt(np.maximum(squares / count - mean**2, _MIN_DEVIATION**2))])


def speaker_cmvn(frames: Mapping[str, np.ndarray], speakers: Mapping[str, str]) -> dict[str, np.ndarray]:
    """`cmvn_of` the frames of each speaker: speaker -> float64 (2, D).

    frames: cut_id -> (T, D), for example a FeatureArchive. speakers: cut_id -> speaker. DataError for a
    speaker without a frame.
    """
    cuts: dict[str, list[str]] = {}
    for cut_id in frames:
        cuts.setdefault(speakers[cut_id], []).append(cut_id)
    found = {}
    for speaker, cut_ids in cuts.items():
        try:
            found[speaker] = cmvn_of(frames[cut_id] for cut_id in cut_ids)
        except ValueError as error:
            raise DataError(f"speaker {speaker}: no frame in any utterance; remove the speaker") from error
    return found


class RunningMean:
    """Subtracts an exponentially weighted mean of the frames so far: causal, so it can stream.

    After frame t the mean is sum / weight with sum = decay * sum + x_t, weight = decay * weight + 1, both
    begun by the prior: sum = prior_frames * prior_mean, weight = prior_frames. The frame itself counts.
    Frames are taken one after the other in float64, so chunks give bit for bit what the whole gives.

    prior_mean: (D,), what is expected of an utterance, for example the mean of the training data.
    prior_frames: how many frames the prior is worth. window_frames: 1 / (1 - decay), the memory in frames.
    """

    def __init__(self, prior_mean: np.ndarray, prior_frames: float = 100, window_frames: float = 300) -> None:
        if prior_frames < 0 or window_frames < 1:
            raise ValueError(f"prior_frames {prior_frames} < 0 or window_frames {window_frames} < 1")
        self._decay = 1.0 - 1.0 / window_frames
        self._sum = np.asarray(prior_mean, np.float64) * prior_frames
        self._weight = float(prior_frames)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Normalise the next frames (T, D) of the utterance -> (T, D) float32."""
        normalised = np.empty(frames.shape, np.float32)
        for t, frame in enumerate(frames.astype(np.float64)):
            self._sum = self._decay * self._sum + frame
            self._weight = self._decay * self._weight + 1.0
            normalised[t] = frame - self._sum / self._weight
        return normalised
