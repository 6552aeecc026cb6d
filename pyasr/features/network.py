"""The front end of networks: LFBE, less a running mean, scaled, stacked to 30 ms."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.features.audio import load_samples
from pyasr.features.cmvn import RunningMean
from pyasr.features.lfbe import compute_lfbe, lfbe_stream
from pyasr.features.options import LfbeOptions
from pyasr.features.stack import stack_frames
from pyasr.features.stream import samples_of_frames

_JOBS = 32
_MIN_DEVIATION = 1e-3


@dataclass(frozen=True)
class NetworkFrontend:
    """mean, deviation: float32 (B,) of the LFBE of the training speech; B = options.num_mel_bins.

    The mean is what an utterance is expected to have, and where its running mean begins (see `RunningMean`).
    """

    options: LfbeOptions
    mean: np.ndarray
    deviation: np.ndarray

    @property
    def dim(self) -> int:
        """Size of a stacked frame."""
        return self.options.stack * self.options.num_mel_bins

    def frames(self, samples: np.ndarray) -> np.ndarray:
        """10 ms frames (T, B) float32 of samples (n,) float32 in [-1, 1] at 16 kHz, of about unit variance."""
        return RunningMean(self.mean)(compute_lfbe(samples, self.options)) / self.deviation

    def stacked(self, samples: np.ndarray, phase: int = 0) -> np.ndarray:
        """Stacked frames (T, dim) float32, see `stack_frames`."""
        return stack_frames(self.frames(samples), self.options.stack, phase)

    def stream(self) -> FrontendStream:
        """The same for an utterance whose samples come bit by bit."""
        return FrontendStream(self)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "options": self.options.model_dump(),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkFrontend:
        """The inverse of `to_dict`; KeyError, TypeError or ValueError for anything else."""
        options = LfbeOptions(**values["options"])
        mean, deviation = np.array(values["mean"], np.float32), np.array(values["deviation"], np.float32)
        if mean.shape != (options.num_mel_bins,) or deviation.shape != mean.shape or not (deviation > 0).all():
            raise ValueError(f"mean {mean.shape} and deviation {deviation.shape} for {options.num_mel_bins} bins")
        return cls(options, mean, deviation)


class FrontendStream:
    """Stacked frames of phase 0 of one utterance as its samples arrive: bit for bit those of `stacked`."""

    def __init__(self, frontend: NetworkFrontend) -> None:
        self._options, self._deviation = frontend.options, frontend.deviation
        self._lfbe, self._mean = lfbe_stream(frontend.options), RunningMean(frontend.mean)
        self._waiting = np.empty((0, frontend.options.num_mel_bins), np.float32)
        self._num_samples = self._num_stacks = 0

    @property
    def samples_to_next(self) -> int:
        """After how many more samples the next stacked frame is complete."""
        return samples_of_frames((self._num_stacks + 1) * self._options.stack) - self._num_samples

    def accept(self, samples: np.ndarray) -> np.ndarray:
        """Take (n,) samples; return the stacked frames (t, dim) float32 that they complete; t may be 0."""
        self._num_samples += len(samples)
        return self._stacks(self._lfbe.accept(samples))

    def finish(self) -> np.ndarray:
        """The last stacked frames (t, dim) float32, whose windows reach past the end of the utterance."""
        return self._stacks(self._lfbe.finish())

    def _stacks(self, lfbe: np.ndarray) -> np.ndarray:
        frames = np.concatenate([self._waiting, self._mean(lfbe) / self._deviation])
        stacks = stack_frames(frames, self._options.stack)
        self._waiting = frames[len(stacks) * self._options.stack :]
        self._num_stacks += len(stacks)
        return stacks


def estimate_frontend(cuts: Iterable[Any], options: LfbeOptions, executor: Executor) -> NetworkFrontend:
    """The front end with mean and deviation of all frames of `cuts`; DataError without a frame."""
    sums = run_jobs(executor, functools.partial(_moments_job, options), split_jobs(list(cuts), _JOBS), "LFBE mean")
    count, total, squares = (sum(part[index] for part in sums) for index in range(3))
    if not count:
        raise DataError("no frame of speech to estimate the mean of the features from")
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, _MIN_DEVIATION**2))
    return NetworkFrontend(options, mean.astype(np.float32), deviation.astype(np.float32))


def _moments_job(options: LfbeOptions, cuts: list[Any]) -> tuple[int, np.ndarray, np.ndarray]:
    frames = [compute_lfbe(load_samples(cut), options).astype(np.float64) for cut in cuts]
    rows = np.concatenate(frames)
    return len(rows), rows.sum(axis=0), (rows**2).sum(axis=0)
