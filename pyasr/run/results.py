"""EXP/results.json: the run in figures, for people and for scripts outside the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyasr.base.artifact import read_json, write_json
from pyasr.run.console import say, show_table
from pyasr.run.revision import revision
from pyasr.run.sidecar import read_sidecar
from pyasr.run.stage import Context, Stage

SCHEMA = 1


def outdate(exp: Path) -> None:
    """Remove the results before anything they were made from changes."""
    (exp / "results.json").unlink(missing_ok=True)


def exist(exp: Path) -> bool:
    """Whether there are results."""
    return (exp / "results.json").exists()


def write(stages: tuple[Stage, ...], context: Context, name: str) -> None:
    """Write EXP/results.json from the sidecars and the scores; the score stage has to be complete."""
    sidecars = [read_sidecar(context.exp, stage.name) for stage in stages]
    costs = {
        sidecar.stage: {
            "seconds": sidecar.seconds,
            "peak_memory_mb": sidecar.peak_memory_mb,
            "disk_mb": sidecar.disk_mb,
            **sidecar.digest,
        }
        for sidecar in sidecars
        if sidecar is not None
    }
    write_json(
        context.exp / "results.json",
        {
            "schema": SCHEMA,
            "recipe": name,
            "revision": revision(),
            "seed": context.recipe.seed,
            "fold": getattr(context.recipe.corpus, "fold", None),
            "wall_s": round(sum(cost["seconds"] for cost in costs.values()), 2),
            "stages": costs,
            "wer": read_json(context.exp / "score" / "wer.json"),
        },
    )


def show(exp: Path) -> None:
    """Print the word error rates of EXP/results.json, if it is there."""
    path = exp / "results.json"
    if not path.exists():
        return
    wer: dict[str, dict[str, Any]] = read_json(path)["wer"]
    conditions = list(dict.fromkeys(condition for row in wer.values() for condition in row))
    rows = [
        [system, *(_cell(row[condition]) if condition in row else "-" for condition in conditions)]
        for system, row in wer.items()
    ]
    say("\nWord error rates in per cent [95 % interval]")
    show_table(["", *conditions], rows)
    say(f"\nresults  {path}")
    if (exp / "report.html").exists():
        say(f"report   {exp / 'report.html'}")


def _cell(entry: dict[str, Any]) -> str:
    low, high = entry["ci95"]
    return f"{entry['wer']:.2f} [{low:.1f}, {high:.1f}]"
