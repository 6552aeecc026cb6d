"""The graph of one transcript: what the Viterbi alignment searches.

Built directly, not by composition: phones in their true context, pronunciation alternatives, optional
silence at both ends and between words, with the weights that the decoding graph has for the same words.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyasr.lang.context import ContextMap
from pyasr.lang.transitions import TransitionModel
from pyasr.ops.viterbi import AlignmentGraph


@dataclass(frozen=True)
class _PhoneArc:
    """One phone at one place of the transcript, between two nodes of the phone graph."""

    src: int
    dst: int
    phone: int
    cost: float
    word: int


def build_alignment_graph(
    pronunciations: Sequence[Sequence[tuple[int, ...]]],
    transitions: TransitionModel,
    context: ContextMap,
    silence_id: int,
    silence_p: float = 0.5,
    transition_scale: float = 0.1,
) -> AlignmentGraph:
    """The alignment graph of a transcript.

    pronunciations: for each word its alternatives as phone ids. silence_p: probability of silence at the
    beginning and after each word (0: never, 1: always). transition_scale: weight of transition
    probabilities. Arc costs are negated natural logs. Arcs carry transition ids and the word's index.
    """
    arcs, last = _phone_graph(pronunciations, silence_id, silence_p)
    return _expand(arcs, last, transitions, context, transition_scale)


def _phone_graph(
    pronunciations: Sequence[Sequence[tuple[int, ...]]], silence_id: int, silence_p: float
) -> tuple[list[_PhoneArc | None], dict[int, float]]:
    """Arcs over nodes; skipping silence is folded into the following arcs, so there are no epsilons.

    Node 2 w is before the optional silence in front of word w, node 2 w + 1 after it. Returned with the
    arcs are the nodes where the transcript may end, with their costs.
    """
    silence_cost = -math.log(silence_p) if silence_p > 0 else math.inf
    skip_cost = -math.log1p(-silence_p) if silence_p < 1 else math.inf
    num_words = len(pronunciations)
    next_node = 2 * num_words + 2
    arcs: list[_PhoneArc | None] = []
    for word in range(num_words + 1):
        if silence_cost < math.inf:
            arcs.append(_PhoneArc(2 * word, 2 * word + 1, silence_id, silence_cost, -1))
        if word == num_words:
            break
        for phones in pronunciations[word]:
            inner = [*range(next_node, next_node + len(phones) - 1), 2 * word + 2]
            next_node += len(phones) - 1
            for src, skipped in ((2 * word + 1, 0.0), (2 * word, skip_cost)):
                if skipped < math.inf:
                    arcs.append(_PhoneArc(src, inner[0], phones[0], skipped, word))
            arcs += [_PhoneArc(s, d, p, 0.0, word) for s, d, p in zip(inner, inner[1:], phones[1:])]
    final = {2 * num_words + 1: 0.0}
    if skip_cost < math.inf and num_words:
        final[2 * num_words] = skip_cost
    return arcs, final


def _expand(
    arcs: list[_PhoneArc],
    final: dict[int, float],
    transitions: TransitionModel,
    context: ContextMap,
    transition_scale: float,
) -> AlignmentGraph:
    """Put each phone arc into its contexts and unroll its HMM states.

    A state of the result is "in HMM state h of arc a, whose neighbours are known". With triphones an arc
    is split by its left and right phone; its copies are joined where the phones agree.
    """
    leaving, entering = defaultdict(list), defaultdict(list)
    for arc in arcs:
        leaving[arc.src].append(arc)
        entering[arc.dst].append(arc)
    triphones = context.width == 3

    def lefts(arc: _PhoneArc) -> list[int]:
        found = {before.phone for before in entering[arc.src]} | ({0} if arc.src == 0 else set())
        return sorted(found) if triphones else [0]

    def rights(arc: _PhoneArc) -> list[int]:
        found = {after.phone for after in leaving[arc.dst]} | ({0} if arc.dst in final else set())
        return sorted(found) if triphones else [0]

    costs = transitions.tid_cost(transition_scale)
    # (source, destination, tid, cost, word); states are numbered as they are met, 0 is the start.
    rows: list[tuple[int, int, int, float, int]] = []
    final_cost = [math.inf]
    first: dict[tuple[_PhoneArc, int, int], tuple[int, int]] = {}  # copy -> (first state, entry tid)
    last: dict[tuple[_PhoneArc, int, int], int] = {}
    for arc in arcs:
        for left in lefts(arc):
            for right in rights(arc):
                window = (left, arc.phone, right) if triphones else (arc.phone,)
                tids = transitions.entry_tids(window, context)
                copy = (arc, left, right)
                begin = len(final_cost)
                final_cost += [math.inf] * len(tids)
                first[copy], last[copy] = (begin, tids[0]), begin + len(tids) - 1
                for h, tid in enumerate(tids):
                    state = begin + h
                    rows.append((state, state, tid + 1, float(costs[tid + 1]), arc.word))
                    if h:
                        rows.append((state - 1, state, tid, float(costs[tid]), arc.word))
                if arc.dst in final and (right == 0 or not triphones):
                    final_cost[begin + len(tids) - 1] = final[arc.dst]
    for copy, (state, tid) in first.items():
        arc, left, _ = copy
        cost = arc.cost + float(costs[tid])
        if arc.src == 0 and left == 0:
            rows.append((0, state, tid, cost, arc.word))
        for before in entering[arc.src]:
            if before.phone == left or not triphones:
                right = arc.phone if triphones else 0
                rows += [
                    (last[before, before_left, right], state, tid, cost, arc.word) for before_left in lefts(before)
                ]
    return _to_graph(rows, final_cost)


def _to_graph(rows: list[tuple[int, int, int, float, int]], final_cost: list[float]) -> AlignmentGraph:
    rows.sort()
    source, dst, tid, cost, word = (np.array(column) for column in zip(*rows)) if rows else [np.empty(0)] * 5
    begin = np.searchsorted(source, np.arange(len(final_cost) + 1))
    return AlignmentGraph(
        arc_begin=begin.astype(np.int32),
        arc_dst=dst.astype(np.int32),
        arc_tid=tid.astype(np.int32),
        arc_cost=cost.astype(np.float32),
        final_cost=np.array(final_cost, np.float32),
        arc_word=word.astype(np.int32),
    )
