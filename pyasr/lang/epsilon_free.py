"""Decoding graphs in which every arc takes a frame or ends the path, for searches that know no other (k2's).

Each way along arcs without a label to one with a label becomes an arc of its own, with their costs and words
together. Unlike the usual removal of epsilons (Mohri: Generic epsilon-removal and input epsilon-normalization
algorithms, 2002), which keeps the best of the ways between two states, this keeps all, so that lattices hold the
same paths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyasr.base.errors import DataError
from pyasr.lang.fst_arrays import FstArrays

FINAL, STOP = 0, -1
"""In the place of transition ids: on the arcs into the final state, from where a path may end and from elsewhere."""


@dataclass(frozen=True)
class EpsilonFree:
    """States 0 (the start) to num_states - 1 (the only one that is final, entered by arcs FINAL and STOP alone).

    source, dst, tid: int32 (A,), source ascending. cost: float64 (A,), natural log, negated.
    way: int64 (A,): the epsilons that an arc stands for, ending in row `way` of the parents and words below (each
    the word of an epsilon, 0 for none, and the row of the epsilon before it, -1 for none); -1 where there are none.
    olabel: int32 (A,), the word after those, 0 for none.
    """

    num_states: int
    source: np.ndarray
    dst: np.ndarray
    tid: np.ndarray
    cost: np.ndarray
    way: np.ndarray
    olabel: np.ndarray
    way_parent: np.ndarray
    way_word: np.ndarray

    def words(self, path: np.ndarray) -> tuple[int, ...]:
        """Word ids along a path of arcs, in their order."""
        backwards: list[int] = []
        for arc in reversed(path):
            backwards.append(int(self.olabel[arc]))
            row = int(self.way[arc])
            while row >= 0:
                backwards.append(int(self.way_word[row]))
                row = int(self.way_parent[row])
        return tuple(word for word in reversed(backwards) if word)


def remove_epsilons(graph: FstArrays, stops: bool = False) -> EpsilonFree:
    """The same paths, with a final state of their own. stops: every state gets arcs STOP to it, too, at no cost.

    States that only epsilons lead to are gone. DataError for a cycle of epsilons.
    """
    epsilon, labelled = graph.ilabel == 0, np.flatnonzero(graph.ilabel > 0)
    _check_acyclic(graph.source[epsilon], graph.nextstate[epsilon])
    origins = np.unique(np.append(graph.nextstate[labelled], graph.start))
    origins = np.concatenate([[graph.start], origins[origins != graph.start]])
    number = np.full(graph.num_states, -1)
    number[origins] = np.arange(len(origins))
    ways = _ways(graph, np.flatnonzero(epsilon), origins)

    row, chosen = _arcs_from(graph.source[labelled], graph.num_states, ways.end)
    arcs = labelled[chosen]
    ends = [(np.flatnonzero(np.isfinite(graph.final[ways.end])), FINAL, graph.final.astype(np.float64))]
    if stops:
        ends.append((np.arange(len(ways.end)), STOP, np.zeros(graph.num_states)))
    from_way = np.concatenate([row, *(rows for rows, _, _ in ends)])
    none = [np.zeros(len(rows), np.int64) for rows, _, _ in ends]
    columns = {
        "source": number[ways.origin[from_way]],
        "dst": np.concatenate([number[graph.nextstate[arcs]], *(column + len(origins) for column in none)]),
        "tid": np.concatenate([graph.ilabel[arcs], *(column + kind for column, (_, kind, _) in zip(none, ends))]),
        "olabel": np.concatenate([graph.olabel[arcs], *none]),
    }
    further = np.concatenate([graph.weight[arcs], *(costs[ways.end[rows]] for rows, _, costs in ends)])
    order = np.argsort(columns["source"], kind="stable")
    # The rows of ways without an arc are the origins themselves, the first of all.
    return EpsilonFree(
        num_states=len(origins) + 1,
        cost=(ways.cost[from_way] + further)[order],
        way=np.maximum(from_way[order] - len(origins), -1),
        way_parent=np.maximum(ways.parent[len(origins) :] - len(origins), -1),
        way_word=ways.word[len(origins) :],
        **{name: column[order].astype(np.int32) for name, column in columns.items()},
    )


@dataclass(frozen=True)
class _Ways:
    """Paths of epsilons, shorter ones first: (W,) states they begin and end in, costs, rows without their last arc,
    word of that."""

    origin: np.ndarray
    end: np.ndarray
    cost: np.ndarray
    parent: np.ndarray
    word: np.ndarray


def _ways(graph: FstArrays, epsilons: np.ndarray, origins: np.ndarray) -> _Ways:
    """All from each of the origins; the first rows are those without an arc."""
    zeros = np.zeros(len(origins), np.int64)
    levels = [_Ways(origins, origins, zeros.astype(np.float64), zeros - 1, zeros)]
    begin = 0
    while len(levels[-1].end):
        last = levels[-1]
        row, chosen = _arcs_from(graph.source[epsilons], graph.num_states, last.end)
        arcs = epsilons[chosen]
        levels.append(
            _Ways(
                last.origin[row], graph.nextstate[arcs], last.cost[row] + graph.weight[arcs], begin + row,
                graph.olabel[arcs],
            )
        )  # fmt: skip
        begin += len(last.end)
    names = ("origin", "end", "cost", "parent", "word")
    return _Ways(*(np.concatenate([getattr(level, name) for level in levels]) for name in names))


def _arcs_from(sources: np.ndarray, num_states: int, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of a row of `states` and an arc from that state, as two arrays. sources: of the arcs, ascending."""
    begin = np.searchsorted(sources, np.arange(num_states + 1))
    counts = begin[states + 1] - begin[states]
    rows = np.repeat(np.arange(len(states)), counts)
    return rows, np.arange(counts.sum()) + np.repeat(begin[states] - (np.cumsum(counts) - counts), counts)


def _check_acyclic(sources: np.ndarray, destinations: np.ndarray) -> None:
    """DataError when arcs make a cycle: those that lead to no other of them are taken away, again and again."""
    while len(sources):
        goes_on = np.isin(destinations, sources)
        if goes_on.all():
            raise DataError(f"from state {sources[0]} of the decoding graph, arcs without a label lead into a cycle")
        sources, destinations = sources[goes_on], destinations[goes_on]
