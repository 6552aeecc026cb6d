"""The phonetic decision tree: which contexts of a phone's state share a pdf (Young et al., 1994).

Every (phone, state) has a root, shared by the places that a phone can have in a word. Questions are asked
about the left and the right phone and, where places are told apart, about the phone itself. The split of
any leaf that gains most likelihood is made next, until there are enough leaves. A context that was never
seen answers the questions like any other. What lies outside the utterance answers as silence does. Silence
itself is not split.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pyasr.align.options import TreeOptions
from pyasr.align.tree_stats import TreeStats, floor_of, loglike
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology

_LEFT, _CENTRE, _RIGHT = 0, 1, 2


@dataclass(frozen=True)
class Tree:
    """A `lang.context.ContextMap` of width 3.

    roots: roots[phone_id - 1][state] is a node. nodes: (side, question, yes, no) with side 0 (left), 1
    (the phone itself) or 2 (right), or (-1, pdf_id, -1, -1) for a leaf. questions: sets of phone ids (0: outside
    the utterance).
    """

    roots: tuple[tuple[int, ...], ...]
    nodes: tuple[tuple[int, int, int, int], ...]
    questions: tuple[frozenset[int], ...]

    width = 3

    @cached_property
    def num_pdfs(self) -> int:
        return sum(node[0] < 0 for node in self.nodes)

    def pdfs(self, window: tuple[int, ...]) -> tuple[int, ...]:
        """Pdf id of each state of the central phone of (left, centre, right)."""
        return tuple(self._leaf(root, window) for root in self.roots[window[1] - 1])

    def _leaf(self, node: int, window: tuple[int, ...]) -> int:
        side, question, yes, no = self.nodes[node]
        while side >= 0:
            node = yes if window[side] in self.questions[question] else no
            side, question, yes, no = self.nodes[node]
        return question

    def leaves(self, windows: np.ndarray) -> np.ndarray:
        """Pdf ids of many windows at once: int32 (K, 4), rows (left, centre, right, state) -> int32 (K,)."""
        nodes, asked, members = self._arrays
        states = max(map(len, self.roots))
        roots = np.array([root + (-1,) * (states - len(root)) for root in self.roots])
        at = roots[windows[:, 1] - 1, windows[:, 3]]
        # A step down the tree for all windows that are not at a leaf yet.
        open_rows = np.flatnonzero(nodes[at, 0] >= 0)
        while len(open_rows):
            side, _, yes, no = nodes[at[open_rows]].T
            answer = members[asked[at[open_rows]], windows[open_rows, side]]
            at[open_rows] = np.where(answer, yes, no)
            open_rows = open_rows[nodes[at[open_rows], 0] >= 0]
        return nodes[at, 1].astype(np.int32)

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """nodes (N, 4); the question of each node (0 at leaves); members bool (questions, phones + 1)."""
        nodes = np.array(self.nodes)
        members = np.zeros((max(1, len(self.questions)), len(self.roots) + 1), bool)
        for row, question in zip(members, self.questions):
            row[list(question)] = True
        return nodes, np.where(nodes[:, 0] < 0, 0, nodes[:, 1]), members

    def all_pdfs(self, phone_id: int, state: int) -> list[int]:
        """Every pdf of a state of a phone, ascending."""
        found, open_nodes = [], [self.roots[phone_id - 1][state]]
        while open_nodes:
            side, question, yes, no = self.nodes[open_nodes.pop()]
            if side < 0:
                found.append(question)
            elif side == _CENTRE:
                open_nodes.append(yes if phone_id in self.questions[question] else no)
            else:
                open_nodes += [yes, no]
        return sorted(found)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; only the questions that are asked are kept."""
        asked = sorted({question for side, question, _, _ in self.nodes if side >= 0})
        index = {question: i for i, question in enumerate(asked)}
        return {
            "roots": [list(states) for states in self.roots],
            "nodes": [[side, q if side < 0 else index[q], yes, no] for side, q, yes, no in self.nodes],
            "questions": [sorted(self.questions[question]) for question in asked],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Tree:
        return cls(
            tuple(tuple(states) for states in values["roots"]),
            tuple((side, question, yes, no) for side, question, yes, no in values["nodes"]),
            tuple(frozenset(question) for question in values["questions"]),
        )


@dataclass(frozen=True)
class _Split:
    gain: float
    side: int
    question: int


class _Builder:
    def __init__(
        self, stats: TreeStats, questions: Sequence[tuple[int, ...]], phones: PhoneTable, options: TreeOptions
    ) -> None:
        self.stats, self.options = stats, options
        self.floor = floor_of(stats.total)
        members = np.zeros((len(questions), phones.num_phones + 1), bool)
        for index, question in enumerate(questions):
            members[index, list(question)] = True
        members[:, 0] = members[:, phones.silence_id]
        self.members = members
        self.sides = (_LEFT, _CENTRE, _RIGHT) if phones.word_positions else (_LEFT, _RIGHT)
        self.nodes: list[list[int]] = []
        self.rows: list[np.ndarray] = []

    def add_node(self, rows: np.ndarray) -> int:
        self.nodes.append([-1, -1, -1, -1])
        self.rows.append(rows)
        return len(self.nodes) - 1

    def best_split(self, node: int) -> _Split | None:
        """The best question for a node, None when none leaves enough frames on both sides or gains enough."""
        rows, best = self.rows[node], None
        if len(rows) < 2:
            return None
        packed = self.stats.packed[rows]
        total = packed.sum(axis=0)
        own = loglike(total, self.floor)
        for side in self.sides:
            gains = self._gains(packed, self.stats.windows[rows, side], total) - own
            question = int(np.argmax(gains))
            if gains[question] > max(self.options.min_gain, 1e-6, best.gain if best else 0.0):
                best = _Split(float(gains[question]), side, question)
        return best

    def _gains(self, packed: np.ndarray, neighbours: np.ndarray, total: np.ndarray) -> np.ndarray:
        """Log-likelihood after splitting by each question (Q,); -inf where a side has too few frames.

        Statistics are first summed by neighbour, so that all questions are one matrix product.
        """
        order = np.argsort(neighbours, kind="stable")
        present, starts = np.unique(neighbours[order], return_index=True)
        by_neighbour = np.add.reduceat(packed[order], starts, axis=0)
        yes = self.members[:, present].astype(np.float64) @ by_neighbour
        no = total - yes
        gains = loglike(yes, self.floor) + loglike(no, self.floor)
        least = max(self.options.min_occupancy, 1e-3)
        gains[(yes[:, 0] < least) | (no[:, 0] < least)] = -np.inf
        return gains

    def split(self, node: int, split: _Split) -> tuple[int, int]:
        rows = self.rows[node]
        answer = self.members[split.question, self.stats.windows[rows, split.side]]
        yes, no = self.add_node(rows[answer]), self.add_node(rows[~answer])
        self.nodes[node] = [split.side, split.question, yes, no]
        self.rows[node] = rows[:0]
        return yes, no


def build_tree(
    stats: TreeStats,
    questions: Sequence[tuple[int, ...]],
    phones: PhoneTable,
    topology: Topology,
    options: TreeOptions,
) -> tuple[Tree, np.ndarray]:
    """Grow the tree; returns it and the statistics of its pdfs, float64 (P, 1 + 2 D).

    There is at least one leaf a (phone, state); max_leaves bounds the number from there.
    """
    builder = _Builder(stats, questions, phones, options)
    queue: list[tuple[float, int, _Split]] = []

    def offer(node: int) -> None:
        split = builder.best_split(node)
        if split is not None:
            heapq.heappush(queue, (-split.gain, node, split))

    phone_state = stats.windows[:, 1].astype(np.int64) * (1 << 16) + stats.windows[:, 3]
    roots: dict[int, tuple[int, ...]] = {}
    for group in phones.groups:
        states = []
        for state in range(topology.num_states(group[0], phones.silence_id)):
            keys = np.array(group)[:, None] * (1 << 16) + state + np.array([0, 1])
            states.append(builder.add_node(np.concatenate([np.arange(*r) for r in np.searchsorted(phone_state, keys)])))
            if phones.silence_id not in group:
                offer(states[-1])
        roots |= dict.fromkeys(group, tuple(states))
    num_leaves = len(builder.nodes)
    while queue and num_leaves < options.max_leaves:
        _, node, split = heapq.heappop(queue)
        for child in builder.split(node, split):
            offer(child)
        num_leaves += 1

    leaves = [node for node, (side, *_) in enumerate(builder.nodes) if side < 0]
    for pdf_id, node in enumerate(leaves):
        builder.nodes[node][1] = pdf_id
    leaf_stats = np.stack([stats.packed[builder.rows[node]].sum(axis=0) for node in leaves])
    question_sets = tuple(frozenset(np.flatnonzero(row).tolist()) for row in builder.members)
    root_of = tuple(roots[phone_id] for phone_id in phones.ids)
    return Tree(root_of, tuple(map(tuple, builder.nodes)), question_sets), leaf_stats
