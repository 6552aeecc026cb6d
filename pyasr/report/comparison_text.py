"""Comparisons as text: for a terminal, and as Markdown for RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence

from pyasr.report.comparison import ALL, NOISY, Difference, Pooled, Results, describe_parts

Table = tuple[list[str], list[list[str]]]
"""Names of the columns, and the rows."""


def wer_table(results: Results, conditions: Sequence[str]) -> tuple[Table, list[str]]:
    """A row a system and setting, a column a condition; and what is missing, a line a system."""
    rows, missing = [], []
    several = len(results.settings) > 1
    for system, setting in results.sides:
        pooled = [results.pooled((system, setting), [condition]) for condition in conditions]
        rows.append([*([setting] if several else []), system, *map(_wer_cell, pooled)])
        lacking = results.missing((system, setting), conditions)
        if lacking:
            missing.append(f"missing: {_side((system, setting), several)}: {describe_parts(lacking)}")
    return ([*(["setting"] if several else []), "system", *conditions], rows), missing


def _wer_cell(pooled: Pooled) -> str:
    if pooled.wer is None or pooled.ci95 is None:
        return "missing"
    text = f"{pooled.wer:.2f} [{pooled.ci95[0]:.1f}, {pooled.ci95[1]:.1f}]"
    have = pooled.expected - len(pooled.missing)
    return text if not pooled.missing else f"{text} ({have} of {pooled.expected} runs)"


def difference_table(differences: Sequence[Difference], several_settings: bool) -> tuple[Table, list[str]]:
    """A row a pair and condition; and why something could not be compared."""
    columns = [
        "base", "system", "condition", "base WER", "system WER", "relative reduction", "holds",
        "speakers", "folds", "seeds",
    ]  # fmt: skip
    rows, reasons = [], []
    for found in differences:
        names = [_side(found.base, several_settings), _side(found.system, several_settings), found.condition]
        compared = found.comparison
        if compared is None:
            rows.append([*names, *["missing" if found.reason == "missing" else "-"] * 3, "", "", "", ""])
            if found.reason != "missing":
                reasons.append(f"{names[1]} against {names[0]}, {found.condition}: {found.reason}")
            continue
        low, high = compared.ci95
        rows.append([
            *names,
            f"{compared.baseline_wer:.2f}",
            f"{compared.other_wer:.2f}",
            f"{compared.relative_reduction:.1f} % [{low:.1f}, {high:.1f}]",
            "yes" if compared.holds else "no",
            str(compared.speakers),
            str(found.folds),
            str(found.seeds) + (" (in part)" if any(found.missing.values()) else ""),
        ])  # fmt: skip
    return (columns, rows), reasons


def default_conditions(results: Results) -> list[str]:
    """Each condition, then those pooled: the noisy ones, and all."""
    conditions = results.conditions
    noisy = [name for name in conditions if name != "clean"]
    pooled = ([NOISY] if len(noisy) > 1 else []) + ([ALL] if len(conditions) > len(noisy) > 0 else [])
    return [*conditions, *pooled]


def caption(results: Results) -> str:
    """What the figures are pooled over."""
    folds = sorted({fold for fold, _ in results.runs if fold is not None})
    seeds = sorted({seed for _, seed in results.runs})
    speakers = {row.speaker for row in results.rows}
    where = f"{len(folds)} folds ({', '.join(map(str, folds))})" if folds else "the official split"
    if folds and any(fold is None for fold, _ in results.runs):
        where += " and the official split"
    return (
        f"{results.experiment}: {where}, seeds {', '.join(map(str, seeds))}, {len(speakers)} speakers."
        " Word error rates in per cent [95 % interval by a bootstrap over speakers], pooled over folds, mean of seeds."
    )


def markdown(table: Table) -> str:
    """The table as Markdown has it."""
    columns, rows = table
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _side(side: tuple[str, str], several_settings: bool) -> str:
    return "@".join(side) if several_settings else side[0]
