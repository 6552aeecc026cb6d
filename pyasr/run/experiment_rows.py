"""The rows of a complete run, for the table of results and for the table of measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyasr.base.artifact import read_json, read_jsonl
from pyasr.decode.score import counts_by
from pyasr.report.measures_table import MEASURES, MeasureRow
from pyasr.report.results_table import ResultRow
from pyasr.run.experiment import Experiment, ExperimentRun
from pyasr.run.revision import revision
from pyasr.run.sidecar import read_sidecar
from pyasr.run.stage import Stage
from pyasr.run.stages import LABELS, NETWORKS, RELABELLED, SMBR

_TRAINED = (*NETWORKS, *SMBR, *RELABELLED)
"""The systems with a network; the stage that trains it has the system's name."""


def collect_rows(
    experiment: Experiment, run: ExperimentRun, stages: Sequence[Stage]
) -> tuple[list[ResultRow], list[str]]:
    """The rows of a complete run, and "SYSTEM CONDITION" of those expected that it has no scores of."""
    exp = run.context.exp
    scored = read_json(exp / "results.json")["wer"]
    rows, missing = [], []
    for system in run.systems:
        made_by = _made_by(exp, _decoded_by(system, stages), stages)
        for condition in run.conditions:
            if condition not in scored.get(system, {}):
                missing.append(f"{system} {condition}")
                continue
            speakers = counts_by(read_jsonl(exp / "score" / system / f"{condition}.jsonl"))
            for speaker, counts in speakers.items():
                row = ResultRow(
                    **_of_run(experiment, run, system, made_by),
                    condition=condition,
                    speaker=speaker,
                    substitutions=counts["sub"],
                    deletions=counts["del"],
                    insertions=counts["ins"],
                    words=counts["words"],
                    settings=run.settings,
                    command=run.command,
                )
                rows.append(row)
    return rows, missing


def collect_measures(experiment: Experiment, run: ExperimentRun, stages: Sequence[Stage]) -> list[MeasureRow]:
    """What the stages of a complete run tell of its networks, other than their word errors."""
    rows = []
    for system in run.systems:
        training = next((stage for stage in stages if stage.name == system and system in _TRAINED), None)
        if training is None:
            continue
        of_run = _of_run(experiment, run, system, _made_by(run.context.exp, system, stages))
        measured = _measured(run.context.exp, training)
        rows += [MeasureRow(**of_run, measure=name, value=float(value)) for name, value in measured.items()]
    return rows


def _of_run(experiment: Experiment, run: ExperimentRun, system: str, made_by: str) -> dict[str, Any]:
    """What a `pyasr.report.table_file.RunRow` is made of. made_by: the revision."""
    return {
        "experiment": experiment.name,
        "setting": run.setting,
        "recipe": experiment.recipe_name,
        "fold": run.fold,
        "seed": run.seed,
        "system": system,
        "options": run.options,
        "revision": made_by,
    }


def _measured(exp: Path, training: Stage) -> dict[str, float]:
    """{measure: value} of a network, in the order of MEASURES. What a stage does not tell is left out."""
    trained = read_sidecar(exp, training.name)
    if trained is None:
        return {}
    found = dict(trained.digest)
    log = exp / training.writes[0] / "log.jsonl"
    rows = read_jsonl(log) if log.exists() else []
    if rows:  # the sidecar's seconds are those after the last interruption
        found["train_s"] = round(sum(row["seconds"] for row in rows), 1)
    sent = [row["gtc_bytes_out"] for row in rows if "gtc_bytes_out" in row]
    if sent and not any("bmuf_blocks" in row for row in rows):  # BMUF sends more, which its log does not count
        found["gtc_bytes_per_step"] = round(sum(sent) / len(sent), 1)
    if trained.identity["options"].get("train.student.targets") != "dense":  # else what is stored was not learnt from
        for name in training.reads:
            sidecar = read_sidecar(exp, name) if name in LABELS else None
            found.update(sidecar.digest if sidecar else {})
    return {name: found[name] for name in MEASURES if isinstance(found.get(name), (int, float))}


def _decoded_by(system: str, stages: Sequence[Stage]) -> str:
    return next((stage.name for stage in stages if stage.name == f"decode_{system}"), "score")


def _made_by(exp: Path, name: str, stages: Sequence[Stage]) -> str:
    """The revisions of a stage and of all that it comes from, in the order of the stages."""
    by_name = {stage.name: stage for stage in stages}
    needed = _with_inputs(name, by_name)
    sidecars = [read_sidecar(exp, stage.name) for stage in stages if stage.name in needed]
    return "+".join(dict.fromkeys(sidecar.revision for sidecar in sidecars if sidecar)) or revision()


def _with_inputs(name: str, by_name: dict[str, Stage]) -> set[str]:
    found: set[str] = {name}
    for read in by_name[name].reads:
        found |= _with_inputs(read, by_name)
    return found
