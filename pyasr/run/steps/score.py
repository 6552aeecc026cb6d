"""Scoring, from `pyasr.decode`."""

from __future__ import annotations

from pyasr.base.artifact import read_jsonl, write_json, write_jsonl
from pyasr.corpora import read_cuts
from pyasr.decode.score import results_json, score_rows
from pyasr.run.stage import Context, Digest
from pyasr.run.stages import SYSTEMS
from pyasr.run.steps.inputs import references_of


def score(context: Context) -> Digest:
    """score/SYSTEM/CONDITION.jsonl, score/wer.json"""
    references = references_of(read_cuts(context.exp / "data" / "test.jsonl.gz"))
    conditions = ["clean", *(f"snr{snr_db}" for snr_db in context.recipe.test.snr_db)]
    folder = context.exp / "score"
    scored: dict[str, dict[str, list]] = {}
    for system in SYSTEMS:
        hypotheses = context.exp / "decode" / system / "hyp"
        for condition in conditions:
            if not (hypotheses / f"{condition}.jsonl").exists():
                continue  # without noise there is only the clean condition
            rows = score_rows(references, read_jsonl(hypotheses / f"{condition}.jsonl"))
            write_jsonl(folder / system / f"{condition}.jsonl", rows)
            scored.setdefault(system, {})[condition] = rows
    wer = results_json(scored, context.recipe.seed)
    write_json(folder / "wer.json", wer)
    clean = {system: round(row["clean"]["wer"], 2) for system, row in wer.items() if "clean" in row}
    return {"utterances": len(references), "WER clean": clean}
