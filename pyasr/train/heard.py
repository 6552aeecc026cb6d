"""What a network makes of speech as training hears it: noise, speed and masks as drawn for one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.align.alignments import load_alignments
from pyasr.align.senones import Senones
from pyasr.base.errors import DataError
from pyasr.corpora import read_cuts
from pyasr.decode.network_decode import check_senones
from pyasr.features.augment import AugmentOptions
from pyasr.features.noise import NoisePool
from pyasr.nn.network import Network
from pyasr.train.data import BatchMaker
from pyasr.train.targets import HardTargets


@dataclass(frozen=True)
class HeardSource:
    """Utterances with their alignments (a `pyasr.targets.lattices.UtteranceSource`).

    network, senones: folders. cuts: a manifest file. targets: a file of senones at 10 ms. pass_number: whose draws.
    prior_scale: log-likelihood = log-posterior - prior_scale * log-prior.
    """

    network: Path
    senones: Path
    cuts: Path
    targets: Path
    augment: AugmentOptions
    noise: NoisePool | None
    seed: int
    pass_number: int
    prior_scale: float

    def open(self) -> HeardUtterances:
        network, senones = Network.load(self.network), Senones.load(self.senones)
        check_senones(network, senones, self.network)
        maker = BatchMaker({}, network.frontend, self.augment, self.noise, self.seed, delay=0)
        targets = HardTargets(load_alignments(self.targets))
        tid_to_pdf = senones.transitions.tid_to_pdf
        return HeardUtterances(self, network, tid_to_pdf, maker, targets, {cut.id: cut for cut in read_cuts(self.cuts)})


@dataclass(frozen=True)
class HeardUtterances:
    """An opened `HeardSource`."""

    source: HeardSource
    network: Network
    tid_to_pdf: np.ndarray
    maker: BatchMaker
    targets: HardTargets
    cuts: Mapping[str, Any]

    def utterance(self, cut_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihoods float32 (T, S) and senones int32 (T,). DataError when there are none."""
        if cut_id not in self.targets:
            raise DataError(f"{cut_id}: no alignment")
        stacked, (senones,) = self.maker.sequence(self.cuts[cut_id], self.targets, self.source.pass_number)
        scaled_priors = np.float32(self.source.prior_scale) * self.network.log_priors
        return self.network.log_posteriors_of(stacked) - scaled_priors, senones.numpy().astype(np.int32)
