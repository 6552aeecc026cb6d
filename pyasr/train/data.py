"""From a plan of cuts to a batch of frames and targets: audio is read and augmented as it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pyasr.features.audio import load_samples
from pyasr.features.augment import (
    AugmentOptions,
    change_speed,
    draw_noise,
    draw_phase,
    draw_speed,
    draw_warp,
    mask,
    warp_frequencies,
)
from pyasr.features.network import NetworkFrontend
from pyasr.features.noise import NoisePool
from pyasr.features.stack import stack_frames
from pyasr.train.lazy import LazySource
from pyasr.train.plan import BatchPlan
from pyasr.train.source import Source
from pyasr.train.targets import Targets


@dataclass(frozen=True)
class Batch:
    """frames: float32 (N, T + delay, D), zeros behind each utterance's end. lengths: int64 (N,), frames of output.

    Targets of the F = sum(lengths) frames, utterance by utterance, frames_of_cuts of each: senones int64 (F,); or ids
    int64 (F, k) and logp float32 (F, k); or places int64 (F,), see `pyasr.train.targets.TeacherTargets`.
    weights: float32 (F,), what their losses are multiplied by; None: all count alike.
    """

    source: str
    cut_ids: tuple[str, ...]
    frames: torch.Tensor
    lengths: torch.Tensor
    frames_of_cuts: tuple[int, ...]
    senones: torch.Tensor | None = None
    ids: torch.Tensor | None = None
    logp: torch.Tensor | None = None
    places: torch.Tensor | None = None
    weights: torch.Tensor | None = None

    @property
    def num_frames(self) -> int:
        return int(self.lengths.sum())

    def content(self) -> dict[str, Any]:
        """What torch.save takes and torch.load(weights_only=True) gives back."""
        held = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return {"source": self.source, "cut_ids": list(self.cut_ids), **held}

    def rows(self, outputs: torch.Tensor) -> torch.Tensor:
        """The F rows of (N, T, S) that belong to utterances, in the order of the targets."""
        positions = torch.arange(outputs.shape[1])
        return outputs[(positions[None, :] < self.lengths[:, None]).to(outputs.device)]

    def to(self, device: torch.device) -> Batch:
        """Tensors on a device, but for lengths, which stay on the CPU."""
        moved = {n: t for n, t in vars(self).items() if isinstance(t, torch.Tensor) and not n.endswith("lengths")}
        return replace(self, **{name: tensor.to(device, non_blocking=True) for name, tensor in moved.items()})


class BatchMaker(torch.utils.data.Dataset):
    """Makes the batch of a plan (a map-style dataset whose keys are plans).

    delay: frames of input appended to each sequence, see `pyasr.nn.model`. chunk_frames: utterances are cut into
    sequences of so many 30 ms frames, which begin without memory; 0: whole utterances.
    noise: drawn from where augment says so.
    """

    def __init__(
        self,
        sources: Mapping[str, Source | LazySource],
        frontend: NetworkFrontend,
        augment: AugmentOptions,
        noise: NoisePool | None,
        seed: int,
        delay: int,
        chunk_frames: int = 0,
    ) -> None:
        self.sources, self.frontend, self.augment, self.noise = sources, frontend, augment, noise
        self.seed, self.delay, self.chunk_frames = seed, delay, chunk_frames

    def __getitem__(self, plan: BatchPlan) -> Batch:
        source = self.sources[plan.source]
        cuts = [source.cuts[index] for index in plan.cuts]
        made = [self.sequence(cut, source.targets, plan.epoch) for cut in cuts]
        frames, lengths = _pad([piece for stacked, _ in made for piece in self._pieces(stacked)], self.delay)
        columns = [torch.cat(column) for column in zip(*(targets for _, targets in made))]
        counts = tuple(len(of_cut[0]) for _, of_cut in made)
        weights = _weights([source.targets.weight(cut.id) for cut in cuts], counts)
        cut_ids, targets = tuple(cut.id for cut in cuts), dict(zip(source.targets.columns, columns))
        return Batch(plan.source, cut_ids, frames, lengths, counts, **targets, weights=weights)

    def sequence(self, cut: Any, targets: Targets, epoch: int) -> tuple[np.ndarray, tuple[torch.Tensor, ...]]:
        """Stacked frames (T, D) of an utterance and the columns of its targets."""
        options, stack = self.augment, self.frontend.options.stack
        speed = draw_speed(options, self.seed, epoch, cut.id)
        samples = change_speed(load_samples(cut), speed)
        if self.noise is not None:
            samples = draw_noise(samples, options, self.noise, self.seed, epoch, cut.id)
        frames = self.frontend.frames(samples)
        frames = warp_frequencies(frames, draw_warp(options, self.seed, epoch, cut.id), self.frontend.options)
        phase = draw_phase(options, stack, self.seed, epoch, cut.id) if targets.of_every_phase else 0
        stacked = stack_frames(frames, stack, phase)
        stacked = mask(stacked, options, self.seed, epoch, cut.id, self.frontend.options.num_mel_bins)
        return stacked, targets.stacked(cut.id, len(frames), stack, phase, speed)

    def _pieces(self, stacked: np.ndarray) -> list[np.ndarray]:
        """Training sequences (T + delay, D) of an utterance (T, D)."""
        length = len(stacked)
        padded = np.concatenate([stacked, np.repeat(stacked[-1:], self.delay, axis=0)]) if length else stacked
        size = self.chunk_frames or length
        return [padded[begin : min(begin + size, length) + self.delay] for begin in range(0, length, size or 1)]


def _weights(of_cuts: list[float], num_frames: tuple[int, ...]) -> torch.Tensor | None:
    """Of each frame that of its cut, None where all are 1."""
    if all(weight == 1.0 for weight in of_cuts):
        return None
    return torch.tensor(of_cuts).repeat_interleave(torch.tensor(num_frames))


def _pad(pieces: list[np.ndarray], delay: int) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(piece) - delay for piece in pieces])
    frames = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(piece) for piece in pieces], batch_first=True)
    return frames, lengths
