"""The subcommands `experiment` and `compare`: many runs, and what their table says."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pyasr.base.errors import ConfigError
from pyasr.base.executor import SPECS
from pyasr.base.interrupt import raise_when_interrupted
from pyasr.report.comparison import ALL, NOISY, Results
from pyasr.report.comparison_text import Table, caption, default_conditions, difference_table, markdown, wer_table
from pyasr.report.results_table import read_table
from pyasr.run.console import say, show_table
from pyasr.run.crew import Crew
from pyasr.run.experiment import load_experiment, with_crew
from pyasr.run.experiment_runs import add_measures, run_experiment, show_plan
from pyasr.run.stages import STAGES


def experiment(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="What to run; the keys are described above.")],
    exp: Annotated[Path | None, typer.Option(help="Folder of the run folders; default exp/NAME.")] = None,
    table: Annotated[Path | None, typer.Option(help="Table that gets the rows; default results.csv by FILE.")] = None,
    corpus_dir: Annotated[Path | None, typer.Option(help="Where the corpus lies.")] = None,
    noise_dir: Annotated[Path | None, typer.Option(help="Noise, in the folders train/ and test/.")] = None,
    executor: Annotated[str | None, typer.Option(help=f"Workers: {SPECS}.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Only this setting of FILE; repeatable.")] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="After an error go on with the next run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and what is left of them.")] = False,
    only_measures: Annotated[
        bool, typer.Option("--measures", help="Run nothing: take measures of runs in the table from their folders.")
    ] = False,
) -> None:
    """Run a recipe over folds, seeds and settings, and append the results to a table.

    FILE.toml holds these keys; folders in it are relative to it:

    \b
    recipe = "an4"               # a name or a .toml file; needed
    name = "rotation"            # default: the file's name
    folds = [0, 1, 2]            # corpus.fold; without: the official split
    seeds = [1]
    set = ["decode.beam=15.0"]   # for all runs, as --set
    table = "results.csv"        # word errors; sizes, losses and times go into measures.csv beside it
    exp = "../../exp/rotation"   # also corpus_dir, noise_dir, executor
    systems = ["supervised", "student"]    # those made; without: all
    conditions = ["clean", "snr10"]
    [\\[setting]]                  # as many as wanted; without: the recipe as it is
    name = "small"
    set = ["gmm.sat.num_gauss=2000"]
    folds = [0]                  # without: those above
    systems = ["student"]        # without: those above

    A run goes into a folder of its own, and its rows into the table as soon as it ends. Interrupted or killed, the same
    command goes on from there: what is in the table, made with the same options by the same code, is not repeated.
    A stage that another run has finished in the same way is taken over from it ("shared from"). Under torchrun the
    workers train the networks of each run together, as train.dist says; the rest is done by the first.
    """
    if dry_run and only_measures:
        raise ConfigError("--dry-run or --measures: one of them")
    loaded = load_experiment(file, exp, table, corpus_dir, noise_dir, executor, setting or ())
    if dry_run:
        show_plan(loaded, STAGES)
        return
    if only_measures:
        found = add_measures(loaded, STAGES)
        say(f"{len(found)} of {len(loaded.runs)} runs have rows in {loaded.table} and a folder: see {loaded.measures}")
        return
    crew = Crew(dist for run in loaded.runs for dist in run.context.recipe.train.every_dist())
    if crew.rank:
        crew.follow()
        return
    raise_when_interrupted()
    try:
        run_experiment(with_crew(loaded, crew), STAGES, keep_going)
        crew.dismiss()
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr, flush=True)
        os._exit(130)  # workers die with this process; a regular exit would wait for their jobs


def compare(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="The table, for example recipes/an4/results.csv.")],
    base: Annotated[str | None, typer.Option(metavar="SYSTEM[@SETTING]", help="The system compared with.")] = None,
    system: Annotated[str | None, typer.Option(metavar="SYSTEM[@SETTING]", help="The system in question.")] = None,
    condition: Annotated[
        list[str] | None, typer.Option(help=f"Condition, or {NOISY} or {ALL} for them pooled; repeatable.")
    ] = None,
    experiment: Annotated[str | None, typer.Option(help="Experiment, where the table holds several.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Tables as Markdown, for RESULTS.md.")] = False,
) -> None:
    """Word error rates, and the paired difference of two systems, from a table of results alone.

    \b
    compare recipes/an4/results.csv
    compare recipes/an4/results.csv --base supervised --system student
    compare recipes/an4/results.csv --base student@segregated --system student@interleaved

    Rates are pooled over folds and averaged over seeds. A difference is the reduction of errors relative to the base,
    positive where the system is better, with a 95 % interval by a bootstrap over speakers in which both see the same
    draw; it holds when the interval excludes zero. Without a setting, systems are compared in each of them.
    What is missing in the table is shown as missing.
    """
    if (base is None) != (system is None):
        raise ConfigError("--base and --system go together: the difference is of one against the other")
    results = Results.of(read_table(table), experiment)
    _check_conditions(results, condition or [])
    show = _show_markdown if as_markdown else _show
    single = [name for name in condition or results.conditions if name not in (NOISY, ALL)]
    say(caption(results))
    say("")
    notes = [*results.notes()]
    if single:
        wer, missing = wer_table(results, single)
        show(wer)
        notes += missing
    if base is not None and system is not None:
        found = [
            results.difference(*pair, name)
            for pair in results.pairs(base, system)
            for name in condition or default_conditions(results)
        ]
        differences, reasons = difference_table(found, len(results.settings) > 1)
        say("")
        show(differences)
        notes += reasons
    say("")
    for note in notes:
        say(f"- {note}" if as_markdown else note)


def _check_conditions(results: Results, conditions: list[str]) -> None:
    known = [*results.conditions, NOISY, ALL]
    unknown = [name for name in conditions if name not in known]
    if unknown:
        raise ConfigError(f"--condition {unknown[0]}: not in the table; there are {', '.join(known)}")


def _show(table: Table) -> None:
    show_table(*table)


def _show_markdown(table: Table) -> None:
    say(markdown(table))
