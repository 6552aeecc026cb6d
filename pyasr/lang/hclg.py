"""The decoding graph HCLG: transition ids to words, for any phone context, topology and grammar.

    LG   = min(det(L o G))                         phones to words
    CLG  = C o LG                                  context windows to words
    HCLG = loops(min(rm-disambig(det(H o CLG))))   transition ids to words

H is applied by unrolling every window into the entry ids of its HMM states; self-loops come last, on the
states that an entry id leads to, as in Kaldi (Mohri, Pereira, Riley: Speech recognition with weighted
finite-state transducers, 2008; Povey et al., 2011). Weights of transitions are in the arcs, scaled.
"""

from __future__ import annotations

from collections.abc import Sequence

import kaldifst
import numpy as np

from pyasr.base.errors import DataError
from pyasr.lang.context import ContextMap
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.transitions import TransitionModel


def build_hclg(
    l_fst: kaldifst.StdVectorFst,
    g_fst: kaldifst.StdVectorFst,
    disambiguation_ids: Sequence[int],
    context: ContextMap,
    transitions: TransitionModel,
    transition_scale: float = 0.1,
) -> FstArrays:
    """Compose, determinise and minimise the decoding graph.

    l_fst, disambiguation_ids: of `grammar.make_l_fst`. g_fst: of `grammar.make_g_fst`.
    Input labels of the result are transition ids (1-based; each consumes one frame) or epsilon, output
    labels are word ids. DataError when nothing is left, for example when no word of G is in L.
    """
    lg = kaldifst.compose(l_fst, g_fst)
    _determinize(lg, "LG")
    kaldifst.minimize_encoded(lg)
    clg, windows = kaldifst.compose_context(disambiguation_ids, context.width, context.width // 2, lg)
    if clg.start < 0:
        raise DataError("the decoding graph is empty: the grammar accepts no words of the lexicon")
    del lg
    expanded = _apply_h(FstArrays.from_fst(clg), windows, context, transitions, transition_scale)
    del clg
    hclg = expanded.to_fst()
    _determinize(hclg, "HCLG")
    arrays = FstArrays.from_fst(hclg)
    arrays.ilabel[arrays.ilabel > transitions.num_tids] = 0
    hclg = arrays.to_fst()
    kaldifst.minimize_encoded(hclg)
    arrays = FstArrays.from_fst(hclg)
    return add_self_loops(arrays, transitions.tid_cost(transition_scale))


def _determinize(fst: kaldifst.StdVectorFst, what: str) -> None:
    try:
        kaldifst.determinize_star(fst, use_log=True)
    except RuntimeError as error:
        raise DataError(f"{what} cannot be determinised ({error}); is a word without a pronunciation in it?") from error


def _apply_h(
    clg: FstArrays,
    windows: Sequence[Sequence[int]],
    context: ContextMap,
    transitions: TransitionModel,
    transition_scale: float,
) -> FstArrays:
    """Unroll each arc over a window into a chain of arcs over the entry ids of its states.

    Disambiguation symbols become labels above all transition ids, so that they stay apart.
    """
    chains = [_chain(window, transitions, context, label) for label, window in enumerate(windows)]
    length = np.array([len(chain) for chain in chains])
    flat = np.concatenate([np.array(chain, np.int64) for chain in chains])
    begin = np.concatenate([[0], np.cumsum(length)[:-1]])

    per_arc = length[clg.ilabel]
    first_row = np.concatenate([[0], np.cumsum(per_arc)[:-1]]).astype(np.int64)
    num_rows = int(per_arc.sum())
    arc = np.repeat(np.arange(clg.num_arcs), per_arc)
    step = np.arange(num_rows) - first_row[arc]
    is_first, is_last = step == 0, step == per_arc[arc] - 1
    # Row r of an arc leads to a state of its own unless it is the arc's last.
    inner = clg.num_states + np.cumsum(~is_last) - 1
    label = flat[begin[clg.ilabel[arc]] + step]
    tid_cost = np.concatenate([transitions.tid_cost(transition_scale), np.zeros(len(windows), np.float32)])
    num_inner = int((~is_last).sum())
    return FstArrays.from_arcs(
        clg.start,
        np.concatenate([clg.final, np.full(num_inner, np.inf)]),
        {
            "source": np.where(is_first, clg.source[arc], np.concatenate([[0], inner[:-1]]) if num_rows else inner),
            "ilabel": label,
            "olabel": np.where(is_first, clg.olabel[arc], 0),
            "weight": np.where(is_first, clg.weight[arc], 0) + tid_cost[label],
            "nextstate": np.where(is_last, clg.nextstate[arc], inner),
        },
    )


def _chain(window: Sequence[int], transitions: TransitionModel, context: ContextMap, label: int) -> list[int]:
    if not window:
        return [0]
    if len(window) == 1 and window[0] <= 0:  # a disambiguation symbol, negated; 0 marks the beginning
        return [transitions.num_tids + label]
    return transitions.entry_tids(tuple(window), context)


def add_self_loops(fst: FstArrays, tid_cost: np.ndarray) -> FstArrays:
    """Add to each state that an entry id leads to the loop of that id (the next id).

    A state that is entered by different ids, by epsilon, or is the start gets a state in front of it for
    each id, joined by an epsilon arc, so that a loop follows its own entry alone.
    tid_cost: float32 (num_tids + 1,).
    """
    emitting = fst.ilabel > 0
    big = np.iinfo(np.int32).max
    lowest, highest = np.full(fst.num_states, big), np.full(fst.num_states, -1)
    np.minimum.at(lowest, fst.nextstate, fst.ilabel)
    np.maximum.at(highest, fst.nextstate, fst.ilabel)
    lowest[fst.start] = 0  # the start is entered without a frame
    alone = (lowest == highest) & (lowest > 0)

    split = np.flatnonzero(emitting & ~alone[fst.nextstate])
    pairs = fst.nextstate[split].astype(np.int64) * (len(tid_cost) + 1) + fst.ilabel[split]
    unique, index = np.unique(pairs, return_inverse=True)
    new_states = fst.num_states + np.arange(len(unique))
    nextstate = fst.nextstate.copy()
    nextstate[split] = new_states[index]
    behind, entry = unique // (len(tid_cost) + 1), unique % (len(tid_cost) + 1)

    loop_states = np.concatenate([np.flatnonzero(alone), new_states])
    loop_tids = np.concatenate([lowest[alone], entry]) + 1
    loops, joins = np.zeros(len(loop_states), np.int64), np.zeros(len(unique), np.int64)
    return FstArrays.from_arcs(
        fst.start,
        np.concatenate([fst.final, np.full(len(unique), np.inf)]),
        {
            "source": np.concatenate([fst.source, loop_states, new_states]),
            "ilabel": np.concatenate([fst.ilabel, loop_tids, joins]),
            "olabel": np.concatenate([fst.olabel, loops, joins]),
            "weight": np.concatenate([fst.weight, tid_cost[loop_tids], joins]),
            "nextstate": np.concatenate([nextstate, loop_states, behind]),
        },
    )


def add_word_penalty(fst: FstArrays, penalty: float) -> FstArrays:
    """The same graph with `penalty` added to every arc that puts out a word (costs; positive: fewer words)."""
    weight = (fst.weight + np.where(fst.olabel > 0, penalty, 0)).astype(np.float32)
    return FstArrays(fst.start, fst.final, fst.source, fst.ilabel, fst.olabel, weight, fst.nextstate)
