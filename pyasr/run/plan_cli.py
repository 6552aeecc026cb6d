"""The subcommand `plan`: what a training will take, before it begins."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import matplotlib.figure
import typer

from pyasr.base.artifact import atomic_path
from pyasr.run.console import say, show_table
from pyasr.run.plan import ASSUMPTIONS, METHODS, Costs, StagePlan, Work, speed_up
from pyasr.run.plan import plan as plan_stages

_WORKERS = tuple(2**power for power in range(11))


def plan(
    hours: Annotated[float, typer.Option(min=0.0, help="Untranscribed speech.")],
    gpus: Annotated[int, typer.Option(min=1, help="For labels and the student; teacher and sMBR use up to 16.")],
    annotated_hours: Annotated[float, typer.Option(min=0.0, help="Transcribed speech.")] = 7000.0,
    teacher: Annotated[float, typer.Option(help="Weights of the teacher, millions.")] = 78.0,
    student: Annotated[float, typer.Option(help="Weights of the student, millions.")] = 24.0,
    step_frames: Annotated[int, typer.Option(min=1, help="30 ms frames of a step, each worker.")] = 2048,
    sync_every: Annotated[int, typer.Option(min=1, help="Steps of a block of bmuf.")] = 50,
    group: Annotated[int, typer.Option(min=1, help="Workers of a group of gtc+bmuf.")] = 8,
    link_gbps: Annotated[float, typer.Option(min=1e-6, help="Network link of a worker, Gbit/s.")] = 10.0,
    delay_us: Annotated[float, typer.Option(min=0.0, help="Of a message on it, microseconds.")] = 50.0,
    flops: Annotated[float, typer.Option(min=1.0, help="Reached by a GPU in training, per second.")] = Costs.flops,
    cores: Annotated[int, typer.Option(min=1, help="Of the processor, for each GPU: they read audio.")] = Costs.cores,
    gpu_hour: Annotated[float, typer.Option(min=0.0, help="Price of an hour of a GPU.")] = 2.0,
    plot: Annotated[Path | None, typer.Option(help="Draw the speed-up against workers: .svg or .png.")] = None,
) -> None:
    """Compute days, traffic, disk and cost of each stage, and how far more workers help.

    By a model of what workers exchange (described in pyasr/run/plan.py) and unit costs, which are listed with their
    sources: measure your own where they matter, above all --flops and what reads the audio.
    """
    link = {"link_bytes_s": link_gbps * 1e9 / 8, "delay_s": delay_us * 1e-6}
    costs = Costs(flops=flops, cores=cores, gpu_hour=gpu_hour, **link)
    weights = {"teacher": teacher * 1e6, "student": student * 1e6}
    work = Work(hours, annotated_hours, **weights, step_frames=step_frames, sync_every=sync_every, group=group)
    stages = plan_stages(work, gpus, costs)
    columns = ["stage", "method", "GPUs", "days", "sent a worker", "disk", "cost"]
    total = StagePlan(
        "all", "", 0, *(sum(getattr(s, n) for s in stages) for n in ("days", "sent_bytes", "disk_bytes", "cost"))
    )
    show_table(columns, [_row(stage) for stage in [*stages, total]])
    say("")
    say(f"speed-up of the student's training at {link_gbps:g} Gbit/s")
    table = {method: [speed_up(method, n, work.student, work, costs) for n in _WORKERS] for method in METHODS}
    rows = [[str(n), *(f"{table[method][i]:.1f}" for method in METHODS)] for i, n in enumerate(_WORKERS)]
    show_table(["workers", *METHODS], rows)
    say("")
    say("the work")
    show_table(["", ""], [[f.name, f"{getattr(work, f.name):g}"] for f in fields(Work)])
    say("")
    say("the unit costs")
    show_table(["", "", ""], [[f.name, f"{getattr(costs, f.name):g}", ASSUMPTIONS[f.name]] for f in fields(Costs)])
    if plot is not None:
        _draw(table, plot, f"{link_gbps:g} Gbit/s")
        say(f"{plot}")


def _row(stage: StagePlan) -> list[str]:
    sizes = [_bytes(stage.sent_bytes), _bytes(stage.disk_bytes)]
    cost = f"{stage.cost:,.0f}" if stage.cost else "-"
    return [stage.name, stage.method, str(stage.gpus or "-"), f"{stage.days:.2f}" if stage.days else "-", *sizes, cost]


def _bytes(size: float) -> str:
    if not size:
        return "-"
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} TB"


def _draw(table: dict[str, list[float]], path: Path, title: str) -> None:
    figure = matplotlib.figure.Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for method, values in table.items():
        axes.plot(_WORKERS, values, marker="o", markersize=3, label=method)
    axes.plot(_WORKERS, _WORKERS, color="grey", linestyle=":", label="workers")
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="speed-up", title=title)
    axes.set_xscale("log", base=2)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
