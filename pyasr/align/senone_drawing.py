"""Trees of senones as pictures: for Graphviz, or drawn here."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from pyasr.align.senones import Senones
from pyasr.align.tree_names import question_name
from pyasr.base.artifact import atomic_path, write_text
from pyasr.base.errors import ConfigError

_LEAF_HEIGHT, _LEVEL_WIDTH = 0.45, 2.3  # inches
_STYLE = {"font.size": 7, "svg.hashsalt": "pyasr", "svg.fonttype": "none"}


def draw_tree(senones: Senones, phone: str, path: str | Path) -> None:
    """Draw the tree of a phone (its base, as AH), in the language of Graphviz for a path in .dot, else .svg or .png.

    ConfigError for another suffix or phone.
    """
    path = Path(path)
    if path.suffix == ".dot":
        write_text(path, tree_dot(senones, phone))
    elif path.suffix in (".svg", ".png"):
        figure = _figure(senones, phone)
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        with matplotlib.rc_context(_STYLE), atomic_path(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], dpi=110, metadata=metadata)
    else:
        raise ConfigError(f"{path}: trees are drawn as .dot, .svg or .png")


def tree_dot(senones: Senones, phone: str | None = None) -> str:
    """The tree of a phone, or of all, in the language of Graphviz: `dot -Tsvg tree.dot`."""
    lines = ["digraph senones {", "rankdir=LR; node [shape=box, fontsize=10];"]
    for name, root in _roots(senones, phone):
        lines.append(f'"{name}" -> n{root};')
        for node in _below(senones, root):
            side, _, yes, no = senones.tree.nodes[node]
            label = "\\n".join(_label(senones, node)).replace('"', '\\"')
            lines.append(f'n{node} [label="{label}"{", shape=ellipse" if side < 0 else ""}];')
            if side >= 0:
                lines.append(f"n{node} -> n{yes} [label=yes]; n{node} -> n{no} [label=no];")
    return "\n".join([*lines, "}", ""])


def _figure(senones: Senones, phone: str) -> Figure:
    """Levels from left to right; solid lines lead on from a yes, dashed ones from a no."""
    place: dict[int, tuple[float, float]] = {}
    nodes = senones.tree.nodes
    num_leaves = 0

    def lay_out(node: int, level: int) -> float:
        nonlocal num_leaves
        side, _, yes, no = nodes[node]
        if side < 0:
            height, num_leaves = float(num_leaves), num_leaves + 1
        else:
            height = (lay_out(yes, level + 1) + lay_out(no, level + 1)) / 2
        place[node] = (level, height)
        return height

    roots = list(_roots(senones, phone))
    for _, root in roots:
        lay_out(root, 0)
    levels = 1 + max(level for level, _ in place.values())
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_LEVEL_WIDTH * levels, 0.4 + _LEAF_HEIGHT * num_leaves), layout="constrained")
        axes = figure.add_subplot(title=f"{phone}: solid yes, dashed no")
        axes.set(xlim=(-0.5, levels - 0.5), ylim=(num_leaves - 0.5, -0.5))
        axes.axis("off")
        for node, (x, y) in place.items():
            side, _, *children = nodes[node]
            if side >= 0:
                for child, line in zip(children, ("-", "--")):
                    axes.plot([x, place[child][0]], [y, place[child][1]], line, color="0.6", linewidth=0.8, zorder=1)
            box = {"boxstyle": "round", "facecolor": "white" if side >= 0 else "0.92", "edgecolor": "0.6"}
            axes.text(x, y, "\n".join(_label(senones, node)), ha="center", va="center", bbox=box)
    return figure


def _roots(senones: Senones, phone: str | None) -> Iterator[tuple[str, int]]:
    """Name and root of each state of a phone, or of all phones."""
    phones = senones.phones
    bases = {phones.base(group[0]): senones.tree.roots[group[0] - 1] for group in phones.groups}
    if phone is not None and phone not in bases:
        raise ConfigError(f"no phone {phone!r}; there are {' '.join(bases)}")
    for base in bases if phone is None else [phone]:
        for state, root in enumerate(bases[base]):
            yield (base if len(bases[base]) == 1 else f"{base} {state}", root)


def _below(senones: Senones, root: int) -> Iterator[int]:
    """The nodes of a tree, a node before its children."""
    open_nodes = [root]
    while open_nodes:
        node = open_nodes.pop()
        yield node
        side, _, yes, no = senones.tree.nodes[node]
        if side >= 0:
            open_nodes += [no, yes]


def _label(senones: Senones, node: int) -> list[str]:
    """The lines in a node: a question, or a senone with its 10 ms frames."""
    side, question, *_ = senones.tree.nodes[node]
    if side < 0:
        return [str(question), f"{senones.occupancy[question]:.0f} frames"]
    return textwrap.wrap(question_name(senones.tree, senones.phones, side, question, True), 30)
