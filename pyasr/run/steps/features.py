"""Stages of `pyasr.features`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lhotse import CutSet

from pyasr.base.artifact import write_jsonl
from pyasr.corpora import read_cuts
from pyasr.features.extract import extract_mfcc
from pyasr.features.noise import NoisePool, NoiseSpec
from pyasr.run.console import say
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.inputs import noise_folder


def extract(context: Context) -> Digest:
    """features/{train,dev}/, skipped.jsonl"""
    parts = {"train": "transcribed", "dev": "dev"}
    wanted = [(name, read_cuts(context.exp / "data" / f"{part}.jsonl.gz"), None) for name, part in parts.items()]
    return _extract(context, context.exp / "features", wanted)


def extract_conditions(context: Context) -> Digest:
    """conditions/{clean,snr20,...}/, skipped.jsonl: the test part with and without noise."""
    cuts = read_cuts(context.exp / "data" / "test.jsonl.gz")
    conditions = test_conditions(context)
    wanted = [(name, cuts, noise) for name, noise in conditions.items()]
    return {
        **_extract(context, context.exp / "conditions", wanted),
        "conditions": list(conditions),
    }


def _extract(context: Context, folder: Path, wanted: list[tuple[str, CutSet, NoiseSpec | None]]) -> Digest:
    utterances, hours, skipped = 0, 0.0, []
    for name, cuts, noise in wanted:
        made = extract_mfcc(
            cuts, folder / name, context.recipe.features, context.executor, noise, f"MFCC of {name}"
        )
        utterances += made.cuts
        hours += made.hours
        skipped += [{**row, "part": name} for row in made.skips.rows]
    write_jsonl(folder / "skipped.jsonl", skipped)
    reasons = Counter(row["reason"].split(":")[0] for row in skipped)
    return {"utterances": utterances, "hours": round(hours, 4), "skipped": dict(reasons.most_common())}


def test_conditions(context: Context) -> dict[str, NoiseSpec | None]:
    """The conditions of the test part by name: clean, and noise at the recipe's ratios where there is noise."""
    conditions: dict[str, NoiseSpec | None] = {"clean": None}
    folder = noise_folder(context, "test")
    if folder is None:
        say("  no noise: only the clean test condition (--noise-dir DIR adds noisy ones)")
        return conditions
    pool = NoisePool.open(folder)
    for snr_db in context.recipe.test.snr_db:
        conditions[f"snr{snr_db}"] = NoiseSpec(pool, snr_db, context.recipe.seed)
    return conditions

