"""Corpora: speech, texts, lexicon and language-model material from wherever they come, in one form.

`prepare_corpus` dispatches by kind and writes a corpus folder (see `pyasr.corpora.manifest`); `validate_cuts`
decodes and checks everything in it before any work begins.
"""

from pyasr.corpora.manifest import PARTS, Summary, read_cuts, write_cuts
from pyasr.corpora.registry import prepare_corpus
from pyasr.corpora.validate import Validated, validate_cuts

__all__ = ["PARTS", "Summary", "Validated", "prepare_corpus", "read_cuts", "validate_cuts", "write_cuts"]
