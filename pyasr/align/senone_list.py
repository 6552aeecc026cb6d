"""Senones for people: what each stands for, as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyasr.align.senone_drawing import tree_dot
from pyasr.align.senones import Senones
from pyasr.align.tree_names import question_name, triphone_name
from pyasr.align.tree_stats import TreeStats
from pyasr.base.artifact import write_text

COLUMNS = ("senone", "phone", "state", "places", "frames", "triphones", "most_frequent", "questions")
_MOST_FREQUENT = 5


@dataclass(frozen=True)
class Leaf:
    """A senone in the tree. base: the phone without its place. path: (side, question, answer) from the root on."""

    senone_id: int
    base: str
    state: int
    path: tuple[tuple[int, int, bool], ...]


def write_listing(senones: Senones, stats: TreeStats, folder: str | Path) -> None:
    """Write senones.txt, a senone a line below the names of the COLUMNS, and tree.dot, the trees of all phones.

    stats: those that the senones were clustered by.
    """
    lines = ["\t".join(COLUMNS), *list_senones(senones, stats)]
    write_text(Path(folder) / "senones.txt", "".join(f"{line}\n" for line in lines))
    write_text(Path(folder) / "tree.dot", tree_dot(senones))


def list_senones(senones: Senones, stats: TreeStats) -> Iterator[str]:
    """A line a senone, COLUMNS with tabs between: its phone, state and places in the word, its 10 ms frames,
    how many triphones were seen, the most frequent of them with their frames, and the questions answered."""
    phones, tree, counts = senones.phones, senones.tree, stats.packed[:, 0]
    owner = tree.leaves(stats.windows)
    by_senone = np.lexsort((-counts, owner))
    bounds = np.searchsorted(owner[by_senone], np.arange(senones.num_senones + 1))
    for leaf in find_leaves(senones):
        rows = by_senone[bounds[leaf.senone_id] : bounds[leaf.senone_id + 1]]
        seen = [f"{triphone_name(stats.windows[row], phones)} {counts[row]:.0f}" for row in rows[:_MOST_FREQUENT]]
        columns = (
            leaf.senone_id,
            leaf.base,
            leaf.state,
            " ".join(_places(leaf, senones)) or "-",
            f"{senones.occupancy[leaf.senone_id]:.0f}",
            len(rows),
            ", ".join(seen) or "-",
            "; ".join(question_name(tree, phones, *step) for step in leaf.path) or "-",
        )
        yield "\t".join(map(str, columns))


def find_leaves(senones: Senones) -> list[Leaf]:
    """All senones by id, each with its way from the root."""
    tree, phones, found = senones.tree, senones.phones, []
    for group in phones.groups:
        for state, root in enumerate(tree.roots[group[0] - 1]):
            open_nodes: list[tuple[int, tuple[tuple[int, int, bool], ...]]] = [(root, ())]
            while open_nodes:
                node, path = open_nodes.pop()
                side, question, yes, no = tree.nodes[node]
                if side < 0:
                    found.append(Leaf(question, phones.base(group[0]), state, path))
                else:
                    open_nodes += [(yes, (*path, (side, question, True))), (no, (*path, (side, question, False)))]
    return sorted(found, key=lambda leaf: leaf.senone_id)


def _places(leaf: Leaf, senones: Senones) -> list[str]:
    """The places in the word that the senone's phone can have."""
    phones = senones.phones
    (group,) = (group for group in phones.groups if phones.base(group[0]) == leaf.base)
    asked = [(senones.tree.questions[question], answer) for side, question, answer in leaf.path if side == 1]
    return [phones.position(p) for p in group if all((p in question) == answer for question, answer in asked)]
