"""The command line: `python -m pyasr.run` runs a recipe; doctor, experiment and others are subcommands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pyasr.align.senone_drawing import draw_tree
from pyasr.align.senones import Senones
from pyasr.base.command import run_command
from pyasr.base.errors import ConfigError
from pyasr.base.executor import SPECS
from pyasr.base.interrupt import raise_when_interrupted
from pyasr.run import results, runner
from pyasr.run.claims_cli import claims
from pyasr.run.console import say, show_table
from pyasr.run.doctor import check
from pyasr.run.experiment_cli import compare, experiment
from pyasr.run.plan_cli import plan
from pyasr.run.recipe import Recipe, find_recipe, load_recipe, recipe_name
from pyasr.run.stage import Context
from pyasr.run.stages import STAGES, stage_number

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    help="Run a recipe from audio to word error rates. Run again to go on after an interruption: what is up to date"
    " is skipped.",
)


@app.callback(invoke_without_command=True)
def recipe(
    context: typer.Context,
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a path to a .toml file.")] = "demo",
    stage: Annotated[str | None, typer.Option(help="First stage, by number or name.")] = None,
    stop_stage: Annotated[str | None, typer.Option(help="Last stage, by number or name.")] = None,
    only: Annotated[str | None, typer.Option(help="This stage alone.")] = None,
    exp: Annotated[Path | None, typer.Option(help="Experiment folder; default exp/RECIPE.")] = None,
    corpus_dir: Annotated[Path | None, typer.Option(help="Where the corpus lies.")] = None,
    noise_dir: Annotated[Path | None, typer.Option(help="Noise, in the folders train/ and test/.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change an option; repeatable.")
    ] = None,
    executor: Annotated[str, typer.Option(help=f"Workers: {SPECS}.")] = "processes",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and why.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the stages, what they read and write.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Run again what is up to date.")] = False,
) -> None:
    """Run a recipe."""
    if context.invoked_subcommand is not None:
        return
    if list_:
        stages()
        return
    path = find_recipe(recipe)
    loaded = load_recipe(path, set_)
    name = recipe_name(path)
    selected = _selected(stage, stop_stage, only)
    run_context = _make_context(loaded, exp or Path("exp") / name, corpus_dir, noise_dir, executor)
    if dry_run:
        decisions = runner.decide(STAGES, selected, run_context, fresh)
        rows = [[str(row.number), row.stage.name, row.verdict, row.why] for row in decisions]
        show_table(["", "stage", "", "why"], rows)
        return
    if run_context.crew.rank:
        run_context.crew.follow()
        return
    say(f"recipe {name} ({path}), experiment folder {run_context.exp}")
    raise_when_interrupted()
    try:
        runner.run(STAGES, selected, run_context, name, fresh)
        run_context.crew.dismiss()
    except KeyboardInterrupt:
        print("interrupted: the same command, without --fresh, goes on from here", file=sys.stderr, flush=True)
        os._exit(130)  # workers die with this process; a regular exit would wait for their jobs
    results.show(run_context.exp)


@app.command()
def stages() -> None:
    """List the stages with what they read and write."""
    written = {stage.name: stage.writes for stage in STAGES}
    for number, stage in enumerate(STAGES):
        reads = [f"--{name.replace('_', '-')}" for name in stage.external]
        reads += [output for name in stage.reads for output in written[name]]
        say(f"{number:>2}  {stage.name:<15} {stage.what}")
        say(f"{'':<20}reads  {' '.join(reads) or '-'}")
        say(f"{'':<20}writes {' '.join(stage.writes)}")


@app.command()
def draw(
    exp: Annotated[Path, typer.Argument(help="Experiment folder; its stage senones has to be done.")],
    phone: Annotated[str, typer.Argument(help="Whose tree; without its place in the word, as AH.")],
    out: Annotated[Path, typer.Argument(help="File to write: .svg, .png, or .dot for Graphviz.")],
) -> None:
    """Draw the tree of a phone's senones. All senones are listed in EXP/senones/senones.txt."""
    draw_tree(Senones.load(exp / "senones" / "set"), phone, out)
    say(f"{out}")


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing, and how to get it."""
    findings = check()
    show_table(["", "", ""], [[finding.subject, finding.state, finding.advice] for finding in findings])
    if any(finding.fatal for finding in findings):
        raise ConfigError("something needed is missing: see above")


app.command()(experiment)
app.command()(compare)
app.command()(claims)
app.command()(plan)


def _make_context(
    recipe: Recipe, exp: Path, corpus_dir: Path | None, noise_dir: Path | None, executor: str
) -> Context:
    folders = {
        "corpus_dir": corpus_dir.resolve() if corpus_dir else recipe.corpus_dir,
        "noise_dir": noise_dir.resolve() if noise_dir else recipe.noise_dir,
    }
    for name, folder in folders.items():
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"--{name.replace('_', '-')} {folder}: no such folder")
    return Context(recipe=recipe, exp=exp.resolve(), executor_spec=executor, **folders)


def _selected(stage: str | None, stop_stage: str | None, only: str | None) -> range:
    if only is not None:
        if stage is not None or stop_stage is not None:
            raise ConfigError("--only NAME runs one stage: leave out --stage and --stop-stage")
        number = stage_number(only, "--only")
        return range(number, number + 1)
    first = 0 if stage is None else stage_number(stage, "--stage")
    last = len(STAGES) - 1 if stop_stage is None else stage_number(stop_stage, "--stop-stage")
    if first > last:
        raise ConfigError(f"--stage {stage} comes after --stop-stage {stop_stage}")
    return range(first, last + 1)


def main() -> None:
    """Exit codes: those of `run_command`, and 130 interrupted."""
    run_command(app, "python -m pyasr.run")
