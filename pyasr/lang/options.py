"""Options of the lexicon and language model: section `lang` of a recipe."""

from __future__ import annotations

import pydantic

from pyasr.base.config import Options


class LangOptions(Options):
    """Where a corpus brings a language model (lm.arpa) it is taken; where it brings text, one is estimated."""

    word_positions: bool = pydantic.Field(True, description="tell phones apart by their place in the word")
    ngram_order: int = pydantic.Field(2, ge=1, le=5, description="order of a language model estimated from text")
