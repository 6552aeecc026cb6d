"""Mean normalisation: over a speaker's utterances for the GMM, running and causal for networks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pyasr.base.errors import DataError


def speaker_means(frames: Mapping[str, np.ndarray], speakers: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Mean frame of each speaker.

    frames: cut_id -> (T, D), for example a FeatureArchive; summed in its order, in float64.
    speakers: cut_id -> speaker. Returns speaker -> (D,) float64. DataError for a speaker without a frame.
    """
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for cut_id in frames:
        matrix = frames[cut_id]
        speaker = speakers[cut_id]
        sums[speaker] = sums.get(speaker, 0.0) + matrix.sum(axis=0, dtype=np.float64)
        counts[speaker] = counts.get(speaker, 0) + len(matrix)
    for speaker, count in counts.items():
        if count == 0:
            raise DataError(f"speaker {speaker}: no frame in any utterance; remove the speaker")
    return {speaker: total / counts[speaker] for speaker, total in sums.items()}


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
