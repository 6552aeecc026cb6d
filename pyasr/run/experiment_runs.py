"""Runs an experiment: one run after the other, stages shared, rows into the table; resumable at any point."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyasr.base.errors import ConfigError, PyasrError
from pyasr.report.format import duration
from pyasr.report.measures_table import append_measures
from pyasr.report.results_table import ResultRow, append_rows, read_table
from pyasr.report.table_file import Appended, RunKey
from pyasr.run import results, runner
from pyasr.run.console import say, show_table
from pyasr.run.experiment import Experiment, ExperimentRun
from pyasr.run.experiment_rows import collect_measures, collect_rows
from pyasr.run.revision import revision, same_code
from pyasr.run.runner import Decision
from pyasr.run.sidecar import read_sidecar
from pyasr.run.stage import Stage
from pyasr.run.stages import stages_for


@dataclass(frozen=True)
class Plan:
    """What a run would do: the stages that are not there, of which others can be `shared`; `expected_s`, the time of
    the rest by what the same stages took so far, and whether some of them were `never_timed`."""

    run: ExperimentRun
    computed: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    expected_s: float = 0.0
    never_timed: tuple[str, ...] = ()


def run_experiment(experiment: Experiment, stages: Sequence[Stage], keep_going: bool = False) -> None:
    """Run what is not in the table yet; each finished run appends its rows at once.

    A run is in the table when all its rows are there, made with the same options by the same code; measures that it
    lacks are taken from its folder, if that is still there, and else it is left without them. One that is not there
    goes through the runner, which computes what is not up to date in its folder. An error in a run ends the
    experiment, or with `keep_going` that run alone: ConfigError names all that failed at the end.
    """
    finished = runs_in_table(experiment)
    add_measures(replace(experiment, runs=tuple(finished)), stages)
    pending = [run for run in experiment.runs if run not in finished]
    decisions = {run.name: _decide(stages, run) for run in pending}
    say(
        f"experiment {experiment.name}: {len(experiment.runs)} runs in {experiment.exp}; {len(finished)} are done, with"
        f" their rows in {experiment.table}"
    )
    if revision().endswith("-dirty"):
        say("note: the code has changes that are not committed; rows made like this do not say which code made them")
    failed: list[str] = []
    for number, run in enumerate(pending):
        plans = make_plans(pending[number:], decisions, experiment.exp, stages)
        say(f"\nrun {run.name}: {len(plans)} of {len(experiment.runs)} runs left, {_expected(plans)}")
        try:
            _run_one(experiment, run, stages)
        except Exception as error:
            if not keep_going:
                if isinstance(error, PyasrError):
                    raise _of_run(run, error) from error
                raise
            failed.append(run.name)
            if not isinstance(error, PyasrError):  # a bug: all that is known helps to find it
                traceback.print_exc()
            print(f"error: run {run.name}: {error}", file=sys.stderr, flush=True)
    if failed:
        raise ConfigError(f"{len(failed)} runs failed: {', '.join(failed)}; what they said is above")
    say(f"\nall {len(experiment.runs)} runs are done, with their rows in {experiment.table}")


def show_plan(experiment: Experiment, stages: Sequence[Stage]) -> None:
    """Print what `run_experiment` would do; changes nothing."""
    finished = runs_in_table(experiment)
    pending = [run for run in experiment.runs if run not in finished]
    decisions = {run.name: _decide(stages, run) for run in pending}
    plans = {plan.run.name: plan for plan in make_plans(pending, decisions, experiment.exp, stages)}
    rows = []
    for run in experiment.runs:
        plan = plans.get(run.name)
        if plan is None:
            rows.append([run.name, "done", "", "", ""])
            continue
        state = "run" if plan.computed else "share" if plan.shared else "check its rows"
        computed = f"{len(plan.computed)} from {plan.computed[0]}" if plan.computed else "0"
        rows.append([run.name, state, computed, str(len(plan.shared)), _expected([plan])])
    show_table(["run", "", "computed", "shared", "time"], rows)
    say(f"\n{len(pending)} of {len(experiment.runs)} runs left, {_expected(list(plans.values()))}")
    say(f"runs in {experiment.exp}, rows into {experiment.table}")


def runs_in_table(experiment: Experiment) -> list[ExperimentRun]:
    """The runs of which nothing is left to do: every row is there, of the same options, made by this code."""
    by_run = _rows_by_run(experiment)
    is_current: dict[str, bool] = {}
    found = []
    for run in experiment.runs:
        rows = [
            row
            for row in by_run.get(run.key(experiment.name), [])
            if row.system in run.systems and row.condition in run.conditions
        ]
        for made_by in {row.revision for row in rows} - is_current.keys():
            is_current[made_by] = same_code(made_by)
        there = {(row.system, row.condition) for row in rows}
        wanted = {(system, condition) for system in run.systems for condition in run.conditions}
        if there == wanted and all(row.options == run.options and is_current[row.revision] for row in rows):
            found.append(run)
    return found


def _rows_by_run(experiment: Experiment) -> dict[RunKey, list[ResultRow]]:
    """What the table of results has; nothing where there is none."""
    by_run: dict[RunKey, list[ResultRow]] = {}
    for row in read_table(experiment.table) if experiment.table.exists() else []:
        by_run.setdefault(row.run, []).append(row)
    return by_run


def add_measures(experiment: Experiment, stages: Sequence[Stage]) -> list[ExperimentRun]:
    """Take what the table of measures lacks from the folders of runs that are in the table of results; which those are.

    A folder counts when every word error that it holds is in the table, of the same options and revision: then it is
    the run that the rows are of, whatever code runs now.
    """
    by_run = _rows_by_run(experiment)
    found = []
    for run in experiment.runs:
        known = by_run.get(run.key(experiment.name))
        if known is None or not results.exist(run.context.exp):
            continue
        origins = {row.key: (row.found, row.options, row.revision) for row in known}
        rows, _ = collect_rows(experiment, run, stages)
        if not rows or any(origins.get(row.key) != (row.found, row.options, row.revision) for row in rows):
            say(f"note: {run.context.exp} is not the run that {experiment.table} has of that name: no measures from it")
            continue
        found.append(run)
        if measures := collect_measures(experiment, run, stages):
            done = append_measures(experiment.measures, measures)
            if done.added or done.replaced or done.removed:
                _say_appended(f"measures of {run.name}", done)
    return found


def make_plans(
    runs: Sequence[ExperimentRun], decisions: dict[str, list[Decision]], root: Path, stages: Sequence[Stage]
) -> list[Plan]:
    """What is left of each run, in order, given what lies in the run folders now."""
    available: set[str] = set()
    computed_times: Counter[str] = Counter()
    costs: dict[str, list[float]] = {stage.name: [] for stage in stages}
    for folder in run_folders(root):
        for stage in stages:
            sidecar = read_sidecar(folder, stage.name)
            if sidecar is None:
                continue
            available.add(sidecar.fingerprint)
            if not sidecar.shared_from:
                computed_times[sidecar.fingerprint] += 1
                costs[stage.name].append(sidecar.seconds)
    plans = []
    for run in runs:
        computed, shared, never_timed, expected_s = [], [], [], 0.0
        for decision in decisions[run.name]:
            if not decision.must_run:
                continue
            name, fingerprint = decision.stage.name, decision.identity.fingerprint
            # What was computed twice all the same cannot be shared.
            if fingerprint in available and computed_times[fingerprint] < 2:
                shared.append(name)
                continue
            available.add(fingerprint)
            computed.append(name)
            if costs[name]:
                expected_s += sum(costs[name]) / len(costs[name])
            else:
                never_timed.append(name)
        plans.append(Plan(run, tuple(computed), tuple(shared), expected_s, tuple(never_timed)))
    return plans


def run_folders(root: Path) -> list[Path]:
    """The experiment folders below `root`."""
    return sorted(path.parent for path in root.glob("*/stages") if path.is_dir())


def _decide(table: Sequence[Stage], run: ExperimentRun) -> list[Decision]:
    stages = stages_for(run.systems, table)
    return runner.decide(stages, range(len(stages)), run.context)


def _expected(plans: Sequence[Plan]) -> str:
    known = sum(plan.expected_s for plan in plans)
    if not any(plan.never_timed for plan in plans):
        return f"about {duration(known)}"
    return f"more than {duration(known)}" if known else "time not known yet"


def _run_one(experiment: Experiment, run: ExperimentRun, table: Sequence[Stage]) -> None:
    stages = stages_for(run.systems, table)
    others = [folder for folder in run_folders(experiment.exp) if folder != run.context.exp]
    runner.run(stages, range(len(stages)), run.context, experiment.recipe_name, share_from=others)
    rows, missing = collect_rows(experiment, run, stages)
    if missing:
        say(f"no scores of {', '.join(missing)} (noise comes from --noise-dir or the corpus): the rows are left out")
    _say_appended("table", append_rows(experiment.table, rows))
    if measures := collect_measures(experiment, run, stages):
        _say_appended("measures", append_measures(experiment.measures, measures))


def _say_appended(where: str, done: Appended) -> None:
    counts = {"added": done.added, "replaced": done.replaced, "removed": done.removed, "kept": done.kept}
    say(f"{where}: rows {', '.join(f'{name} {count}' for name, count in counts.items() if count) or 'none'}")
    if done.contradicted:
        first = " ".join(map(str, done.contradicted[0].key[1:]))
        say(
            f"note: {len(done.contradicted)} rows of the same revision say something else now, the first is {first};"
            " the older ones are kept"
        )


def _of_run(run: ExperimentRun, error: PyasrError) -> PyasrError:
    return type(error)(f"run {run.name}: {error}\nthe same command goes on from here once that is put right")
