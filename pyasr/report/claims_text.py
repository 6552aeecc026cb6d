"""Claims in words, and as Markdown for CLAIMS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyasr.report.claim_measures import Measured
from pyasr.report.claim_options import ComparisonOptions
from pyasr.report.claim_values import Valued
from pyasr.report.claims import FAILS, HOLDS, INCOMPLETE, UNDECIDED, Compared, Declared, Judged, Outcome
from pyasr.report.comparison import ALL, NOISY, Part, Run
from pyasr.report.comparison_text import markdown
from pyasr.report.format import value
from pyasr.report.measures_table import MEASURES

INTRODUCTION = (
    "What the article claims, tested at the size of AN4, from the committed tables alone. Differences of word errors"
    " are paired, with 95 % intervals by a bootstrap over test speakers. A claim holds when the interval excludes the"
    " contrary, fails when it excludes the claim, is not decided when it allows both, and is incomplete while rows are"
    " missing; the published figure stands beside it. Losses and sizes are one number a run, without an interval: in"
    " its place all runs have to say the same, and the least and the most of them stand in round brackets; one run"
    " decides nothing."
)
COLUMNS = ("comparison", "condition or run", "base", "system", "difference", "published", "verdict")
_CONDITIONS = {"clean": "clean speech", NOISY: "noise", ALL: "all conditions"}
_WHERE = {"clean": "in clean speech", NOISY: "over all noise", ALL: "over all conditions"}
_BETTER = {
    "reduction": ("{} % fewer errors", "{} % more errors"),
    "points": ("{} points lower WER", "{} points higher WER"),
    "more_reduction": ("{} % more error reduction", "{} % less error reduction"),
    "more_in_noise": ("{} points more reduction in noise", "{} points less reduction in noise"),
    **{name: (f"{{}} % {measure.better}", f"{{}} % {measure.worse}") for name, measure in MEASURES.items()},
}


def condition_name(name: str) -> str:
    """Clean speech, 10 dB, all conditions."""
    return _CONDITIONS.get(name) or (f"{name[3:]} dB" if name.startswith("snr") else name)


def figure_with_interval(measured: Measured | Valued, unit: str) -> str:
    """25.7 % [22.0, 29.9]; of a measure 25.7 % (22.0 to 29.9), of a single run 25.7 %."""
    estimate, low, high = (round(figure, 1) + 0.0 for figure in (measured.estimate, *measured.ends))  # no -0.0
    if isinstance(measured, Measured):
        return f"{estimate:.1f} {unit} [{low:.1f}, {high:.1f}]"
    return f"{estimate:.1f} {unit}" + f" ({low:.1f} to {high:.1f})" * (measured.runs > 1)


def published(options: ComparisonOptions) -> str:
    """10 to 22 %; empty when there is no published figure."""
    figures = " to ".join(f"{figure:g}" for figure in options.published)
    return f"{figures} {options.unit}" if figures else ""


def claim_sentence(judged: Judged) -> str:
    """The verdict on a claim, in a sentence."""
    by_verdict: dict[str, list[Compared]] = {}
    for found in judged.compared:
        by_verdict.setdefault(found.verdict, []).append(found)
    decided = [name for name in (HOLDS, FAILS, UNDECIDED) if name in by_verdict]
    said = [f"{name} {_where(by_verdict[name], len(judged.compared))}" for name in decided]
    waiting = by_verdict.get(INCOMPLETE, [])
    gaps = sum(bool(found.options.gap) for found in waiting)
    if len(waiting) > gaps:
        said.append(f"{len(waiting) - gaps} of {len(judged.compared)} comparisons lack rows")
    if gaps:
        said.append(f"{gaps} cannot be run yet")
    if not said:
        return "Nothing is claimed of this; the figures are shown."
    begin = "" if said[0].startswith(judged.verdict) else f"{judged.verdict}: "
    text = f"{begin}{'; '.join(said)}."
    return text[:1].upper() + text[1:]


def comparison_sentence(found: Compared) -> str:
    """What a comparison came to in the condition that decides, and what is missing."""
    options = found.options
    if options.gap:
        return options.gap
    outcome = found.outcomes[-1]
    said = [_measured(options, outcome.measured, outcome.condition)] if outcome.measured else []
    if outcome.measured and options.published:
        said.append(f"the article has {published(options)}, {_beside(options, outcome.measured)}")
    if outcome.reason:
        said.append(outcome.reason)
    if isinstance(outcome.measured, Valued) and outcome.measured.runs == 1 and outcome.verdict == UNDECIDED:
        said.append("one run decides nothing")
    if lacking := missing_rows(outcome):
        of = MEASURES[options.measure].short if options.measure in MEASURES else "rows"
        said.append(f"no {of} of {lacking}")
    return "; ".join(said)


def missing_rows(outcome: Outcome) -> str:
    """Systems, settings, and what they lack of the grid: tx5 (fold 0, fold 1), student@half (fold 2: snr10)."""
    said = []
    for setting in dict.fromkeys(setting for _, setting in outcome.missing):
        of_setting = {side: parts for side, parts in outcome.missing.items() if side[1] == setting and parts}
        alike = len(of_setting) > 1 and len(set(of_setting.values())) == 1
        for side, parts in list(of_setting.items())[: 1 if alike else None]:
            said.append(f"{setting if alike else '@'.join(side)} ({_runs(parts, outcome.members)})")
    return ", ".join(said)


def _runs(parts: Sequence[Part], members: Sequence[str]) -> str:
    by_run: dict[Run, list[str]] = {}
    for fold, seed, condition in parts:
        by_run.setdefault((fold, seed), []).append(condition)
    seeds = {seed for _, seed in by_run}
    names = []
    for (fold, seed), conditions in by_run.items():
        name = f"seed {seed}" if fold is None else f"fold {fold}" + f" seed {seed}" * (len(seeds) > 1)
        names.append(name + (f": {' '.join(conditions)}" if len(conditions) < len(members) else ""))
    return ", ".join(names)


def table_rows(found: Compared) -> list[list[str]]:
    """A row a condition, with COLUMNS; one row where there is nothing."""
    options = found.options
    if found.is_empty:
        return [[options.label, "", *["missing"] * 3, published(options), INCOMPLETE]]
    rows = []
    for outcome in found.outcomes:
        measured = outcome.measured
        sides = [_side(options, one) for one in measured.sides[-2:]] if measured else ["missing", "missing"]
        difference = figure_with_interval(measured, options.unit) if measured else outcome.reason or "missing"
        if measured and any(outcome.missing.values()):
            difference += f" ({outcome.folds} {'fold' if outcome.folds == 1 else 'folds'} only)"
        rows.append([options.label, condition_name(outcome.condition), *sides, difference, published(options),
                     outcome.verdict])  # fmt: skip
    return rows


def rerun_commands(judged: Judged, settings: Mapping[str, Declared]) -> list[str]:
    """What makes the rows of a claim, a command an experiment file."""
    by_file: dict[str, list[str]] = {}
    for found in judged.compared:
        for _, setting in found.options.sides:
            wanted = by_file.setdefault(settings[setting].file, [])
            wanted += [setting] * (setting not in wanted)
    return [
        f"python -m pyasr.run experiment {file} --corpus-dir AN4 --noise-dir NOISE"
        + "".join(f" --setting {setting}" for setting in wanted)
        for file, wanted in by_file.items()
    ]


def claims_markdown(
    title: str, judged: Sequence[Judged], settings: Mapping[str, Declared], made_by: str, notes: Sequence[str]
) -> str:
    """The text of CLAIMS.md."""
    summary = [[found.options.name, found.options.title, found.options.article, found.verdict] for found in judged]
    blocks = [
        f"# {title}",
        INTRODUCTION,
        f"Made by `{made_by}`; do not edit.",
        markdown((["", "claim", "the article", "verdict"], summary)),
        *(f"Note: {note}." for note in notes),
    ]
    for found in judged:
        claim = found.options
        blocks += [f"## {claim.name}. {claim.title}", f"The article: {claim.article}", f"**{claim_sentence(found)}**"]
        blocks += [claim.note] * bool(claim.note)
        each = (f"- {one.options.label}: {one.verdict}; {comparison_sentence(one)}" for one in found.compared)
        blocks.append("\n".join(each))
        blocks.append(markdown((list(COLUMNS), [row for one in found.compared for row in table_rows(one)])))
        blocks += [f"What was tried: {claim.tried}"] * bool(claim.tried)
        blocks.append("To run it again:")
        blocks.append("\n".join(f"    {command}" for command in rerun_commands(found, settings)))
    return "\n\n".join(blocks) + "\n"


def _side(options: ComparisonOptions, figure: float) -> str:
    return value(figure) if options.measure in MEASURES else f"{figure:.2f} %"


def _measured(options: ComparisonOptions, measured: Measured | Valued, condition: str) -> str:
    phrase = _BETTER[options.measure][measured.estimate < 0].format(f"{abs(measured.estimate):.1f}")
    low, high = measured.ends
    if measured.estimate < 0:
        low, high = -high, -low
    if isinstance(measured, Valued):
        base, system = (_side(options, figure) for figure in measured.sides)
        if measured.runs == 1:
            return f"{phrase} in {condition} ({base} to {system})"
        return f"{phrase}, {low:.1f} to {high:.1f} in {measured.runs} runs (mean {base} to {system})"
    text = f"{phrase} [{low:.1f}, {high:.1f}]"
    where = _WHERE.get(condition) or f"at {condition_name(condition)}"
    text += "" if options.measure == "more_in_noise" else f" {where}"
    return f"{text} (WER {measured.sides[-2]:.1f} to {measured.sides[-1]:.1f} %, {measured.speakers} speakers)"


def _beside(options: ComparisonOptions, measured: Measured | Valued) -> str:
    low, high = min(options.published), max(options.published)
    if measured.ends[0] > high:
        return "less than here"
    if measured.ends[1] < low:
        return "more than here"
    return "which the interval allows" if isinstance(measured, Measured) else "which is among the runs"


def _where(found: Sequence[Compared], out_of: int) -> str:
    """Which comparisons have a verdict, with their figures; of many, how many."""
    if len(found) > 2:
        return f"in {len(found)} of {out_of} comparisons"
    measured = [(one.options, one.outcomes[-1].measured) for one in found]
    figures = [f"{options.label} ({figure_with_interval(made, options.unit)})" for options, made in measured if made]
    return f"for {' and '.join(figures)}"
