"""Word error rates: alignment of reference and hypothesis, counts, intervals, tables.

WER = (substitutions + deletions + insertions) / reference words, in per cent, from the sums over utterances.
An utterance that could not be decoded counts as if nothing had been recognised: all its words are deletions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import kaldialign
import numpy as np

from pyasr.base.errors import DataError
from pyasr.decode.bootstrap import REPLICATES, interval95

COUNTS = ("sub", "del", "ins", "words")
_GAP = -1

Row = dict[str, Any]
Counts = dict[str, int]


def align_words(ref: Sequence[str], hyp: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """Pairs (reference word, hypothesis word) of an alignment with the fewest errors.

    (None, word) is an insertion, (word, None) a deletion, two different words a substitution.
    """
    # Numbers, so that no word of any language can be mistaken for the gap.
    words = sorted({*ref, *hyp})
    number = {word: index for index, word in enumerate(words)}
    pairs = kaldialign.align([number[word] for word in ref], [number[word] for word in hyp], _GAP)
    name = {**dict(enumerate(words)), _GAP: None}
    return [(name[r], name[h]) for r, h in pairs]


def score_utterance(
    utterance_id: str, speaker: str, ref: Sequence[str], hyp: Sequence[str], failed: str | None = None
) -> Row:
    """One row of a score file: id, speaker, ref, hyp, sub, del, ins, words, aligned; and `failed` (why) if it did."""
    pairs = align_words(ref, hyp)
    row: Row = {
        "id": utterance_id,
        "speaker": speaker,
        "ref": " ".join(ref),
        "hyp": " ".join(hyp),
        "sub": sum(r is not None and h is not None and r != h for r, h in pairs),
        "del": sum(h is None for _, h in pairs),
        "ins": sum(r is None for r, _ in pairs),
        "words": len(ref),
        "aligned": [list(pair) for pair in pairs],
    }
    return {**row, "failed": failed} if failed else row


def score_rows(
    references: Mapping[str, tuple[str, str]], hypotheses: Iterable[Mapping[str, Any]]
) -> list[Row]:
    """Score hypotheses (rows with id, words and perhaps `failed`) against {id: (speaker, text)}, in its order.

    A reference without a hypothesis counts as failed. DataError: a hypothesis without a reference, or two of one id.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for hypothesis in hypotheses:
        if hypothesis["id"] in found:
            raise DataError(f"utterance {hypothesis['id']!r} has two hypotheses; decode again")
        found[hypothesis["id"]] = hypothesis
    strangers = sorted(found.keys() - references.keys())
    if strangers:
        raise DataError(
            f"{len(strangers)} hypotheses have no reference, the first is {strangers[0]!r}:"
            " the reference and the decoded part differ; decode again"
        )
    missing = {"words": [], "failed": "no hypothesis"}
    rows = []
    for utterance_id, (speaker, text) in references.items():
        hypothesis = found.get(utterance_id, missing)
        rows.append(
            score_utterance(utterance_id, speaker, text.split(), hypothesis["words"], hypothesis.get("failed"))
        )
    return rows


def total(rows: Iterable[Mapping[str, Any]]) -> Counts:
    """Sums of sub, del, ins and words."""
    sums = dict.fromkeys(COUNTS, 0)
    for row in rows:
        for name in COUNTS:
            sums[name] += int(row[name])
    return sums


def wer(counts: Mapping[str, int]) -> float:
    """Word error rate in per cent; DataError when there are no reference words."""
    if counts["words"] == 0:
        raise DataError("no reference words: a word error rate is not defined; check the texts of the test part")
    return 100.0 * (counts["sub"] + counts["del"] + counts["ins"]) / counts["words"]


def counts_by(rows: Iterable[Mapping[str, Any]], key: str = "speaker") -> dict[str, Counts]:
    """Sums of the counts for each value of `key`, in sorted order."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(row[key]), []).append(row)
    return {name: total(groups[name]) for name in sorted(groups)}


def speaker_table(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """One row a speaker: speaker, wer (per cent, None without reference words), sub, del, ins, words."""
    return [
        {"speaker": speaker, "wer": wer(counts) if counts["words"] else None, **counts}
        for speaker, counts in counts_by(rows).items()
    ]


def wer_interval(rows: Sequence[Mapping[str, Any]], seed: int = 0, replicates: int = REPLICATES) -> tuple[float, float]:
    """95 % interval of the WER (per cent) by a bootstrap over speakers.

    With a single speaker the utterances are drawn instead: the interval then says nothing about other speakers.
    """
    wer(total(rows))
    by_speaker = counts_by(rows)
    units = by_speaker if len(by_speaker) > 1 else counts_by(rows, "id")
    values = np.array([[c["sub"] + c["del"] + c["ins"], c["words"]] for c in units.values()], dtype=np.float64)

    def rates(sums: np.ndarray) -> np.ndarray:
        words = np.where(sums[:, 1] > 0, sums[:, 1], np.nan)
        return 100.0 * sums[:, 0] / words

    return interval95(values, rates, seed, replicates)


def wer_entry(rows: Sequence[Mapping[str, Any]], seed: int = 0, replicates: int = REPLICATES) -> Row:
    """{"wer", "ci95": [low, high], "sub", "del", "ins", "words"} of the score rows of one system and condition."""
    counts = total(rows)
    return {"wer": wer(counts), "ci95": list(wer_interval(rows, seed, replicates)), **counts}


def results_json(scored: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], seed: int = 0) -> dict[str, Any]:
    """The "wer" part of EXP/results.json, {system: {condition: entry}}, from score rows."""
    return {
        system: {condition: wer_entry(rows, seed) for condition, rows in conditions.items()}
        for system, conditions in scored.items()
    }


def failures(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """{"id", "reason"} of the utterances that were not decoded."""
    return [{"id": row["id"], "reason": row["failed"]} for row in rows if row.get("failed")]


def aligned_text(row: Mapping[str, Any]) -> str:
    """Reference above hypothesis in columns, errors in capitals of the third line (S, D, I), for reading."""
    lines: tuple[list[str], list[str], list[str]] = ([], [], [])
    for ref, hyp in row["aligned"]:
        mark = "D" if hyp is None else "I" if ref is None else "S" if ref != hyp else ""
        cells = (ref or "*", hyp or "*", mark)
        width = max(map(len, cells))
        for line, cell in zip(lines, cells, strict=True):
            line.append(cell.ljust(width))
    labels = ("ref", "hyp", "   ")
    return "\n".join(f"{label} {' '.join(line)}".rstrip() for label, line in zip(labels, lines, strict=True))
