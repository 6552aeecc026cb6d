"""The subcommand `claims`: what the tables of results and measures say of each claim of an experiment file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pyasr.base.artifact import write_text
from pyasr.base.errors import ConfigError
from pyasr.report.claims import Declared, judge, notes, rows_of
from pyasr.report.claims_page import render_claims
from pyasr.report.claims_text import claims_markdown
from pyasr.report.measures_table import read_measures
from pyasr.report.results_table import ResultRow, read_table
from pyasr.run.console import say, show_table
from pyasr.run.experiment import Experiment, load_experiment


def claims(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="Experiment file that declares claims.")],
    page: Annotated[Path | None, typer.Option(help="The page to write; default claims.html by FILE.")] = None,
    text: Annotated[Path | None, typer.Option(help="The text to write; default CLAIMS.md by FILE.")] = None,
) -> None:
    """Judge claims from the tables of results and measures, and write CLAIMS.md and a page.

    \b
    claims recipes/an4/claims.toml

    Nothing is run: `experiment FILE.toml` fills the tables, and what it has not filled yet is shown as missing. A claim
    holds where the 95 % interval of the paired difference excludes the contrary, fails where it excludes the claim, and
    is not decided where it allows both; of losses, sizes and times every run has to say the same. How claims are
    declared is described in `pyasr/report/claim_options.py`.
    """
    loaded = load_experiment(file)
    if not loaded.claims:
        raise ConfigError(f"{file}: no [[claim]]")
    settings = _settings(file, loaded)
    if loaded.like is not None:
        settings = {**_settings(loaded.like, load_experiment(loaded.like)), **settings}
    rows = read_table(loaded.table)
    measures = read_measures(loaded.measures) if loaded.measures.exists() else []
    judged = judge(loaded.claims, rows, measures, settings, loaded.folds)
    title = f"Claims at the size of {loaded.recipe_name.upper()}"
    made_by = shlex.join(["python", "-m", "pyasr.run", "claims", str(file)])
    said = notes([*rows, *measures], settings)
    text, page = text or file.parent / "CLAIMS.md", page or file.parent / "claims.html"
    write_text(text, claims_markdown(title, judged, settings, made_by, said))
    write_text(page, render_claims(title, judged, settings, _facts(rows_of(settings, rows)), made_by, said))
    show_table(["", "claim", "verdict"], [[one.options.name, one.options.title, one.verdict] for one in judged])
    for note in said:
        say(f"note: {note}")
    say(f"\n{text}\n{page}")


def _settings(file: Path, experiment: Experiment) -> dict[str, Declared]:
    """The settings of a file, with the runs that it declares."""
    found: dict[str, Declared] = {}
    for run in experiment.runs:
        before = found[run.setting].runs if run.setting in found else ()
        found[run.setting] = Declared(experiment.name, str(file), (*before, (run.fold, run.seed)), run.options)
    return found


def _facts(rows: Sequence[ResultRow]) -> dict[str, str]:
    """What the page is made of."""
    return {
        "rows": f"{len(rows):,}",
        "runs": str(len({row.run for row in rows})),
        "test speakers": str(len({row.speaker for row in rows})),
        "revisions": ", ".join(sorted({part for row in rows for part in row.revision.split("+")})) or "none",
    }
