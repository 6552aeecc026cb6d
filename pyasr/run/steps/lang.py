"""Stages of `pyasr.lang`."""

from __future__ import annotations

from pyasr.corpora import read_cuts
from pyasr.lang.prepare import prepare_lang
from pyasr.run.stage import Context, Digest


def prepare(context: Context) -> Digest:
    """lang/"""
    corpus = context.exp / "corpus"
    transcripts = [cut.supervisions[0].text or "" for cut in read_cuts(corpus / "transcribed.jsonl.gz")]
    report = prepare_lang(corpus, context.exp / "lang", context.recipe.lang, transcripts)
    return {name: report[name] for name in ("words", "phones", "ngrams", "dropped_lm_words")}
