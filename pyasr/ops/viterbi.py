"""Viterbi alignment of many utterances, each to a graph of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyasr import _core
from pyasr.ops.arrays import checked


@dataclass(frozen=True)
class AlignmentGraph:
    """An epsilon-free graph whose arcs each consume one frame; the start state is 0.

    arc_begin: int32 (S+1,), first arc of each state; arcs are grouped by their source.
    arc_dst: int32 (A,), state an arc leads to.
    arc_tid: int32 (A,), transition id, 1-based.
    arc_cost: float32 (A,), graph cost, at most one acoustic cost is added per frame.
    final_cost: float32 (S,), +inf where a path must not end.
    arc_word: int32 (A,), index of the word in the transcript, -1 in silence; carried along for word times.
    """

    arc_begin: np.ndarray
    arc_dst: np.ndarray
    arc_tid: np.ndarray
    arc_cost: np.ndarray
    final_cost: np.ndarray
    arc_word: np.ndarray


@dataclass(frozen=True)
class ViterbiResult:
    """The best path: arcs int32 (T,), empty unless `ok`; cost (negated log, +inf unless `ok`)."""

    arcs: np.ndarray
    cost: float
    ok: bool


def viterbi_align(
    graphs: Sequence[AlignmentGraph],
    loglikes: Sequence[np.ndarray],
    tid_to_pdf: np.ndarray,
    acoustic_scale: float = 1.0,
    beam: float = math.inf,
    num_threads: int = 1,
) -> list[ViterbiResult]:
    """Best path of each utterance through its graph.

    graphs: one an utterance. loglikes: float32 (T, P), natural log, one an utterance.
    tid_to_pdf: int32 (num_tids + 1,), column of each transition id; entry 0 is not used.
    cost of a path = sum of arc_cost + final_cost - acoustic_scale * sum of loglikes[t, tid_to_pdf[tid]].
    Sums are float64; of equal costs the lower arc wins. beam: states this far above the best of their
    frame are dropped. num_threads changes the speed only.

    An utterance without a path (too short, or pruned away) has ok=False and no arcs. ValueError names the
    utterance's index for NaN or +inf log-likelihoods (-inf forbids), broken graphs, wrong types and shapes.
    """
    if len(graphs) != len(loglikes):
        raise ValueError(f"{len(graphs)} graphs for {len(loglikes)} log-likelihood matrices")
    tid_to_pdf = checked("tid_to_pdf", tid_to_pdf, np.int32, 1)
    utterances = []
    for index, (graph, matrix) in enumerate(zip(graphs, loglikes)):
        try:
            utterances.append(_utterance(graph, matrix))
        except (TypeError, ValueError) as error:
            raise type(error)(f"utterance {index}: {error}") from None
    results = _core.viterbi_align(utterances, tid_to_pdf, acoustic_scale, beam, num_threads)
    return [ViterbiResult(*result) for result in results]


def _utterance(graph: AlignmentGraph, matrix: np.ndarray) -> tuple[np.ndarray, ...]:
    """What the kernel takes of one utterance, checked here for type and rank; sizes and values are checked there."""
    arc_dst = checked("arc_dst", graph.arc_dst, np.int32, 1)
    arc_word = checked("arc_word", graph.arc_word, np.int32, 1)
    if len(arc_word) != len(arc_dst):
        raise ValueError(f"arc_word has {len(arc_word)} entries for {len(arc_dst)} arcs")
    return (
        checked("arc_begin", graph.arc_begin, np.int32, 1),
        arc_dst,
        checked("arc_tid", graph.arc_tid, np.int32, 1),
        checked("arc_cost", graph.arc_cost, np.float32, 1),
        checked("final_cost", graph.final_cost, np.float32, 1),
        checked("loglikes", matrix, np.float32, 2),
    )
