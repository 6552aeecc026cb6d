"""The word error rate on dev of a model that is still in training."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from pyasr.decode.network_decode import NetworkSource
from pyasr.decode.options import NetworkDecodeOptions
from pyasr.decode.part import Scales, decode_cuts, hypothesis_row
from pyasr.decode.score import score_rows, total, wer
from pyasr.features.network import NetworkFrontend
from pyasr.lang.words import WordTable
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network


@dataclass(frozen=True)
class DevWer:
    """Decodes clean dev at fixed scales.

    folder: where the model is put for the workers. senones: folder. cuts: a manifest file. references: {cut_id:
    (speaker, text)}. fingerprint: of the senones.
    """

    folder: Path
    senones: Path
    fingerprint: str
    frontend: NetworkFrontend
    cuts: Path
    references: Mapping[str, tuple[str, str]]
    graph: Path
    words: WordTable
    scales: Scales
    options: NetworkDecodeOptions
    executor: Executor

    def __call__(self, model: AcousticModel) -> float:
        """Per cent."""
        Network(model, self.frontend, self.fingerprint).save(self.folder)
        source = NetworkSource(self.folder, self.senones, self.cuts, self.options.prior_scale)
        cut_ids = list(self.references)
        decoded = decode_cuts(source, cut_ids, self.graph, [self.scales], self.options, self.executor, "decode dev")
        rows = [hypothesis_row(cut_id, outcome, self.words) for cut_id, outcome in decoded[self.scales].items()]
        return wer(total(score_rows(self.references, rows)))
