"""Decoding many utterances in parallel, at one or several scales, whatever the acoustic model is."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pyasr.base.artifact import write_jsonl
from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.base.skips import Skips
from pyasr.decode.backends import SEARCHERS, AnySearcher, check_backend
from pyasr.decode.options import DecodeOptions
from pyasr.decode.search import Hypothesis
from pyasr.lang.words import WordTable

_CUTS_PER_JOB = 16


@dataclass(frozen=True)
class Scales:
    """Weights of the parts of a path's cost: graph + word_penalty * words - log-likelihood / lm_weight."""

    lm_weight: float
    word_penalty: float = 0.0

    @property
    def acoustic_scale(self) -> float:
        return 1.0 / self.lm_weight


class Likelihoods(Protocol):
    """Log-likelihoods by utterance. tid_to_pdf: int32 (num_tids + 1,), the column of each transition id."""

    @property
    def tid_to_pdf(self) -> np.ndarray: ...

    def loglikes(self, cut_id: str) -> np.ndarray:
        """float32 (T, P), natural log. DataError names the utterance when there are none."""
        ...


class LikelihoodSource(Protocol):
    """Where likelihoods come from: small, so that it travels to workers, which open it there."""

    def open(self) -> Likelihoods: ...


@dataclass(frozen=True)
class Failure:
    """Why an utterance could not be decoded."""

    reason: str


Outcome = Hypothesis | Failure


def decode_cuts(
    source: LikelihoodSource,
    cut_ids: Sequence[str],
    graph: str | Path,
    grid: Sequence[Scales],
    options: DecodeOptions,
    executor: Executor,
    what: str = "decode",
) -> dict[Scales, dict[str, Outcome]]:
    """Decode utterances at each of the scales: scales -> cut_id -> outcome, in the order of `grid` and `cut_ids`.

    The likelihoods of an utterance are computed once for all scales. The partition into jobs is fixed, and a
    job reads graph and model once (one graph for each word penalty is held in memory).
    DataError when more than options.skip_limit of the utterances fail; ConfigError when options.backend is missing.
    """
    check_backend(options.backend)
    jobs = split_jobs(list(cut_ids), -(-len(cut_ids) // _CUTS_PER_JOB))
    job = functools.partial(_decode_job, source, str(graph), tuple(grid), options)
    results = run_jobs(executor, job, jobs, what, unit=f"x{_CUTS_PER_JOB} utt")
    outcomes: dict[Scales, dict[str, Outcome]] = {scales: {} for scales in grid}
    for cut_id, row in (pair for result in results for pair in result):
        for scales, outcome in zip(grid, row, strict=True):
            outcomes[scales][cut_id] = outcome
    for decoded in outcomes.values():
        _check_failures(decoded, options.skip_limit)
    return outcomes


def _decode_job(
    source: LikelihoodSource, graph: str, grid: tuple[Scales, ...], options: DecodeOptions, cut_ids: list[str]
) -> list[tuple[str, list[Outcome]]]:
    likelihoods = source.open()
    backend = SEARCHERS[options.backend]
    searchers = {
        penalty: backend.read(graph, likelihoods.tid_to_pdf, options.beam, options.max_active, penalty)
        for penalty in dict.fromkeys(scales.word_penalty for scales in grid)
    }
    return [(cut_id, _decode_one(likelihoods, searchers, grid, cut_id)) for cut_id in cut_ids]


def _decode_one(
    likelihoods: Likelihoods, searchers: Mapping[float, AnySearcher], grid: tuple[Scales, ...], cut_id: str
) -> list[Outcome]:
    try:
        matrix = likelihoods.loglikes(cut_id)
    except DataError as error:
        return [Failure(str(error))] * len(grid)
    outcomes: list[Outcome] = []
    for scales in grid:
        try:
            outcomes.append(searchers[scales.word_penalty].decode(matrix, scales.acoustic_scale, cut_id))
        except DataError as error:
            outcomes.append(Failure(str(error)))
    return outcomes


def _check_failures(decoded: Mapping[str, Outcome], limit: float) -> None:
    skips = Skips("utterances", limit)
    for cut_id, outcome in decoded.items():
        if isinstance(outcome, Failure):
            skips.add(cut_id, outcome.reason)
    skips.check(len(decoded))


def hypothesis_row(cut_id: str, outcome: Outcome, words: WordTable) -> dict[str, Any]:
    """A row of EXP/decode/SYSTEM/hyp/CONDITION.jsonl: id, words, cost, reached_final; `failed` says why if it did."""
    if isinstance(outcome, Failure):
        return {"id": cut_id, "words": [], "cost": None, "reached_final": False, "failed": outcome.reason}
    return {
        "id": cut_id,
        "words": [words.name(word_id) for word_id in outcome.word_ids],
        "cost": round(outcome.cost, 4),
        "reached_final": outcome.reached_final,
    }


def write_hypotheses(path: str | Path, decoded: Mapping[str, Outcome], words: WordTable) -> list[dict[str, Any]]:
    """Write the rows of all outcomes to `path` and return them."""
    rows = [hypothesis_row(cut_id, outcome, words) for cut_id, outcome in decoded.items()]
    write_jsonl(path, rows)
    return rows
