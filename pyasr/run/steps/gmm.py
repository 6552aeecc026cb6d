"""Stages of `pyasr.align`: each trains a system from the one before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np

from pyasr.align.boundaries import start_distances_s
from pyasr.align.data import TrainingSet
from pyasr.align.lda_mllt import train_lda_mllt
from pyasr.align.mono import train_mono
from pyasr.align.sat import train_sat
from pyasr.align.train import EmState
from pyasr.align.tri import train_tri
from pyasr.base.artifact import read_jsonl
from pyasr.corpora import read_cuts
from pyasr.features.archive import FeatureArchive
from pyasr.features.options import FRAME_SHIFT_S
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.run.stage import Context, Digest


def mono(context: Context) -> Digest:
    """gmm/mono/"""
    phones = PhoneTable.load(context.exp / "lang" / "phones.json")
    gmm = context.recipe.gmm
    return _train(context, "mono", partial(train_mono, phones=phones, topology=gmm.topology, options=gmm.mono))


def tri(context: Context) -> Digest:
    """gmm/tri/"""
    return _train(context, "tri", partial(train_tri, before=_before(context, "mono"), options=context.recipe.gmm.tri))


def lda(context: Context) -> Digest:
    """gmm/lda/"""
    train = partial(train_lda_mllt, before=_before(context, "tri"), options=context.recipe.gmm.lda)
    return _train(context, "lda", train)


def sat(context: Context) -> Digest:
    """gmm/sat/"""
    return _train(context, "sat", partial(train_sat, before=_before(context, "lda"), options=context.recipe.gmm.sat))


def _before(context: Context, name: str) -> EmState:
    return EmState.load_result(context.exp / "gmm" / name)


def _train(context: Context, name: str, train: Callable[..., EmState]) -> Digest:
    """Train, write the result, and remove the checkpoint that an interrupted run would have gone on from."""
    lang, folder = context.exp / "lang", context.exp / "gmm" / name
    data = TrainingSet.from_cuts(
        read_cuts(context.exp / "data" / "transcribed.jsonl.gz"),
        FeatureArchive.open(context.exp / "features" / "train"),
        Lexicon.read(lang / "lexicon.txt"),
        PhoneTable.load(lang / "phones.json"),
    )
    recipe = context.recipe
    state = train(data=data, align=recipe.gmm.align, work_dir=folder, executor=context.executor, seed=recipe.seed)
    state.save_result(folder)
    (folder / "checkpoint.npz").unlink()
    last = state.log[-1]
    return {
        "utterances": len(state.alignments),
        "hours": round(last["frames"] * FRAME_SHIFT_S / 3600, 4),
        "log_likelihood_per_frame": round(last["loglike_per_frame"], 4),
        "pdfs": state.system.context.num_pdfs,
        "gaussians": state.system.gmm.num_gauss,
        **_phone_starts(context, state),
        "skipped": dict(Counter(row["reason"].split(":")[0] for row in state.skipped).most_common()),
    }


def _phone_starts(context: Context, state: EmState) -> Digest:
    """The median distance of aligned phone starts from the true ones, for a corpus that knows them."""
    path = context.exp / "corpus" / "phone_times.jsonl"
    if not path.exists():
        return {}
    # The engine gives no time to a final L; it has no length then.
    truth = {
        row["id"]: [(name, start_s) for name, start_s, end_s in row["phones"] if end_s > start_s]
        for row in read_jsonl(path)
    }
    distances_s = start_distances_s(state.alignments, state.system.transitions, state.system.phones, truth)
    return {"phone_start_error_ms": round(1000 * float(np.median(distances_s)), 2)} if len(distances_s) else {}
