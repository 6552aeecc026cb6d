"""A student that learns from the posterior store against one that learns from exact posteriors: the same dev loss?

--exp is the folder of an experiment whose stage `label` is done; without it nothing is measured. The exact peer has
the k highest posteriors of the same teacher in float32, computed here; all else is equal, seed by seed: weights,
batches, augmentation. A row a seed and one for the mean: 1 / dev loss in nats a frame (hard targets of dev); ratios of
1 are what is hoped for. The last row sets two standard errors of the paired differences beside their mean: more than 1
is within noise. No bound.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import main, row

from pyasr.align.alignments import load_alignments
from pyasr.base.progress import track
from pyasr.corpora import read_cuts
from pyasr.features.audio import load_samples
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.nn.options import NetworkOptions
from pyasr.targets import PosteriorStore
from pyasr.targets.labeller import Labeller
from pyasr.train.loop import Trainer, TrainingData
from pyasr.train.options import OptimiserOptions, PhaseOptions, TrainOptions
from pyasr.train.source import Source
from pyasr.train.targets import HardTargets, StoredTargets


@dataclass
class ExactStore:
    """rows: of each cut float32 (R, 2 k), ids and log-probabilities. Reads like a `PosteriorStore`."""

    rows: dict[str, torch.Tensor]
    metadata: dict[str, Any]
    fingerprint: str = "exact"

    def has_all(self, cut_id: str) -> bool:
        return cut_id in self.rows

    def packed(self, cut_id: str) -> torch.Tensor:
        return self.rows[cut_id]


class ExactTargets(StoredTargets):
    def unpack(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ids, logp = rows.chunk(2, dim=1)
        return ids.long(), logp


def exact_store(network: Network, cuts: list, store: PosteriorStore) -> ExactStore:
    labeller, rows = Labeller(network, store.k, store.metadata["phases"]), {}
    for cut in track(cuts, "exact posteriors"):
        (logits,) = labeller.logits([load_samples(cut)])
        logp, ids = torch.log_softmax(logits.float(), dim=1).topk(store.k, dim=1)
        rows[cut.id] = torch.cat([ids.float(), logp], dim=1)
    return ExactStore(rows, store.metadata)


def dev_loss(targets: StoredTargets, cuts: list, dev: Source, network: Network, seed: int, epochs: int) -> float:
    """Of a small student of fixed length of training."""
    options = TrainOptions(
        network=NetworkOptions(layers=1, units=128),
        optimiser=OptimiserOptions(lr=4e-3, max_decays=epochs, patience=1, min_improvement=0.01),
        phases=(PhaseOptions(transcribed=0.0, untranscribed=1.0, max_sub_epochs=epochs),),
        batch_s=15.0,
        workers=0,
        threads=1,
    )
    torch.manual_seed(seed)
    model = AcousticModel(network.frontend.dim, network.model.num_senones, options.network)
    data = TrainingData({"untranscribed": Source.of(cuts, targets)}, dev, network.frontend)
    with tempfile.TemporaryDirectory() as folder:
        log = Trainer(model, data, options, seed, folder, f"seed {seed}", device="cpu").run()
    return min(row["dev_loss"] for row in log)


def measure(exp: str, utterances: int, epochs: int, seeds: int) -> list[dict]:
    if not exp:
        print("nothing measured: --exp FOLDER names an experiment whose stage label is done")
        return []
    torch.set_num_threads(1)
    folder = Path(exp)
    network = Network.load(folder / "train" / "teacher" / "network")
    store = PosteriorStore.open(folder / "targets" / "store")
    cuts = [cut for cut in read_cuts(folder / "data" / "untranscribed.jsonl.gz") if cut.id in store][:utterances]
    dev_targets = HardTargets(load_alignments(folder / "align" / "targets_dev.npz"))
    dev = Source.of(list(read_cuts(folder / "data" / "dev.jsonl.gz")), dev_targets)
    exact = ExactTargets(exact_store(network, cuts, store))
    found = []
    for seed in range(1, seeds + 1):
        losses = [dev_loss(targets, cuts, dev, network, seed, epochs) for targets in (StoredTargets(store), exact)]
        print(f"seed {seed}: store {losses[0]:.5f}, exact {losses[1]:.5f}", flush=True)
        found.append(losses)
    unit, what = "1/(nats/frame)", "exact top-k"
    rows = [row(f"1 / dev loss, seed {n}", unit, 1 / ours, 1 / peer, what) for n, (ours, peer) in enumerate(found, 1)]
    ours, peer = (statistics.mean(column) for column in zip(*found))
    rows.append(row("1 / dev loss, mean of seeds", unit, 1 / ours, 1 / peer, what))
    differences = [ours - peer for ours, peer in found]
    noise, difference = statistics.stdev(differences) / len(found) ** 0.5, abs(statistics.mean(differences))
    name = "two standard errors of the difference, over seeds"
    return [*rows, row(name, "nats/frame", 2 * noise, difference, "the mean difference")]


if __name__ == "__main__":
    main(
        __doc__.splitlines()[0],
        measure,
        exp=("", "folder of an experiment"),
        utterances=(300, "untranscribed utterances to learn from"),
        epochs=(8, "passes over them"),
        seeds=(3, "trainings of each"),
    )
