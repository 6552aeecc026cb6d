"""Stages of `pyasr.corpora`."""

from __future__ import annotations

from collections import Counter

from pyasr.base.artifact import read_jsonl, write_json, write_jsonl
from pyasr.corpora import PARTS, prepare_corpus, read_cuts, write_cuts
from pyasr.corpora.validate import validate_cuts, validate_manifests
from pyasr.lang.lexicon import Lexicon
from pyasr.run.stage import Context, Digest


def prepare(context: Context) -> Digest:
    """corpus/"""
    recipe, folder = context.recipe, context.exp / "corpus"
    summary = prepare_corpus(recipe.corpus, context.corpus_dir, folder, recipe.seed, context.executor)
    return {
        **{part: _size(row["utterances"], row["hours"]) for part, row in summary.parts.items()},
        "skipped": _by_reason(summary.skipped),
        "notes": summary.notes,
    }


def validate(context: Context) -> Digest:
    """data/{transcribed,untranscribed,dev,test}.jsonl.gz or untranscribed/*.jsonl.gz, skipped.jsonl, validation.json"""
    recipe, source, folder = context.recipe, context.exp / "corpus", context.exp / "data"
    validated = validate_cuts(
        {part: read_cuts(source / f"{part}.jsonl.gz") for part in PARTS},
        set(Lexicon.read(context.exp / "lang" / "lexicon.txt").entries),
        recipe.validation,
        context.executor,
        read_jsonl(source / "skipped.jsonl"),
    )
    for part, cuts in validated.cuts.items():
        write_cuts(folder / f"{part}.jsonl.gz", cuts)
    sizes = {
        part: _size(len(cuts), sum(cut.duration for cut in cuts) / 3600) for part, cuts in validated.cuts.items()
    }
    if (many := source / "untranscribed").is_dir():
        made = validate_manifests(many, folder / many.name, validated.cuts, recipe.validation, context.executor)
        validated.skips.extend(made.skips)
        sizes["untranscribed"] = _size(made.utterances, made.hours)
    write_jsonl(folder / "skipped.jsonl", validated.skips.rows)
    write_json(folder / "validation.json", {"unknown_words": validated.oov, "notes": validated.notes})
    return {**sizes, "skipped": validated.skips.by_reason(), "notes": validated.notes}


def _size(utterances: int, hours: float) -> dict[str, float]:
    return {"utterances": utterances, "hours": round(hours, 4)}


def _by_reason(rows: list[dict[str, str]]) -> dict[str, int]:
    return dict(Counter(row["reason"].split(":")[0] for row in rows).most_common())
