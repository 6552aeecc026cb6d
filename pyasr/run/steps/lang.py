"""Stages of `pyasr.lang`."""

from __future__ import annotations

from pyasr.lang.prepare import prepare_lang
from pyasr.run.stage import Context, Digest


def prepare(context: Context) -> Digest:
    """lang/"""
    report = prepare_lang(context.exp / "corpus", context.exp / "lang", context.recipe.lang)
    return {name: report[name] for name in ("words", "phones", "ngrams", "dropped_lm_words")}
