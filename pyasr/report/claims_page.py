"""The page of claims: what was judged, arranged for the template, with everything escaped by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pyasr.report import claim_figures
from pyasr.report.claims import FAILS, HOLDS, INCOMPLETE, SHOWN, UNDECIDED, Compared, Declared, Judged
from pyasr.report.claims_text import (
    COLUMNS,
    INTRODUCTION,
    claim_sentence,
    comparison_sentence,
    figure_with_interval,
    published,
    rerun_commands,
    table_rows,
)
from pyasr.report.template import template

_CLASSES = {HOLDS: "holds", FAILS: "fails", UNDECIDED: "undecided", INCOMPLETE: "incomplete", SHOWN: "shown"}


def render_claims(
    title: str, judged: Sequence[Judged], settings: Mapping[str, Declared], facts: Mapping[str, str],
    made_by: str, notes: Sequence[str],
) -> str:  # fmt: skip
    """The page as HTML. It needs no other file and no network. facts: {label: text} for its head."""
    counts = Counter(found.verdict for found in judged)
    return template("claims.html.j2").render(
        title=title,
        introduction=INTRODUCTION,
        facts=facts,
        counts=[(name, counts[name]) for name in _CLASSES if counts[name]],
        claims=[_claim(found, settings) for found in judged],
        classes=_CLASSES,
        columns=COLUMNS,
        made_by=made_by,
        notes=notes,
    )


def _claim(judged: Judged, settings: Mapping[str, Declared]) -> dict[str, Any]:
    return {
        "options": judged.options,
        "verdict": judged.verdict,
        "sentence": claim_sentence(judged),
        "headline": _headline(judged.compared),
        "comparisons": [
            {"label": found.options.label, "verdict": found.verdict, "sentence": comparison_sentence(found)}
            for found in judged.compared
            if found.options.gap or not found.is_empty
        ],
        "empty": [found.options.label for found in judged.compared if found.is_empty and not found.options.gap],
        "rows": [row for found in judged.compared for row in table_rows(found)],
        "differences": claim_figures.differences(judged),
        "levels": claim_figures.levels(judged),
        "commands": rerun_commands(judged, settings),
    }


def _headline(compared: Sequence[Compared]) -> dict[str, str] | None:
    """The figure for the overview: of the first comparison that is decided, or else of one that has any rows."""
    measured = [found for found in compared if found.outcomes and found.outcomes[-1].measured]
    measured.sort(key=lambda found: (found.verdict == INCOMPLETE, found.verdict == SHOWN))
    if not measured:
        return None
    chosen = measured[0]
    return {
        "label": chosen.options.label + (", in part" if chosen.verdict == INCOMPLETE else ""),
        "figure": figure_with_interval(chosen.outcomes[-1].measured, chosen.options.unit),
        "published": published(chosen.options),
    }
