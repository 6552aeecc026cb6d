"""Slow, obvious twins of the kernels: the same signatures and results, written to be read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

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


def pack_topk(logits: torch.Tensor, k: int = 20, num_threads: int = 1) -> torch.Tensor:
    """Twin of `pyasr.ops.topk.pack_topk`; num_threads is ignored."""
    if logits.ndim != 2 or not 1 <= k <= min(64, logits.shape[1]) or logits.shape[1] > 65535:
        raise ValueError(f"k = {k} for logits {tuple(logits.shape)}")
    num_senones = logits.shape[1]
    id_bits = max(12, (num_senones - 1).bit_length())
    rows = []
    for number, row in enumerate(logits.double().tolist()):
        if any(math.isnan(x) or x == math.inf for x in row):
            raise ValueError(f"row {number} holds a NaN or +infinity")
        ids = sorted(range(num_senones), key=lambda s: (-row[s], s))[:k]
        best = row[ids[0]]
        if best == -math.inf:
            raise ValueError(f"all of row {number} is -infinity")
        kept = sum(math.exp(row[s] - best) for s in ids)
        tail = sum(math.exp(x - best) for x in row) - kept
        log_odds = math.log(tail / kept) if tail > 0 else -math.inf
        codes = [min(range(256), key=lambda code: abs(_tail_log_odds(code) - max(log_odds, -1e3)))]
        below = 0.0
        for s in ids[1:]:
            gap = min(best - row[s] - below, 1e3)
            codes.append(min(range(256), key=lambda code: abs(_gap(code) - gap)))
            below += _gap(codes[-1])
        bits = "".join(f"{s:0{id_bits}b}"[::-1] for s in ids) + "".join(f"{code:08b}"[::-1] for code in codes)
        bits += "0" * (-len(bits) % 8)
        rows.append([int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8)])
    return torch.tensor(rows, dtype=torch.uint8).reshape(len(rows), -(-k * (id_bits + 8) // 8))


def unpack_topk(packed: torch.Tensor, k: int, num_senones: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Twin of `pyasr.ops.topk.unpack_topk`."""
    id_bits = max(12, (num_senones - 1).bit_length())
    all_ids, all_logp = [], []
    for row in packed.tolist():
        bits = "".join(f"{byte:08b}"[::-1] for byte in row)
        ids = [int(bits[i * id_bits : (i + 1) * id_bits][::-1], 2) for i in range(k)]
        start = k * id_bits
        codes = [int(bits[start + 8 * i : start + 8 * (i + 1)][::-1], 2) for i in range(k)]
        if any(s >= num_senones for s in ids):
            raise ValueError("an id is not below num_senones")
        below = [sum(_gap(code) for code in codes[1 : i + 1]) for i in range(k)]
        tail = 1.0 / (1.0 + math.exp(-_tail_log_odds(codes[0])))
        total = sum(math.exp(-b) for b in below)
        all_ids.append(ids)
        all_logp.append([math.log((1.0 - tail) / total) - b for b in below])
    return torch.tensor(all_ids, dtype=torch.int32).reshape(-1, k), torch.tensor(all_logp).reshape(-1, k)


def _tail_log_odds(code: int) -> float:
    return -14.0 + 26.0 / 255.0 * code


def _gap(code: int) -> float:
    return 0.5 * math.expm1(0.01723302 * code)
