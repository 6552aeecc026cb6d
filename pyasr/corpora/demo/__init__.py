"""The built-in corpus: synthesised speech and noise. It needs no data, only the optional extra `demo`.

A function of (options, seed) alone, bit for bit: the number of workers changes nothing.
"""

from pyasr.corpora.demo.corpus import prepare, synthesise_untranscribed

__all__ = ["prepare", "synthesise_untranscribed"]
