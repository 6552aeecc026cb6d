"""Stages of `pyasr.decode`: each makes a recogniser and decodes the test part with it."""

from __future__ import annotations

from collections.abc import Mapping

from pyasr.align.system import GmmSystem
from pyasr.corpora import read_cuts
from pyasr.decode.gmm_decode import decode_condition, speakers_of, tune_model
from pyasr.decode.model_dir import GmmModel, ModelOptions, export_model
from pyasr.decode.tune import Tuning
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.words import WordTable
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.inputs import decoding_graph, references_of


def mono(context: Context) -> Digest:
    """decode/mono/"""
    return _decode(context, "mono", "mono", adapted=False)


def tri(context: Context) -> Digest:
    """decode/tri/"""
    return _decode(context, "tri", "tri", adapted=False)


def tri_sat(context: Context) -> Digest:
    """decode/tri_sat/"""
    return _decode(context, "tri_sat", "sat", adapted=True)


def _decode(context: Context, name: str, trained: str, adapted: bool) -> Digest:
    model = _make_model(context, name, trained, adapted)
    data = context.exp / "data"
    references = references_of(read_cuts(data / "dev.jsonl.gz"))
    tuning = tune_model(model, context.exp / "features" / "dev", references, context.executor)
    speakers = speakers_of(read_cuts(data / "test.jsonl.gz"))
    failed = {}
    conditions = sorted(path.name for path in (context.exp / "conditions").iterdir() if path.is_dir())
    for condition in conditions:
        rows = decode_condition(model, context.exp / "conditions" / condition, speakers, condition, context.executor)
        failed[condition] = sum("failed" in row for row in rows)
    return describe(tuning, len(speakers), failed, "decode")


def describe(tuning: Tuning, utterances: int, failed: Mapping[str, int], section: str) -> Digest:
    """The digest of decoding. failed: condition -> utterances without a hypothesis. section: of the options."""
    return {
        "utterances": utterances,
        "lm_weight": tuning.chosen.lm_weight,
        "word_penalty": tuning.chosen.word_penalty,
        "dev_WER": round(tuning.dev_wer, 2),
        "notes": [f"the LM weight is at the edge of {section}.lm_weights"] if tuning.at_edge else [],
        "not_decoded": {condition: count for condition, count in failed.items() if count},
    }


def _make_model(context: Context, name: str, trained: str, adapted: bool) -> GmmModel:
    lang, recipe = context.exp / "lang", context.recipe
    system = GmmSystem.load(context.exp / "gmm" / trained / "system")
    lexicon, words = Lexicon.read(lang / "lexicon.txt"), WordTable.load(lang / "words.txt")
    align = recipe.gmm.align
    graph = decoding_graph(context, system.phones, system.context, system.transitions, align.transition_scale)
    options = ModelOptions(
        mfcc=recipe.features.mfcc, align=align, fmllr=recipe.gmm.sat.fmllr if adapted else None, search=recipe.decode
    )
    return export_model(context.exp / "decode" / name, system, graph, words, lexicon, options)
