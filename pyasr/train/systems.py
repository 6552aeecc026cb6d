"""One network from its options and data: fresh weights, the loop, priors, and a folder at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from pyasr.base.seeds import rng
from pyasr.dist.workers import Workers
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.train.criterion import Criterion
from pyasr.train.loop import Row, Trainer, TrainingData
from pyasr.train.options import TrainOptions


def train_network(
    data: TrainingData,
    options: TrainOptions,
    log_priors: np.ndarray,
    senones: str,
    seed: int,
    folder: str | Path,
    what: str,
    say: Callable[[Row], None] = lambda row: None,
    workers: Workers | None = None,
    criterion: Criterion | None = None,
) -> tuple[Network, list[Row]]:
    """Train a network and save it to folder/network; go on where an interrupted call of the same stopped.

    log_priors: float32 (S,). senones: their fingerprint. what: the system's name; seeds are drawn with it.
    workers: each of several makes the same call; the first saves the network. criterion: see `Trainer`.
    Returns the network, on the CPU in eval mode, and the log.
    """
    folder = Path(folder)
    torch.manual_seed(int(rng(seed, what, "weights").integers(2**62)))
    model = AcousticModel(data.frontend.dim, len(log_priors), options.network)
    model.log_priors.copy_(torch.from_numpy(log_priors))
    trainer = Trainer(model, data, options, seed, folder, what, say, criterion=criterion, workers=workers)
    log = trainer.run()
    network = Network(model.cpu().eval(), data.frontend, senones)
    if trainer.workers.rank == 0:
        network.save(folder / "network")
    trainer.checkpoints.remove()
    return network, log


def log_priors_of(targets: Mapping[str, np.ndarray], num_senones: int) -> np.ndarray:
    """Natural log of the share of each senone in alignments cut_id -> int32 (T,): float32 (S,).

    Each gets a frame more than it has, so that none is impossible.
    """
    counts = np.ones(num_senones)
    for senones in targets.values():
        counts += np.bincount(senones, minlength=num_senones)
    return np.log(counts / counts.sum()).astype(np.float32)
