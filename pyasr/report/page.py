"""The page: what was collected, arranged for the template, with everything escaped by it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pyasr.base.artifact import write_text
from pyasr.base.errors import DataError
from pyasr.report import figures, format
from pyasr.report.collect import Run, collect
from pyasr.report.examples import Example, alignment_examples
from pyasr.report.template import template
from pyasr.report.words import confusions, speaker_rates, worst

_ERRORS_SHOWN = 6
_SKIPS_SHOWN = 200
_ENDS = {"dev": "dev stopped improving", "max_sub_epochs": "the limit of sub-epochs was reached"}


def write_report(exp: Path, out: Path) -> None:
    """Write the page of the run in `exp` to the file `out`; what the run has not made is said to be missing.

    The file needs no other file and no network: figures are data URIs. DataError names a damaged artifact.
    """
    write_text(out, render(collect(exp), alignment_examples(exp)))


def render(run: Run, examples: list[Example]) -> str:
    """The page as HTML."""
    return template("page.html.j2").render(
        title=run.results.get("recipe") or "a run without results",
        facts=_facts(run),
        wer=_wer(run),
        speakers=_speakers(run),
        errors=_errors(run),
        alignments=[_alignment(example) for example in examples],
        curves=figures.training_curves(run.curves) if run.curves else None,
        curve_rows=_curve_rows(run),
        network_figure=figures.network_curves(run.networks) if run.networks else None,
        network_rows=_network_rows(run),
        sequence=_sequence(run),
        stages=_stages(run),
        skips=_skips(run),
        toml=format.toml(run.options),
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    """What stands at the head of the page."""
    results = run.results
    facts = [
        (label, str(results[name]))
        for name, label in (("seed", "seed"), ("fold", "fold"), ("revision", "revision"))
        if results.get(name) is not None
    ]
    if run.stages:
        facts.append(("time", format.duration(sum(stage["seconds"] for stage in run.stages))))
        facts.append(("peak memory", format.memory(max(stage["peak_memory_mb"] for stage in run.stages))))
        facts.append(("begun", run.stages[0].get("started", "")[:16].replace("T", " ") + " UTC"))
    return facts


def _wer(run: Run) -> dict[str, Any] | None:
    """The table, its figure, and the lowest rate of each condition."""
    wer = run.results.get("wer")
    if not wer or not run.conditions:
        return None
    present = [(condition, [row[condition]["wer"] for row in wer.values() if condition in row])
               for condition in run.conditions]
    return {
        "conditions": run.conditions,
        "systems": wer,
        "best": {condition: min(rates) for condition, rates in present},
        "figure": figures.wer_bars(wer, run.conditions),
    }


def _speakers(run: Run) -> list[dict[str, Any]]:
    tables = [{"condition": name, **speaker_rates(run.scores, name)} for name in run.conditions]
    for table in tables:
        rates = [rate for row in table["rows"] for rate in row["wer"].values() if rate]
        table["highest"] = max(rates, default=1.0)
    return [table for table in tables if table["rows"]]


def _errors(run: Run) -> list[dict[str, Any]]:
    """Of the best system: the worst utterances and most frequent confusions of each condition."""
    system = run.best_system
    if system is None:
        return []
    return [
        {
            "system": system,
            "condition": condition,
            "utterances": worst(rows, _ERRORS_SHOWN),
            "confusions": confusions(rows),
        }
        for condition, rows in run.scores.get(system, {}).items()
    ]


def _alignment(example: Example) -> dict[str, Any]:
    figure = figures.alignment(example.frames, example.words, example.phones, example.true_phones)
    return {"id": example.cut_id, "speaker": example.speaker, "text": example.text, "system": example.system,
            "figure": figure}


def _curve_rows(run: Run) -> list[dict[str, Any]]:
    """First and last log-likelihood of each system, so that the curves can be read by ear and by script."""
    for system, rows in run.curves.items():
        if not rows or any("iteration" not in row or "loglike_per_frame" not in row for row in rows):
            raise DataError(f"the training log of {system} has no iterations; delete it and train again")
    return [{"system": system, "first": rows[0], "last": rows[-1]} for system, rows in run.curves.items()]


def _network_rows(run: Run) -> list[dict[str, Any]]:
    """Each network's best sub-epoch, and why its training ended."""
    found = []
    for system, rows in run.networks.items():
        if not rows or any(not {"dev_loss", "lr", "ended"} <= row.keys() for row in rows):
            raise DataError(f"the training log of {system} has no sub-epochs; delete it and train again")
        best = min(range(len(rows)), key=lambda number: rows[number]["dev_loss"])
        ends = [_ENDS.get(row["ended"], row["ended"]) for row in rows if row["ended"]]
        found.append({"system": system, "sub_epochs": len(rows), "best_at": best + 1, **rows[best], "ends": ends})
    return found


def _sequence(run: Run) -> list[dict[str, Any]]:
    """Of each system trained by sMBR the criterion and the WER on dev, from the model that it began with on."""
    for system, rows in run.sequence.items():
        if not rows or any(not {"sub_epoch", "dev_wer", "lr"} <= row.keys() for row in rows):
            raise DataError(f"the training log of {system} has no WER on dev; delete it and train again")
    return [
        {"system": system, "rows": rows, "best": min(range(len(rows)), key=lambda number: rows[number]["dev_wer"])}
        for system, rows in run.sequence.items()
    ]


def _stages(run: Run) -> list[dict[str, Any]]:
    longest = max((stage["seconds"] for stage in run.stages), default=0.0) or 1.0
    return [
        {
            "name": stage["stage"],
            "time": format.duration(stage["seconds"]),
            "share": round(100.0 * stage["seconds"] / longest, 1),
            "memory": format.memory(stage["peak_memory_mb"]),
            "disk": format.memory(stage["disk_mb"]) if "disk_mb" in stage else "",
            "digest": [(key.replace("_", " "), format.value(item)) for key, item in stage.get("digest", {}).items()],
        }
        for stage in run.stages
    ]


def _skips(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "where": where,
            "count": len(rows),
            "reasons": Counter(row["reason"].split(":")[0] for row in rows).most_common(),
            "rows": rows[:_SKIPS_SHOWN],
            "more": max(0, len(rows) - _SKIPS_SHOWN),
        }
        for where, rows in run.skips.items()
    ]
