"""The topline: the supervised system, had all speech been transcribed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.align.align_part import align_part
from pyasr.align.data import TrainingSet
from pyasr.align.realign import SkipRows
from pyasr.align.senones import Senones, senone_targets
from pyasr.align.train import EmState
from pyasr.base.artifact import copy_whole, read_jsonl, write_jsonl
from pyasr.corpora import read_cuts
from pyasr.features.archive import FeatureArchive
from pyasr.features.extract import extract_mfcc
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.realign import align_with_network
from pyasr.run.steps.training import train, transcribed_source
from pyasr.train.source import Source
from pyasr.train.targets import HardTargets


def topline(context: Context) -> Digest:
    """train/topline/"""
    folder, targets = context.exp / "train" / "topline", context.exp / "align"
    withheld = {row["id"]: row["text"] for row in read_jsonl(context.exp / "corpus" / "withheld.jsonl")}
    cuts = [cut for cut in read_cuts(context.exp / "data" / "untranscribed.jsonl.gz") if cut.id in withheld]
    if not cuts:
        return _copy_supervised(context, folder)
    for cut in cuts:
        cut.supervisions[0].text = withheld[cut.id]
    lexicon = Lexicon.read(context.exp / "lang" / "lexicon.txt")
    unknown = {cut.id: [word for word in cut.supervisions[0].text.split() if word not in lexicon] for cut in cuts}
    oov = [{"id": i, "reason": f"word not in the lexicon: {' '.join(words)}"} for i, words in unknown.items() if words]
    known = [cut for cut in cuts if not unknown[cut.id]]
    if context.recipe.train.aligner.on:
        senones, skipped = align_with_network(context, known, lexicon, "withheld")
    else:
        senones, skipped = _align_with_gmm(context, known, lexicon, folder / "mfcc")
    write_jsonl(folder / "skipped.jsonl", [*oov, *skipped])
    base = transcribed_source(context, targets)
    every = HardTargets({**base.targets.senones, **senones})
    sources = {"transcribed": Source.of([*base.cuts, *known], every)}
    return train(context, "topline", context.recipe.train.supervised, sources, folder, targets)


def _align_with_gmm(
    context: Context, cuts: list[Any], lexicon: Lexicon, mfcc: Path
) -> tuple[dict[str, np.ndarray], SkipRows]:
    """Senones at 10 ms, cut_id -> int32 (T,), and rows of those skipped. mfcc: a folder to work in."""
    made = extract_mfcc(cuts, mfcc, context.recipe.features, context.executor, what="MFCC of the withheld part")
    phones = PhoneTable.load(context.exp / "lang" / "phones.json")
    data = TrainingSet.from_cuts(cuts, FeatureArchive.open(mfcc), lexicon, phones)
    sat, gmm = EmState.load_result(context.exp / "gmm" / "sat"), context.recipe.gmm
    aligned, skipped = align_part(data, sat, gmm.align, gmm.sat.fmllr, context.executor, "withheld")
    shutil.rmtree(mfcc)
    senones = Senones.load(context.exp / "senones" / "set")
    return senone_targets(aligned, sat.system.transitions, senones), [*made.skips.rows, *skipped]


def _copy_supervised(context: Context, folder: Path) -> Digest:
    """With every transcript in the transcribed part the two are one; and so where no others are known."""
    source = context.exp / "train" / "supervised"
    for name in ("network", "log.jsonl"):
        copy_whole(source / name, folder / name)
    return {"notes": ["no texts are withheld: the same network as supervised"]}
