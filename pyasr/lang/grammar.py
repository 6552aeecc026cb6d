"""The transducers under the decoding graph: L (phones to words) and G (the language model)."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import kaldifst

from pyasr.base.errors import DataError
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.lang.words import BACKOFF, WordTable

_TIE_COST = 0.01


def disambiguate(lexicon: Lexicon) -> tuple[list[tuple[str, tuple[str, ...], int]], int]:
    """Tell homophones and prefixes apart, so that L o G can be made deterministic.

    Returns rows (word, phones, index) where index k > 0 means that #k is appended, and the largest index.
    A pronunciation gets one when another word has the same, or when it begins a longer one.
    """
    entries = list(lexicon)
    uses: dict[tuple[str, ...], int] = defaultdict(int)
    prefixes: set[tuple[str, ...]] = set()
    for _, phones in entries:
        uses[phones] += 1
        prefixes.update(phones[:end] for end in range(1, len(phones)))
    given: dict[tuple[str, ...], int] = defaultdict(int)
    rows = []
    for word, phones in entries:
        if uses[phones] > 1 or phones in prefixes:
            given[phones] += 1
        rows.append((word, phones, given[phones]))
    return rows, max(given.values(), default=0)


def tie_costs(lexicon: Lexicon, word_counts: Mapping[str, int]) -> dict[str, float]:
    """A small cost for the rarer ones of words that share a pronunciation, by word.

    Where the language model gives homophones the same probability, the search would choose by the order of
    arcs. With these costs it takes the one that is more frequent in `word_counts`, then the first by name;
    they are far below what any language model tells apart, and above what minimisation rounds to.
    """
    sharing: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for word, phones in lexicon:
        sharing[phones].add(word)
    costs: dict[str, float] = {}
    for group in sharing.values():
        ranked = sorted(group, key=lambda word: (-word_counts.get(word, 0), word))
        for rank, word in enumerate(ranked):
            costs[word] = max(costs.get(word, 0.0), rank * _TIE_COST)
    return costs


def make_l_fst(
    lexicon: Lexicon,
    phones: PhoneTable,
    words: WordTable,
    silence_p: float = 0.5,
    word_costs: Mapping[str, float] | None = None,
) -> tuple[kaldifst.StdVectorFst, list[int]]:
    """L with optional silence and disambiguation symbols, phone ids to word ids.

    Silence comes with probability `silence_p` at the beginning and after each word; all pronunciations of
    a word cost the same, nothing but for `word_costs` (see `tie_costs`). #0 loops for the back-off arcs of G.
    Returns L and the phone ids of all disambiguation symbols (#0, #1, ..., the last one marks silence).
    """
    rows, largest = disambiguate(lexicon)
    silence_cost = -math.log(silence_p) if silence_p > 0 else None
    skip_cost = -math.log1p(-silence_p) if silence_p < 1 else None
    silence_symbol = phones.disambiguation_id(largest + 1)
    start, loop, silence, after = 0, 1, 2, 3
    lines = []

    def arc_to_next_word(src: int, ilabel: int, olabel: int, cost: float = 0.0) -> None:
        if skip_cost is not None:
            lines.append(f"{src} {loop} {ilabel} {olabel} {skip_cost + cost}")
        if silence_cost is not None:
            lines.append(f"{src} {silence} {ilabel} {olabel} {silence_cost + cost}")

    arc_to_next_word(start, 0, 0)
    if silence_cost is not None:
        lines.append(f"{silence} {after} {phones.silence_id} 0")
        lines.append(f"{after} {loop} {silence_symbol} 0")
    next_state = 4
    for word, pronunciation, index in rows:
        labels = [phones.id(phone) for phone in pronunciation] + ([phones.disambiguation_id(index)] if index else [])
        state, olabel = loop, words.id(word)
        for label in labels[:-1]:
            lines.append(f"{state} {next_state} {label} {olabel}")
            state, olabel, next_state = next_state, 0, next_state + 1
        arc_to_next_word(state, labels[-1], olabel, (word_costs or {}).get(word, 0.0))
    lines.append(f"{loop} {loop} {phones.disambiguation_id(0)} {words.id(BACKOFF)}")
    lines.append(f"{loop} 0.0")
    fst = kaldifst.compile("\n".join(lines) + "\n")
    kaldifst.connect(fst)
    kaldifst.arcsort(fst, sort_type="olabel")
    return fst, [phones.disambiguation_id(index) for index in range(largest + 2)]


_ARPA2FST = """
import sys, kaldilm
arpa, out, backoff, words = sys.argv[1:]
kaldilm.arpa2fst(input_arpa=arpa, output_fst=out, disambig_symbol=backoff, read_symbol_table=words)
"""


def make_g_fst(arpa: str | Path, words_file: str | Path) -> kaldifst.StdVectorFst:
    """G from an ARPA file whose words are all in `words_file`; back-off arcs carry #0 on the input.

    DataError with the library's own message when it refuses the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "G.fst"
        # In a process of its own: the library ends the process on what it does not like, and logs to stderr.
        run = subprocess.run(
            [sys.executable, "-c", _ARPA2FST, str(arpa), str(out), BACKOFF, str(words_file)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        fst = kaldifst.StdVectorFst.read(str(out)) if run.returncode == 0 and out.exists() else None
    if fst is None or fst.start < 0:
        raise DataError(f"{arpa}: kaldilm made no grammar of it (status {run.returncode})\n{run.stderr[-2000:]}")
    kaldifst.arcsort(fst, sort_type="ilabel")
    return fst
