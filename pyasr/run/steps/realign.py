"""Targets of networks: the alignments of the GMM as they are, or new ones by a network."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.align.alignments import load_alignments, save_alignments
from pyasr.align.realign import SkipRows
from pyasr.base.artifact import copy_whole, read_json, write_json, write_jsonl
from pyasr.corpora import read_cuts
from pyasr.lang.lexicon import Lexicon
from pyasr.nn.alignment import align_cuts
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.training import train, transcribed_source

_PARTS = ("transcribed", "dev")


def realign(context: Context) -> Digest:
    """align/"""
    folder, old = context.exp / "align", context.exp / "senones"
    options = context.recipe.train.aligner
    if not options.on:
        for part in _PARTS:
            copy_whole(old / f"targets_{part}.npz", folder / f"targets_{part}.npz")
        return {"notes": ["the alignments of the GMM, as they are (train.aligner.on)"]}
    trained = folder / "trained.json"
    if not trained.exists():  # a run that was interrupted while aligning has it already
        source = transcribed_source(context, old)
        write_json(trained, train(context, "aligner", options, {"transcribed": source}, folder, old))
    lexicon = Lexicon.read(context.exp / "lang" / "lexicon.txt")
    rows, changed = [], {}
    for part in _PARTS:
        before = load_alignments(old / f"targets_{part}.npz")
        cuts = [cut for cut in read_cuts(context.exp / "data" / f"{part}.jsonl.gz") if cut.id in before]
        aligned, skipped = align_with_network(context, cuts, lexicon, part)
        save_alignments(folder / f"targets_{part}.npz", aligned)
        rows += [{**row, "part": part} for row in skipped]
        changed[part] = _percent_changed(before, aligned)
    write_jsonl(folder / "skipped.jsonl", rows)
    return {**read_json(trained), "frames_changed_percent": changed, "skipped": len(rows)}


def align_with_network(
    context: Context, cuts: list[Any], lexicon: Lexicon, what: str
) -> tuple[dict[str, np.ndarray], SkipRows]:
    """By the network of this stage: senones at 10 ms, cut_id -> int32 (T,), and rows of those skipped."""
    network, senones = context.exp / "align" / "network", context.exp / "senones" / "set"
    options = context.recipe.train.aligner.align
    return align_cuts(cuts, network, senones, lexicon, options, context.executor, f"{what}: align with the network")


def _percent_changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> float:
    changed = sum(int((before[cut_id] != senones).sum()) for cut_id, senones in after.items())
    return round(100.0 * changed / max(1, sum(map(len, after.values()))), 2)
