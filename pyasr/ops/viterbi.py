"""Viterbi alignment of many utterances, each to a graph of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyasr import _core


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


def arc_columns(graph: AlignmentGraph, tid_to_pdf: np.ndarray) -> np.ndarray:
    """int32 (A,): the column of the log-likelihoods that each arc reads. ValueError for a tid out of range."""
    tids = graph.arc_tid
    if tids.size and not (tids.min() >= 1 and tids.max() < len(tid_to_pdf)):
        raise ValueError(f"arc_tid spans {tids.min()}..{tids.max()}, outside 1..{len(tid_to_pdf) - 1}")
    return np.ascontiguousarray(tid_to_pdf[tids], dtype=np.int32)


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
    utterances = []
    for index, (graph, matrix) in enumerate(zip(graphs, loglikes)):
        try:
            utterances.append(_utterance(graph, matrix, tid_to_pdf))
        except (TypeError, ValueError) as error:
            raise type(error)(f"utterance {index}: {error}") from None
    results = _core.viterbi_align(utterances, acoustic_scale, beam, num_threads)
    return [ViterbiResult(*result) for result in results]


def _utterance(graph: AlignmentGraph, matrix: np.ndarray, tid_to_pdf: np.ndarray) -> tuple[np.ndarray, ...]:
    columns = arc_columns(graph, tid_to_pdf)
    arrays = (graph.arc_begin, graph.arc_dst, columns, graph.arc_cost, graph.final_cost, matrix)
    names = ("arc_begin", "arc_dst", "tid_to_pdf", "arc_cost", "final_cost", "loglikes")
    dtypes = (np.int32, np.int32, np.int32, np.float32, np.float32, np.float32)
    for name, array, dtype in zip(names, arrays, dtypes):
        if array.dtype != dtype:
            raise TypeError(f"{name} is {array.dtype}, not {np.dtype(dtype).name}")
        if array.ndim != (2 if name == "loglikes" else 1):
            raise ValueError(f"{name} has {array.ndim} dimensions")
    return tuple(np.ascontiguousarray(array) for array in arrays)
