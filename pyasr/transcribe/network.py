"""Whole recordings to words and their times with a network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from pyasr.base.errors import ConfigError, DataError
from pyasr.decode.model_dir import NetworkModel
from pyasr.features.options import SAMPLING_RATE
from pyasr.nn.streaming import StreamingLSTM
from pyasr.transcribe.transcript import Transcript, path_words


class NetworkRecogniser:
    """Holds a model and its decoding graph in memory.

    precision: "fp32", "bf16" or "int8", of the weights of a forward-only network, which runs as it does on live
    audio: its words are those of `StreamingRecogniser` without end-pointing, bit for bit.
    ConfigError for a bidirectional network in another precision than fp32.
    """

    def __init__(self, model: NetworkModel, precision: str = "fp32") -> None:
        acoustic = model.network.model
        if acoustic.options.bidirectional and precision != "fp32":
            raise ConfigError(f"{model.folder}: a bidirectional network runs in fp32 alone, not in {precision}")
        self._model = model
        self._searcher = model.searcher(model.scales.word_penalty)
        self._streaming = None if acoustic.options.bidirectional else pack(model, precision)

    def transcribe(self, samples_by_name: Mapping[str, np.ndarray]) -> dict[str, Transcript | DataError]:
        """Recognise recordings: samples (n,) float32 at 16 kHz by name; nothing is carried from one to another.

        A recording that cannot be recognised gives its DataError; the others go on.
        """
        results: dict[str, Transcript | DataError] = {}
        for name, samples in samples_by_name.items():
            try:
                results[name] = self._transcribe(name, samples)
            except DataError as error:
                results[name] = error
        return results

    def _transcribe(self, name: str, samples: np.ndarray) -> Transcript:
        model = self._model
        loglikes = self._log_posteriors(samples) - log_priors(model)
        if not len(loglikes):
            raise DataError(f"{name}: too short: {len(samples)} samples give no frame")
        found = self._searcher.decode(loglikes, model.scales.acoustic_scale, name)
        words = path_words(model, found, complete=found.reached_final)
        return Transcript(words, len(samples) / SAMPLING_RATE, found.reached_final)

    def _log_posteriors(self, samples: np.ndarray) -> np.ndarray:
        network = self._model.network
        if self._streaming is None:
            return network.offline_log_posteriors(samples, self._model.options.search.average_phases)
        stacked = torch.from_numpy(network.frontend.stacked(samples))
        if not len(stacked):
            return np.empty((0, network.model.num_senones), np.float32)
        frames = network.model.with_delay(stacked)
        logp = self._streaming.step(frames[None], self._streaming.init_state(1))
        return logp[0, network.model.options.delay_frames :].numpy()


def pack(model: NetworkModel, precision: str) -> StreamingLSTM:
    """The network for live audio; ConfigError for a bidirectional one."""
    acoustic = model.network.model
    if acoustic.options.bidirectional:
        raise ConfigError(
            f"{model.folder}: a bidirectional network reads an utterance from its end too and cannot follow live"
            " audio; choose a forward-only one, such as EXP/decode/student"
        )
    return StreamingLSTM.from_lstm(acoustic.lstm, acoustic.output, precision)


def log_priors(model: NetworkModel) -> np.ndarray:
    """float32 (S,): what is taken from log-posteriors to have log-likelihoods, up to a constant a frame."""
    return np.float32(model.options.search.prior_scale) * model.network.log_priors
