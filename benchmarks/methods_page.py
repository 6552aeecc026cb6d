"""The page of methods.py: its table and its drawing, of the losses of methods.csv and the planner's clock."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.figure
from matplotlib.ticker import NullFormatter

from pyasr.base.artifact import atomic_path
from pyasr.run.plan import Costs, Work, step_compute_s, step_s

GBPS = (0.1, 1.0, 10.0, 100.0)
Losses = Mapping[str, Mapping[float, Sequence[tuple[int, float]]]]
"""By method and learning rate: (step, dev loss)."""


@dataclass(frozen=True)
class Setting:
    """Of the trainings. density: of GTC; group: of two tiers; warmup: first steps, at whose end the clock begins."""

    names: tuple[str, ...]
    size: int
    warmup: int
    sync_every: int
    group: int
    density: float


def write_losses(losses: Losses, path: Path) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["method", "learning_rate", "step", "dev_loss"])
        for name, by_rate in losses.items():
            writer.writerows([name, lr, step, f"{loss:.5f}"] for lr, found in by_rate.items() for step, loss in found)


def read_losses(path: Path) -> Losses:
    losses: dict[str, dict[float, list[tuple[int, float]]]] = {}
    with open(path, newline="") as stream:
        for row in csv.DictReader(stream):
            found = losses.setdefault(row["method"], {}).setdefault(float(row["learning_rate"]), [])
            found.append((int(row["step"]), float(row["dev_loss"])))
    return losses


def seconds(name: str, step: int, gbps: float, setting: Setting) -> float:
    """When a step has been taken, after the warm-up, by the planner's model of the student of 24 M weights."""
    work = Work(hours=0, annotated_hours=0, sync_every=setting.sync_every, group=setting.group)
    bits = 1.04 * (math.log2(math.e / setting.density) + 1)  # the entropy of a word, and what the code takes besides
    costs = Costs(link_bytes_s=gbps * 1e9 / 8, density=setting.density, bits_per_word=bits)
    compute_s = step_compute_s(work.student, work, costs)

    def of(method: str, work: Work = work) -> float:
        return step_s(method, setting.size, work.student, compute_s, work, costs)

    if name in ("BMUF", "post-local SGD"):
        own = of("bmuf")
    elif name.startswith("PowerSGD"):
        own = of("powersgd", replace(work, rank=int(name.split()[-1])))
    else:
        bf16 = replace(work, gradient_bytes=2)
        own = {"DDP": of("ddp"), "DDP bf16 hook": of("ddp", bf16), "GTC": of("gtc"), "GTC + BMUF": of("gtc+bmuf")}[name]
    return (step - setting.warmup) * own


def best(by_rate: Mapping[float, Sequence[tuple[int, float]]]) -> float:
    """The learning rate of the least loss in the end."""
    return min(by_rate, key=lambda lr: by_rate[lr][-1][1])


def table(losses: Losses, setting: Setting) -> str:
    """Markdown. At equal time: when the first of all has seen all samples; the last look at the others until then."""
    shown = {name: (best(losses[name]), losses[name][best(losses[name])]) for name in setting.names if name in losses}
    ends = {g: min(seconds(name, found[-1][0], g, setting) for name, (_, found) in shown.items()) for g in GBPS}
    heads = [f"{g:g} Gbit/s, {ends[g]:.1f} s" for g in GBPS]
    lines = [f"| {' | '.join(['method', 'learning rate', 'equal samples', *heads])} |", f"|{'---|' * (3 + len(GBPS))}"]
    for name in setting.names:
        if name not in shown:
            lines.append(f"| {name} |{' not trained |' * (2 + len(GBPS))}")
            continue
        lr, found = shown[name]
        cells = [name, f"{lr:g} of {', '.join(f'{rate:g}' for rate in sorted(losses[name]))}", f"{found[-1][1]:.3f}"]
        for g in GBPS:
            before = [loss for step, loss in found if seconds(name, step, g, setting) <= ends[g] * 1.0001]
            cells.append(f"{before[-1]:.3f}" if before else "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(losses: Losses, setting: Setting, path: Path) -> None:
    """Loss against steps, and against simulated seconds at each link rate."""
    figure = matplotlib.figure.Figure(figsize=(13, 7.5), layout="constrained")
    panels = figure.subplots(2, 3).flatten()
    styles = {"PowerSGD": ":", "DDP": "--", "post": "-."}
    for number, name in enumerate(name for name in setting.names if name in losses):
        found = losses[name][best(losses[name])]
        style = next((line for start, line in styles.items() if name.startswith(start)), "-")
        options = {"color": f"C{number}", "linestyle": style, "label": name}
        panels[0].plot([step for step, _ in found], [loss for _, loss in found], **options)
        for panel, g in zip(panels[1:], GBPS):
            later = [(seconds(name, step, g, setting), loss) for step, loss in found if step > setting.warmup]
            panel.plot(*zip(*later), **options)
    panels[0].set(xlabel="steps: samples", ylabel="dev loss, nats a frame", title="equal samples")
    for panel, g in zip(panels[1:], GBPS):
        panel.set(xscale="log", xlabel="simulated seconds", title=f"equal time, links of {g:g} Gbit/s")
        panel.xaxis.set_minor_formatter(NullFormatter())
    panels[-1].axis("off")
    panels[-1].legend(*panels[0].get_legend_handles_labels(), loc="center", frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
