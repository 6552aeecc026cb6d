"""Word errors for reading: aligned utterances, the most frequent confusions, rates per speaker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyasr.decode.score import align_words, speaker_table

Row = Mapping[str, Any]
Pair = tuple[str | None, str | None]


@dataclass(frozen=True)
class AlignedUtterance:
    """cells: (reference or "", hypothesis or "", "ok" | "sub" | "del" | "ins") of each word."""

    id: str
    speaker: str
    errors: int
    words: int
    cells: list[tuple[str, str, str]]


def pairs(row: Row) -> list[Pair]:
    """Aligned (reference, hypothesis) words of a score row; None where one side has no word."""
    if "aligned" in row:
        return [(ref, hyp) for ref, hyp in row["aligned"]]
    return align_words(row["ref"].split(), row["hyp"].split())


def aligned(row: Row) -> AlignedUtterance:
    """A score row, ready to be shown."""
    cells = [(ref or "", hyp or "", _kind(ref, hyp)) for ref, hyp in pairs(row)]
    return AlignedUtterance(row["id"], row["speaker"], _errors(row), row["words"], cells)


def worst(rows: Sequence[Row], count: int) -> list[AlignedUtterance]:
    """The utterances with the most errors, at most two of a speaker, so that one speaker does not fill the page."""
    chosen: list[Row] = []
    of_speaker: Counter[str] = Counter()
    for row in sorted(rows, key=lambda row: (-_errors(row), row["id"])):
        if len(chosen) < count and _errors(row) and of_speaker[row["speaker"]] < 2:
            of_speaker[row["speaker"]] += 1
            chosen.append(row)
    return [aligned(row) for row in chosen]


def confusions(rows: Iterable[Row], count: int = 8) -> dict[str, list[tuple[str, int]]]:
    """The most frequent substitutions ("A → B"), deletions and insertions, with how often."""
    counts: dict[str, Counter[str]] = {"sub": Counter(), "del": Counter(), "ins": Counter()}
    for row in rows:
        for ref, hyp in pairs(row):
            kind = _kind(ref, hyp)
            if kind != "ok":
                counts[kind][f"{ref} → {hyp}" if kind == "sub" else str(ref or hyp)] += 1
    return {kind: sorted(counter.items(), key=_by_count)[:count] for kind, counter in counts.items()}


def speaker_rates(scores: Mapping[str, Mapping[str, Sequence[Row]]], condition: str) -> dict[str, Any]:
    """{"systems": [...], "rows": [{"speaker", "words", "wer": {system: per cent or None}}]}, hardest speakers first."""
    tables = {
        system: {row["speaker"]: row for row in speaker_table(conditions[condition])}
        for system, conditions in scores.items()
        if condition in conditions
    }
    rows = [
        {
            "speaker": speaker,
            "words": max(table[speaker]["words"] for table in tables.values() if speaker in table),
            "wer": {system: table[speaker]["wer"] if speaker in table else None for system, table in tables.items()},
        }
        for speaker in sorted({speaker for table in tables.values() for speaker in table})
    ]
    rows.sort(key=lambda row: -sum(value or 0.0 for value in row["wer"].values()))
    return {"systems": list(tables), "rows": rows}


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _errors(row: Row) -> int:
    return int(row["sub"]) + int(row["del"]) + int(row["ins"])


def _kind(ref: str | None, hyp: str | None) -> str:
    if ref is None:
        return "ins"
    if hyp is None:
        return "del"
    return "ok" if ref == hyp else "sub"
