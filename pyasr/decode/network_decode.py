"""Decoding with networks: features are computed from audio, posteriors divided by priors."""

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
from pyasr.decode.model_dir import NetworkModel, check_senones
from pyasr.decode.part import decode_cuts, write_hypotheses
from pyasr.decode.tune import Tuning, choose, scales_grid
from pyasr.features.audio import load_samples
from pyasr.features.noise import NoiseSpec, speech_power
from pyasr.nn.network import Network


@dataclass(frozen=True)
class NetworkSource:
    """Scaled likelihoods of cuts by a network (a `pyasr.decode.part.LikelihoodSource`).

    network, senones: folders. cuts: a manifest file. noise: added to the audio first.
    prior_scale: log-likelihood = log-posterior - prior_scale * log-prior. average_phases: see
    `pyasr.nn.network.Network.offline_log_posteriors`.
    """

    network: Path
    senones: Path
    cuts: Path
    prior_scale: float = 1.0
    noise: NoiseSpec | None = None
    average_phases: bool = False

    def open(self) -> NetworkLikelihoods:
        network, senones = Network.load(self.network), Senones.load(self.senones)
        check_senones(network, senones, self.network)
        return NetworkLikelihoods(self, network, senones, {cut.id: cut for cut in read_cuts(self.cuts)})


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
        logp = self.network.offline_log_posteriors(samples, self.source.average_phases)
        return logp - np.float32(self.source.prior_scale) * self.network.log_priors


def network_source(model: NetworkModel, cuts: Path, noise: NoiseSpec | None = None) -> NetworkSource:
    """Likelihoods of the cuts of a manifest."""
    search = model.options.search
    folders = (model.network_folder, model.senones_folder)
    return NetworkSource(*folders, cuts, search.prior_scale, noise, search.average_phases)


def tune_model(
    model: NetworkModel, cuts: Path, references: Mapping[str, tuple[str, str]], executor: Executor
) -> Tuning:
    """Choose the scales on the development part and write tuning.json. references: {cut_id: (speaker, text)}."""
    search, cut_ids = model.options.search, list(references)
    source, grid = network_source(model, cuts), scales_grid(search)
    decoded = decode_cuts(source, cut_ids, model.graph, grid, search, executor, "scales on dev")
    tuning = choose(decoded, references, model.words)
    tuning.save(model.tuning)
    return tuning


def decode_condition(
    model: NetworkModel, source: NetworkSource, cut_ids: list[str], condition: str, executor: Executor
) -> list[dict[str, Any]]:
    """Decode a test condition with the chosen scales, write hyp/CONDITION.jsonl and return its rows."""
    search, scales = model.options.search, model.scales
    decoded = decode_cuts(source, cut_ids, model.graph, [scales], search, executor, condition)
    return write_hypotheses(model.hypotheses(condition), decoded[scales], model.words)
