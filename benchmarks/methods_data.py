"""The task of methods.py: chunks of speech and their senones, of a recipe's folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import lhotse
import numpy as np
import torch

from pyasr.base.artifact import atomic_path
from pyasr.features.audio import load_samples
from pyasr.features.network import NetworkFrontend

ROWS, CHUNK = 8, 32


@dataclass(frozen=True)
class Data:
    """frames float32 (C, CHUNK, D), senones int64 (C, CHUNK): all of the training set, cut at the same places for all.

    dev_senones: -1 in the last chunk where speech has ended.
    """

    frames: torch.Tensor
    senones: torch.Tensor
    dev_frames: torch.Tensor
    dev_senones: torch.Tensor

    @property
    def num_senones(self) -> int:
        return int(self.senones.max()) + 1

    def batch(self, step: int, rank: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A worker's chunks of a step, which no other has in this pass over the data."""
        steps = len(self.frames) // (ROWS * size)
        order = torch.randperm(len(self.frames), generator=torch.Generator().manual_seed(step // steps))
        begin = (step % steps * size + rank) * ROWS
        rows = order[begin : begin + ROWS]
        return self.frames[rows], self.senones[rows]


def load(exp: Path, cache: Path) -> Data:
    if not cache.exists():
        frontend = NetworkFrontend.from_dict(json.loads((exp / "senones" / "frontend.json").read_text()))
        made = [tensor for name in ("transcribed", "dev") for tensor in _chunks(exp, name, frontend)]
        with atomic_path(cache) as temporary:
            torch.save(made, temporary)
    return Data(*torch.load(cache, weights_only=True))


def _chunks(exp: Path, name: str, frontend: NetworkFrontend) -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(exp / "senones" / f"targets_{name}.npz", allow_pickle=False) as stored:
        ends = np.cumsum(stored["lengths"])
        senones = dict(zip(stored["cut_ids"].tolist(), np.split(stored["tids"], ends[:-1])))
    frames, targets = [], []
    for cut in lhotse.load_manifest(exp / "data" / f"{name}.jsonl.gz"):
        if cut.id not in senones:
            continue
        stacked = frontend.stacked(load_samples(cut))
        centres = np.minimum(3 * np.arange(len(stacked)) + 1, len(senones[cut.id]) - 1)
        frames.append(stacked)
        targets.append(senones[cut.id][centres])
    whole, labels = np.concatenate(frames).astype(np.float32), np.concatenate(targets).astype(np.int64)
    missing = -len(labels) % CHUNK
    if name == "dev":
        whole, labels = np.pad(whole, ((0, missing), (0, 0))), np.pad(labels, (0, missing), constant_values=-1)
    whole, labels = whole[: len(whole) // CHUNK * CHUNK], labels[: len(labels) // CHUNK * CHUNK]
    return torch.from_numpy(whole.reshape(-1, CHUNK, whole.shape[1])), torch.from_numpy(labels.reshape(-1, CHUNK))
