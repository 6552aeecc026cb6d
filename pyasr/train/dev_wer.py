"""The word error rate on dev of a model that is still in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from pyasr.decode.network_decode import NetworkSource
from pyasr.decode.options import NetworkDecodeOptions
from pyasr.decode.part import Outcome, Scales, decode_cuts, hypothesis_row
from pyasr.decode.score import score_rows, total, wer
from pyasr.features.network import NetworkFrontend
from pyasr.lang.words import WordTable
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network


@dataclass(frozen=True)
class DevWer:
    """Decodes clean dev at the scales chosen before training and at the LM weights beside them.

    Training sharpens the posteriors: at the old weight alone a better model can look worse. folder: where the model is
    put for the workers. senones: folder. cuts: a manifest file. references: {cut_id: (speaker, text)}. fingerprint: of
    the senones. executor: None on workers but the first, which decode nothing.
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
    executor: Executor | None

    def __call__(self, model: AcousticModel) -> float:
        """The lowest of these rates, per cent."""
        Network(model, self.frontend, self.fingerprint).save(self.folder)
        prior_scale, average_phases = self.options.prior_scale, self.options.average_phases
        source = NetworkSource(self.folder, self.senones, self.cuts, prior_scale, None, average_phases)
        cut_ids = list(self.references)
        grid = neighbours(self.scales, self.options.lm_weights)
        decoded = decode_cuts(source, cut_ids, self.graph, grid, self.options, self.executor, "decode dev")
        return min(self._wer(outcomes) for outcomes in decoded.values())

    def _wer(self, outcomes: Mapping[str, Outcome]) -> float:
        rows = [hypothesis_row(cut_id, outcome, self.words) for cut_id, outcome in outcomes.items()]
        return wer(total(score_rows(self.references, rows)))


def neighbours(scales: Scales, lm_weights: Sequence[float]) -> list[Scales]:
    """The scales, and those with the next lower and the next higher LM weight, in the order of weights."""
    lower = [weight for weight in lm_weights if weight < scales.lm_weight]
    higher = [weight for weight in lm_weights if weight > scales.lm_weight]
    weights = [*([max(lower)] if lower else []), scales.lm_weight, *([min(higher)] if higher else [])]
    return [Scales(weight, scales.word_penalty) for weight in weights]
