"""Figures as data URIs: SVG for curves and bars, PNG for spectrograms. Nothing is fetched, no screen is needed."""

from __future__ import annotations

import base64
import io
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyasr.features.options import FRAME_SHIFT_S

COLOURS = ("#94a3b8", "#60a5fa", "#2563eb", "#f59e0b", "#10b981", "#8b5cf6", "#ef4444", "#14b8a6", "#64748b")
INK, MUTED, GRID = "#1e293b", "#64748b", "#e2e8f0"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "svg.hashsalt": "pyasr",  # equal figures are equal bytes
    "text.parse_math": False,  # a word with a $ in it is a word
}


def wer_bars(wer: Mapping[str, Mapping[str, Mapping[str, Any]]], conditions: Sequence[str]) -> str:
    """Bars of the WER per condition and system, with 95 % intervals."""
    systems = list(wer)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 0.6 + 0.2 * len(conditions) * (len(systems) + 1.2)), layout="constrained")
        axes = figure.add_subplot()
        for index, system in enumerate(systems):
            shown = [(row, wer[system][name]) for row, name in enumerate(conditions) if name in wer[system]]
            if not shown:
                continue
            y = [row * (len(systems) + 1.2) + index for row, _ in shown]
            values = [entry["wer"] for _, entry in shown]
            spread = [[max(0.0, entry["wer"] - entry["ci95"][0]) for _, entry in shown],
                      [max(0.0, entry["ci95"][1] - entry["wer"]) for _, entry in shown]]
            colour = COLOURS[index % len(COLOURS)]
            axes.barh(y, values, height=0.86, color=colour, label=system)
            axes.errorbar(values, y, xerr=spread, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
            for at, (_, entry) in zip(y, shown):
                axes.annotate(f"{entry['wer']:.1f}", (max(entry["wer"], entry["ci95"][1]), at), xytext=(5, 0),
                              textcoords="offset points", va="center", fontsize=8)
        centre = (len(systems) - 1) / 2
        axes.set_yticks([row * (len(systems) + 1.2) + centre for row in range(len(conditions))], conditions)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(axis="y", visible=False)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.margins(x=0.1)
        axes.set_xlabel("word error rate, per cent")
        figure.legend(loc="outside upper left", ncols=min(4, len(systems)), frameon=False, handlelength=1)
        return svg(figure)


def training_curves(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Log-likelihood per frame over the iterations of each system, and the number of Gaussians."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 2.1 * len(curves)), layout="constrained")
        for index, (system, rows) in enumerate(curves.items()):
            axes = figure.add_subplot(len(curves), 1, index + 1)
            axes.set_title(system, loc="left", fontweight="bold", fontsize=9)
            iterations = [row["iteration"] for row in rows]
            axes.plot(iterations, [row["loglike_per_frame"] for row in rows], color="#2563eb", marker=".", markersize=4)
            axes.set_ylabel("log-likelihood a frame", color="#2563eb")
            axes.set_xlabel("iteration")
            axes.xaxis.get_major_locator().set_params(integer=True)
            if all("num_gauss" in row for row in rows):
                _gaussians(axes, iterations, [row["num_gauss"] for row in rows])
        return svg(figure)


def _gaussians(axes: Axes, iterations: Sequence[int], counts: Sequence[int]) -> None:
    twin = axes.twinx()
    twin.step(iterations, counts, where="post", color="#f59e0b", linewidth=1)
    twin.set_ylim(bottom=0)
    twin.set_ylabel("Gaussians", color="#b45309")
    twin.grid(visible=False)


def network_curves(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Losses over the sub-epochs of each network, with the frames of each source below: the schedule as it was.

    A dotted line is where the learning rate fell, a full one where a phase ended.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 2.7 * len(curves)), layout="constrained")
        grid = figure.add_gridspec(2 * len(curves), 1, height_ratios=[3, 1] * len(curves))
        for index, (system, rows) in enumerate(curves.items()):
            losses = figure.add_subplot(grid[2 * index])
            frames = figure.add_subplot(grid[2 * index + 1], sharex=losses)
            losses.set_title(system, loc="left", fontweight="bold", fontsize=9)
            sub_epochs, below = np.arange(1, len(rows) + 1), np.zeros(len(rows))
            for name, colour in (("transcribed", "#2563eb"), ("untranscribed", "#10b981")):
                if not any(f"loss_{name}" in row for row in rows):
                    continue
                losses.plot(sub_epochs, [row.get(f"loss_{name}", np.nan) for row in rows], color=colour, label=name)
                counts = np.array([row.get(f"frames_{name}", 0) for row in rows]) / 1000
                frames.bar(sub_epochs, counts, bottom=below, color=colour, width=0.9)
                below = below + counts
            losses.plot(sub_epochs, [row["dev_loss"] for row in rows], color="#f59e0b", label="dev")
            for at, (row, after) in enumerate(zip(rows, rows[1:]), 1):
                if row["ended"] or after["lr"] < row["lr"]:
                    style = "-" if row["ended"] else ":"
                    losses.axvline(at + 0.5, color=MUTED, linewidth=0.8, linestyle=style)
            losses.set_ylabel("nats a frame")
            losses.tick_params(labelbottom=False)
            losses.legend(frameon=False, ncols=3, fontsize=8, handlelength=1)
            frames.set_ylabel("1,000\nframes", fontsize=7)
            frames.xaxis.get_major_locator().set_params(integer=True)
        frames.set_xlabel("sub-epoch")
        return svg(figure)


def alignment(
    frames: np.ndarray,
    words: Sequence[tuple[str, float, float]],
    phones: Sequence[tuple[str, float, float]],
    true_phones: Sequence[tuple[str, float, float]] = (),
) -> str:
    """Words and phones (name, start_s, end_s) below the log mel energies (T, D) of an utterance at 10 ms frames.

    true_phones: drawn as a further row when they are known.
    """
    end_s = len(frames) * FRAME_SHIFT_S
    rows = [("words", words, "#dbeafe"), ("phones", phones, "#fef3c7")]
    if true_phones:
        rows.append(("true phones", true_phones, "#d1fae5"))
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(max(6.0, 3.2 * end_s), 3.2), layout="constrained", dpi=130)
        figure.get_layout_engine().set(h_pad=0.015, hspace=0)
        grid = figure.add_gridspec(1 + len(rows), 1, height_ratios=[7.0 - len(rows)] + [0.9] * len(rows))
        spectrum = figure.add_subplot(grid[0])
        low, high = np.percentile(frames, [5, 99.7])
        spectrum.imshow(frames.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high,
                        extent=(0, end_s, 0, frames.shape[1]), interpolation="nearest")
        spectrum.set_ylabel("mel band")
        spectrum.tick_params(labelbottom=False, length=0)
        for _, start_s, _ in phones[1:]:
            spectrum.axvline(start_s, color="white", linewidth=0.6, alpha=0.55)
        for number, (label, segments, colour) in enumerate(rows, 1):
            axes = figure.add_subplot(grid[number], sharex=spectrum)
            _segments(axes, label, segments, colour)
            last = number == len(rows)
            axes.tick_params(axis="x", labelbottom=last, length=3 if last else 0)
        axes.set_xlabel("seconds")
        spectrum.set_xlim(0, end_s)
        return _png(figure)


def _segments(axes: Axes, label: str, segments: Sequence[tuple[str, float, float]], colour: str) -> None:
    for name, start_s, end_s in segments:
        silent = name in ("", "SIL")
        axes.axvspan(start_s, end_s, facecolor="#f8fafc" if silent else colour, edgecolor="#94a3b8", linewidth=0.6)
        if not silent:
            axes.text((start_s + end_s) / 2, 0.5, name, ha="center", va="center", fontsize=7, clip_on=True,
                      transform=axes.get_xaxis_transform())
    axes.set_yticks([0.5], [label])
    axes.set_ylim(0, 1)
    axes.tick_params(axis="y", length=0, labelsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def svg(figure: Figure) -> str:
    """A figure as the data URI of an SVG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    # Without indentation, and with its letters as they are: three quarters of what base64 would take.
    text = re.sub(r"\s*\n\s*", " ", stream.getvalue().decode())
    return "data:image/svg+xml," + urllib.parse.quote(text, safe=" !$*+,-./:;=?@_~")


def _png(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
