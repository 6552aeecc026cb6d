"""From a corpus' lexicon and language model to the folder that graphs are made of.

phones.json  words.txt  lexicon.txt (cleaned, phones as in phones.json)  lm.arpa (cleaned)  G.fst  report.json
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyasr.base.artifact import atomic_path, write_json
from pyasr.base.errors import DataError
from pyasr.lang.arpa import clean_arpa
from pyasr.lang.grammar import make_g_fst
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.ngram import estimate_arpa
from pyasr.lang.options import LangOptions
from pyasr.lang.phones import PhoneTable
from pyasr.lang.words import WordTable


def prepare_lang(corpus: Path, out: Path, options: LangOptions, transcripts: Iterable[str] = ()) -> dict[str, Any]:
    """Write the folder `out` from corpus/lexicon.txt and corpus/lm.arpa[.gz] or corpus/lm_text.txt.

    transcripts: of the training part; their words are counted for `pyasr.lang.grammar.tie_costs`.
    Returns what report.json holds: counts, and the words of the language model that have no pronunciation
    and were dropped. DataError names file and line of what is broken.
    """
    lexicon = Lexicon.read(corpus / "lexicon.txt").without_silence_words()
    if options.word_positions:
        lexicon = lexicon.with_word_positions()
    phones = PhoneTable.from_pronunciations((pron for _, pron in lexicon), options.word_positions)
    words = WordTable.of(lexicon.entries)
    phones.save(out / "phones.json")
    words.save(out / "words.txt")
    lexicon.write(out / "lexicon.txt")
    counts = Counter(word for text in transcripts for word in text.split())
    write_json(out / "word_counts.json", dict(sorted(counts.items())))
    arpa = clean_arpa(_language_model(corpus, out, options), set(lexicon.entries), out / "lm.arpa")
    grammar = make_g_fst(out / "lm.arpa", out / "words.txt")
    with atomic_path(out / "G.fst") as temporary:
        grammar.write(str(temporary))
    report = {
        "words": len(lexicon),
        "pronunciations": sum(1 for _ in lexicon),
        "repeated_pronunciations": lexicon.num_repeated,
        "phones": phones.num_phones,
        "ngrams": arpa.num_ngrams,
        "dropped_ngrams": arpa.dropped_ngrams,
        "dropped_lm_words": arpa.dropped_words,
    }
    write_json(out / "report.json", report)
    return report


def _language_model(corpus: Path, out: Path, options: LangOptions) -> Path:
    for name in ("lm.arpa", "lm.arpa.gz"):
        if (corpus / name).exists():
            return corpus / name
    text = corpus / "lm_text.txt"
    if not text.exists():
        raise DataError(f"{corpus}: neither lm.arpa nor lm_text.txt; run the corpus stage again")
    estimated = out / "estimated.arpa"
    with open(text, encoding="utf-8") as lines:
        estimate_arpa((line.split() for line in lines), options.ngram_order, estimated)
    return estimated
