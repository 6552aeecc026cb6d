"""Decoding with networks: features are computed from audio, posteriors divided by priors.

A recogniser's folder, EXP/decode/SYSTEM:

    network/       `pyasr.nn.network.Network`      senones/   `pyasr.align.senones.Senones`
    HCLG.fst       the decoding graph              words.txt  lexicon.txt
    tuning.json    the scales chosen on dev        hyp/       CONDITION.jsonl
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.align.senones import Senones
from pyasr.base.errors import DataError
from pyasr.corpora import read_cuts
from pyasr.decode.options import NetworkDecodeOptions
from pyasr.decode.part import Scales, decode_cuts, write_hypotheses
from pyasr.decode.tune import Tuning, choose, scales_grid
from pyasr.features.audio import load_samples
from pyasr.features.noise import NoiseSpec, speech_power
from pyasr.lang.words import WordTable
from pyasr.nn.network import Network


@dataclass(frozen=True)
class NetworkSource:
    """Scaled likelihoods of cuts by a network (a `pyasr.decode.part.LikelihoodSource`).

    network, senones: folders. cuts: a manifest file. noise: added to the audio first.
    prior_scale: log-likelihood = log-posterior - prior_scale * log-prior.
    """

    network: Path
    senones: Path
    cuts: Path
    prior_scale: float = 1.0
    noise: NoiseSpec | None = None

    def open(self) -> NetworkLikelihoods:
        network, senones = Network.load(self.network), Senones.load(self.senones)
        check_senones(network, senones, self.network)
        return NetworkLikelihoods(self, network, senones, {cut.id: cut for cut in read_cuts(self.cuts)})


def check_senones(network: Network, senones: Senones, where: Path) -> None:
    """DataError when a network's outputs stand for other senones."""
    if network.senones != senones.fingerprint:
        raise DataError(f"{where}: trained for other senones; train it again, or use the senones it was trained for")


@dataclass(frozen=True)
class NetworkLikelihoods:
    """An opened `NetworkSource`."""

    source: NetworkSource
    network: Network
    senones: Senones
    cuts: Mapping[str, Any]

    @property
    def tid_to_pdf(self) -> np.ndarray:
        return self.senones.transitions.tid_to_pdf

    def loglikes(self, cut_id: str) -> np.ndarray:
        """float32 (T, S), a row every 30 ms."""
        samples = load_samples(self.cuts[cut_id])
        if self.source.noise is not None:
            if not speech_power(samples) > 0.0:
                raise DataError(f"{cut_id}: silent audio: noise cannot be added at a ratio to it")
            samples = self.source.noise.add(samples, cut_id)
        return self.network.log_posteriors(samples) - np.float32(self.source.prior_scale) * self.network.log_priors


@dataclass(frozen=True)
class NetworkRecogniser:
    """The folder of a recogniser and how it searches."""

    folder: Path
    options: NetworkDecodeOptions
    words: WordTable

    def source(self, cuts: Path, noise: NoiseSpec | None = None) -> NetworkSource:
        """Likelihoods of the cuts of a manifest."""
        return NetworkSource(self.folder / "network", self.folder / "senones", cuts, self.options.prior_scale, noise)

    def tune(self, cuts: Path, references: Mapping[str, tuple[str, str]], executor: Executor) -> Tuning:
        """Choose the scales on the development part and write tuning.json. references: {cut_id: (speaker, text)}."""
        grid = scales_grid(self.options)
        graph = self.folder / "HCLG.fst"
        decoded = decode_cuts(self.source(cuts), list(references), graph, grid, self.options, executor, "scales on dev")
        tuning = choose(decoded, references, self.words)
        tuning.save(self.folder / "tuning.json")
        return tuning

    def decode(
        self, source: NetworkSource, cut_ids: list[str], scales: Scales, condition: str, executor: Executor
    ) -> list[dict[str, Any]]:
        """Decode a test condition, write hyp/CONDITION.jsonl and return its rows."""
        graph = self.folder / "HCLG.fst"
        decoded = decode_cuts(source, cut_ids, graph, [scales], self.options, executor, condition)
        return write_hypotheses(self.folder / "hyp" / f"{condition}.jsonl", decoded[scales], self.words)
