"""Slow, obvious twins of the kernels: the same signatures and results, written to be read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pyasr.ops.viterbi import AlignmentGraph, ViterbiResult, arc_columns


def viterbi_align(
    graphs: Sequence[AlignmentGraph],
    loglikes: Sequence[np.ndarray],
    tid_to_pdf: np.ndarray,
    acoustic_scale: float = 1.0,
    beam: float = math.inf,
    num_threads: int = 1,
) -> list[ViterbiResult]:
    """Twin of `pyasr.ops.viterbi.viterbi_align`; num_threads is ignored."""
    return [
        _align_one(graph, matrix, arc_columns(graph, tid_to_pdf), acoustic_scale, beam)
        for graph, matrix in zip(graphs, loglikes, strict=True)
    ]


def _align_one(
    graph: AlignmentGraph, loglikes: np.ndarray, columns: np.ndarray, acoustic_scale: float, beam: float
) -> ViterbiResult:
    num_states, num_frames = len(graph.final_cost), len(loglikes)
    cost = [math.inf] * num_states
    cost[0] = 0.0
    back: list[list[tuple[int, int]]] = []  # per frame and state: (source state, arc)
    for t in range(num_frames):
        limit = min(cost) + beam
        new_cost, entered_by = [math.inf] * num_states, [(-1, -1)] * num_states
        for state in range(num_states):
            if cost[state] == math.inf or cost[state] > limit:
                continue
            for arc in range(graph.arc_begin[state], graph.arc_begin[state + 1]):
                loglike = float(loglikes[t, columns[arc]])
                if math.isnan(loglike) or loglike == math.inf:
                    raise ValueError(f"log-likelihood of frame {t}, column {columns[arc]} is {loglike}")
                total = cost[state] + float(graph.arc_cost[arc]) - acoustic_scale * loglike
                if total < new_cost[graph.arc_dst[arc]]:
                    new_cost[graph.arc_dst[arc]] = total
                    entered_by[graph.arc_dst[arc]] = (state, arc)
        cost = new_cost
        back.append(entered_by)
    limit = min(cost) + beam
    totals = [c + float(f) if c <= limit else math.inf for c, f in zip(cost, graph.final_cost)]
    best = min(range(num_states), key=totals.__getitem__)
    if totals[best] == math.inf:
        return ViterbiResult(np.empty(0, np.int32), math.inf, False)
    arcs, state = [], best
    for entered_by in reversed(back):
        state, arc = entered_by[state]
        arcs.append(arc)
    return ViterbiResult(np.array(arcs[::-1], np.int32), totals[best], True)


def accumulate_stats(
    features: np.ndarray,
    keys: np.ndarray,
    num_keys: int,
    weights: np.ndarray | None = None,
    num_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twin of `pyasr.ops.stats.accumulate_stats`; num_threads is ignored."""
    count = np.zeros(num_keys)
    total, squares = np.zeros((num_keys, features.shape[1])), np.zeros((num_keys, features.shape[1]))
    for t, key in enumerate(keys):
        if not -1 <= key < num_keys:
            raise ValueError(f"key of frame {t} is {key}, outside [-1, {num_keys})")
        if key < 0:
            continue
        weight = 1.0 if weights is None else float(weights[t])
        frame = features[t].astype(np.float64)
        if not (math.isfinite(weight) and np.isfinite(frame).all()):
            raise ValueError(f"frame {t} or its weight is not finite")
        count[key] += weight
        total[key] += weight * frame
        squares[key] += weight * frame**2
    return count, total, squares
