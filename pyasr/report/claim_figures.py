"""Figures of claims: differences with their intervals, and word error rates and measures over what was varied.

They are drawn as narrow as the screen of a phone, so that their text stays legible on one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyasr.report.claims import FAILS, HOLDS, INCOMPLETE, Compared, Judged, Level, Outcome
from pyasr.report.claims_text import condition_name
from pyasr.report.comparison import Side
from pyasr.report.figures import GRID, INK, MUTED, STYLE, svg
from pyasr.report.measures_table import MEASURES

VERDICT_COLOURS = {HOLDS: "#15803d", FAILS: "#b91c1c", INCOMPLETE: "#64748b"}
_UNDECIDED, _PUBLISHED = "#b45309", "#fde68a"
_SERIES = ("#2563eb", "#10b981", "#8b5cf6", "#f59e0b")
_AXES = {
    "reduction": "fewer word errors than the base, per cent",
    "points": "lower WER than the base, points",
    "more_reduction": "more error reduction than the base, per cent",
    "more_in_noise": "more reduction in noise than in clean speech, points",
    **{name: f"{measure.better} than the base, per cent" for name, measure in MEASURES.items()},
}
_STYLE = {**STYLE, "font.size": 10, "svg.fonttype": "none"}  # text as text: a tenth of the size of outlines
_WER = "word error rate, per cent"
_WIDTH_IN, _ROW_IN, _FRAME_IN = 4.2, 0.21, 0.62
_FAR = 120.0
"""Intervals are drawn up to here; what goes on ends in an arrow."""


def differences(judged: Judged) -> str | None:
    """A row a comparison and condition, a panel a measure; what is missing is said to be. None when all is."""
    if all(found.is_empty for found in judged.compared):
        return None
    panels: dict[str, list[Compared]] = {}
    for found in judged.compared:
        panels.setdefault(found.options.measure, []).append(found)
    heights = [_FRAME_IN + _ROW_IN * sum(1 + len(_shown(found)) for found in panel) for panel in panels.values()]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, sum(heights)), layout="constrained")
        grid = figure.add_gridspec(len(panels), 1, height_ratios=heights)
        for number, (measure, panel) in enumerate(panels.items()):
            axes = figure.add_subplot(grid[number])
            _panel(axes, panel)
            axes.set_xlabel(_AXES[measure])
        return svg(figure)


def _shown(found: Compared) -> list[Outcome]:
    """The rows below a comparison's name; one of which there is nothing has none."""
    return [] if found.is_empty else list(found.outcomes)


def _panel(axes: Axes, panel: Sequence[Compared]) -> None:
    y, ticks, ends = 0.0, [], [0.0]
    for found in panel:
        shown = _shown(found)
        rows = len(shown)
        _say(axes, y, found.options.label, fontweight="bold")
        if not shown:
            _say_missing(axes, y, "cannot be run yet" if found.options.gap else "no rows yet")
        if found.options.published and shown:
            low, high = min(found.options.published), max(found.options.published)
            axes.fill_betweenx([y + 0.5, y + rows + 0.5], low, high, color=_PUBLISHED, linewidth=2, zorder=0)
            ends += [low, high]
        if found.options.margin and shown:
            at = found.options.margin if found.options.expect == "not_better" else -found.options.margin
            axes.plot([at, at], [y + 0.5, y + rows + 0.5], color=MUTED, linewidth=1, linestyle=":")
            ends.append(at)
        if shown:
            axes.plot([0, 0], [y + 0.5, y + rows + 0.5], color=INK, linewidth=0.8, zorder=1)
        for row, outcome in enumerate(shown, 1):
            ticks.append((y + row, _short(outcome.condition)))
            ends += _interval(axes, y + row, outcome, decides=row == rows)
        y += rows + 1
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    axes.set_ylim(y - 0.4, -0.6)
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low or 10.0)
    axes.set_xlim(low - room, high + 5 * room)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _interval(axes: Axes, y: float, outcome: Outcome, decides: bool) -> list[float]:
    """Draw it and return how far it reaches."""
    if outcome.measured is None:
        _say_missing(axes, y, outcome.reason or "no rows yet")
        return []
    colour = VERDICT_COLOURS.get(outcome.verdict, _UNDECIDED)
    estimate = outcome.measured.estimate
    low, high = (float(np.clip(end, -_FAR, _FAR)) for end in outcome.measured.ends)
    point = float(np.clip(estimate, -_FAR, _FAR))
    axes.plot([low, high], [y, y], color=colour, linewidth=3 if decides else 1.6, solid_capstyle="round")
    for end, marker in ((low, "<"), (high, ">")):
        if abs(end) == _FAR:
            axes.plot([end], [y], marker=marker, color=colour, markersize=6)
    complete = outcome.verdict != INCOMPLETE
    axes.plot([point], [y], marker="o", color=colour, markersize=8 if decides else 5.5,
              markerfacecolor=colour if complete else "white", markeredgewidth=1.6)  # fmt: skip
    axes.annotate(f"{estimate:.1f}", (high, y), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9,
                  fontweight="bold" if decides else "normal")  # fmt: skip
    return [low, high]


def _short(condition: str) -> str:
    return condition_name(condition).removesuffix(" speech").removesuffix(" conditions")


def _say_missing(axes: Axes, y: float, text: str) -> None:
    _say(axes, y, text, 1, fontstyle="italic", color=MUTED)


def _say(axes: Axes, y: float, text: str, side: int = 0, **style: Any) -> None:
    """Text at the left (0) or right (1) end of a row, on white."""
    axes.annotate(text, (side, y), xycoords=("axes fraction", "data"), ha=("left", "right")[side], va="center",
                  fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0}, **style)  # fmt: skip


def levels(judged: Judged) -> str | None:
    """WER and measures over the x of the comparisons, a panel each; in a panel a line a series and one for the bases.
    None when nothing is to be drawn."""
    panels: dict[str, list[Compared]] = {}
    ticks: dict[float, str] = {}
    for found in judged.compared:
        if found.levels is not None:
            of = MEASURES[found.options.measure].what if found.options.measure in MEASURES else _WER
            panels.setdefault(of, []).append(found)
            ticks[found.options.x] = found.options.x_tick or f"{found.options.x:g}"
    if not panels:
        return None
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, 0.9 + 2.0 * len(panels)), layout="constrained")
        every = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        named: dict[str, Any] = {}
        for axes, (label, placed) in zip(every, panels.items()):
            axes.set_xscale("log" if judged.options.x_log else "linear")
            axes.set_xticks(sorted(ticks), [ticks[x] for x in sorted(ticks)])
            axes.minorticks_off()
            axes.tick_params(length=0)
            _levels_panel(axes, placed)
            axes.set_ylabel(label)
            named |= {name: handle for handle, name in zip(*axes.get_legend_handles_labels())}
        every[-1].set_xlabel(judged.options.x_label)
        figure.align_ylabels(every)
        if named:
            figure.legend(named.values(), named.keys(), loc="outside upper left", ncols=2, frameon=False,
                          handlelength=1.6)  # fmt: skip
        return svg(figure)


def _levels_panel(axes: Axes, placed: Sequence[Compared]) -> None:
    series: dict[str, list[tuple[float, Level | None]]] = {}
    bases: dict[Side, Level | None] = {}
    for found in placed:
        (base, _), name = found.options.sides[-2:], _names(found)
        bases[base] = found.levels[0]
        series.setdefault(name[0], []).append((found.options.x, found.levels[0]))
        series.setdefault(name[1], []).append((found.options.x, found.levels[1]))
    base_name = _names(placed[0])[0]
    if len(bases) == 1:
        _base(axes, base_name, next(iter(bases.values())))
    else:
        _line(axes, base_name, series[base_name], MUTED, "--")
    del series[base_name]
    for (name, points), colour in zip(series.items(), _SERIES):
        _line(axes, name, points, colour, "-")
    there = {x for points in series.values() for x, level in points if level is not None}
    for x in sorted({found.options.x for found in placed} - there):
        axes.axvline(x, color=GRID, linewidth=8, zorder=0)
        axes.annotate("no rows yet", (x, 0.5), xycoords=("data", "axes fraction"), rotation=90, ha="center",
                      va="center", fontsize=8, fontstyle="italic", color=MUTED)  # fmt: skip
    axes.margins(x=0.12, y=0.2)
    if not axes.get_legend_handles_labels()[0]:
        axes.set_ylim(0, 100)
        axes.set_yticks([])


def _names(found: Compared) -> tuple[str, str]:
    """Of the lines of base and system; bases of all comparisons make one line."""
    (base, setting), (system, _) = found.options.sides[-2:]
    own = base if base != system else f"{base}@{setting}"
    return found.options.base_series or own, found.options.series or system


def _base(axes: Axes, name: str, level: Level | None) -> None:
    """A system that does not vary over x."""
    if level is not None:
        axes.axhspan(*level.ends, color=MUTED, alpha=0.12, linewidth=0)
        axes.axhline(level.value, color=MUTED, linestyle="--", linewidth=1.8, label=name)


def _line(axes: Axes, name: str, points: Sequence[tuple[float, Level | None]], colour: str, style: str) -> None:
    found = {x: level for x, level in points if level is not None}
    if not found:
        return
    x = sorted(found)
    values = np.array([found[at].value for at in x])
    ends = np.array([found[at].ends for at in x])
    spread = np.maximum(0.0, [values - ends[:, 0], ends[:, 1] - values])
    axes.errorbar(x, values, yerr=spread, color=colour, linestyle=style, marker="o", markersize=6, linewidth=1.8,
                  elinewidth=1.2, capsize=3, label=name)  # fmt: skip
