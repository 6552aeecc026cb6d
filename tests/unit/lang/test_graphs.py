"""Decoding and alignment graphs against each other and against the enumeration of what they must accept."""

import itertools
import math
from dataclasses import dataclass

import kaldifst
import numpy as np
import pytest

from pyasr.lang.alignment_graph import build_alignment_graph
from pyasr.lang.context import MonophoneContext, central
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.grammar import make_g_fst, make_l_fst, tie_costs
from pyasr.lang.hclg import add_word_penalty, build_hclg
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.lang.segments import convert_alignment, phone_segments, phone_windows, word_segments
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel
from pyasr.lang.words import WordTable
from pyasr.ops.viterbi import viterbi_align

# Homophones (RED, READ), a prefix (BE of BEE-D), one-phone words (A, E), alternatives (A), repeated phones.
LEXICON = {
    "A": [("EY",), ("AH",)],
    "B": [("B", "IY")],
    "BEAD": [("B", "IY", "D")],
    "E": [("IY",)],
    "RED": [("R", "EH", "D")],
    "READ": [("R", "EH", "D"), ("R", "IY", "D")],
}


@dataclass(frozen=True)
class ScatteredTriphones:
    """A triphone context that shares pdfs in an arbitrary, fixed way."""

    phones: PhoneTable
    topology: Topology
    width: int = 3
    per_state: int = 3

    @property
    def num_pdfs(self):
        return (self.phones.num_phones + 1) * 3 * self.per_state

    def pdfs(self, window):
        states = self.topology.num_states(central(window), self.phones.silence_id)
        shift = 0 if central(window) == self.phones.silence_id else (3 * window[0] + 5 * window[2]) % self.per_state
        return tuple((central(window) * 3 + h) * self.per_state + shift for h in range(states))

    def all_pdfs(self, phone_id, state):
        count = 1 if phone_id == self.phones.silence_id else self.per_state
        return [(phone_id * 3 + state) * self.per_state + shift for shift in range(count)]


@dataclass
class Toy:
    lexicon: Lexicon
    phones: PhoneTable
    words: WordTable
    context: object
    transitions: TransitionModel

    def prons(self, sentence):
        return [
            [tuple(self.phones.id(p) for p in phones) for phones in self.lexicon.pronunciations(word)]
            for word in sentence
        ]

    def hclg(self, g_fst, silence_p=0.5):
        l_fst, disambiguation = make_l_fst(self.lexicon, self.phones, self.words, silence_p)
        return build_hclg(l_fst, g_fst, disambiguation, self.context, self.transitions, 0.3)

    def align(self, sentence, loglikes, silence_p=0.5):
        graph = build_alignment_graph(
            self.prons(sentence), self.transitions, self.context, self.phones.silence_id, silence_p, 0.3
        )
        (result,) = viterbi_align([graph], [loglikes], self.transitions.tid_to_pdf, 0.2)
        return graph, result


@pytest.fixture(params=[("mono", 1), ("mono", 3), ("tri", 1), ("tri", 2)], ids=lambda p: f"{p[0]}{p[1]}")
def toy(request):
    kind, states = request.param
    lexicon = Lexicon({word: list(prons) for word, prons in LEXICON.items()})
    phones = PhoneTable.from_pronunciations(p for _, p in lexicon)
    topology = Topology(states=states, silence_states=states)
    context = MonophoneContext(phones, topology) if kind == "mono" else ScatteredTriphones(phones, topology)
    transitions = TransitionModel.build(phones, topology, context)
    loop_p = np.random.default_rng(1).uniform(0.2, 0.9, len(transitions.states))
    return Toy(lexicon, phones, WordTable.of(LEXICON), context, TransitionModel(transitions.states, loop_p))


def linear_g(toy, sentence):
    fst = kaldifst.make_linear_acceptor([toy.words.id(word) for word in sentence])
    kaldifst.arcsort(fst, sort_type="ilabel")
    return fst


def shortest(fst: FstArrays, loglikes, tid_to_pdf, scale):
    """Least cost of a path that consumes all frames, its words and its transition ids, by brute dynamic programming."""
    arcs = [[] for _ in range(fst.num_states)]
    for source, i, o, weight, dst in zip(
        *(column.tolist() for column in (fst.source, fst.ilabel, fst.olabel, fst.weight, fst.nextstate))
    ):
        arcs[source].append((i, o, weight, dst))

    def close(tokens):
        queue = list(tokens)
        while queue:
            state = queue.pop()
            cost, words, tids = tokens[state]
            for i, o, weight, dst in arcs[state]:
                if i == 0 and cost + weight < tokens.get(dst, (math.inf,))[0] - 1e-9:
                    tokens[dst] = (cost + weight, words + ((o,) if o else ()), tids)
                    queue.append(dst)
        return tokens

    tokens = close({fst.start: (0.0, (), ())})
    for row in loglikes:
        new = {}
        for state, (cost, words, tids) in tokens.items():
            for i, o, weight, dst in arcs[state]:
                if i:
                    total = cost + weight - scale * float(row[tid_to_pdf[i]])
                    if total < new.get(dst, (math.inf,))[0]:
                        new[dst] = (total, words + ((o,) if o else ()), (*tids, i))
        tokens = close(new)
    ends = [(cost + fst.final[s], words, tids) for s, (cost, words, tids) in tokens.items() if fst.final[s] < math.inf]
    return min(ends, default=(math.inf, (), ()))


SENTENCES = [["A"], ["B", "E", "E"], ["BEAD", "B"], ["READ", "A", "RED"], ["E", "A"]]


@pytest.mark.parametrize("silence_p", [0.5, 0.8, 0.0])
@pytest.mark.parametrize("sentence", SENTENCES, ids=" ".join)
def test_decoding_and_alignment_graph_agree_on_a_transcript(toy, sentence, silence_p):
    hclg = toy.hclg(linear_g(toy, sentence), silence_p)
    rng = np.random.default_rng(len(sentence))
    for num_frames in (9, 14, 25):
        loglikes = rng.normal(scale=8, size=(num_frames, toy.context.num_pdfs)).astype(np.float32)
        graph, result = toy.align(sentence, loglikes, silence_p)
        cost, words, tids = shortest(hclg, loglikes, toy.transitions.tid_to_pdf, 0.2)
        assert result.ok == (cost < math.inf)
        if result.ok:
            # minimize_encoded quantises weights to multiples of 1/1024
            assert math.isclose(result.cost, cost, abs_tol=0.02)
            assert [toy.words.name(word) for word in words] == sentence
            # Where equal phones meet ("E E") their boundary is free; the pdfs are not.
            to_pdf = toy.transitions.tid_to_pdf
            np.testing.assert_array_equal(to_pdf[list(tids)], to_pdf[graph.arc_tid[result.arcs]])


def test_alignment_equals_enumeration_of_phone_sequences(toy):
    """Every way to say a transcript, unrolled and aligned as a bare chain, least cost wins."""
    sentence = ["A", "E"]
    loglikes = np.random.default_rng(3).normal(scale=5, size=(12, toy.context.num_pdfs)).astype(np.float32)
    _, result = toy.align(sentence, loglikes)
    costs = toy.transitions.tid_cost(0.3)
    best = math.inf
    for prons in itertools.product(*toy.prons(sentence)):
        for silences in itertools.product([False, True], repeat=3):
            phones = [toy.phones.silence_id] if silences[0] else []
            for pron, silence in zip(prons, silences[1:]):
                phones += [*pron, *([toy.phones.silence_id] if silence else [])]
            tids = [
                tid
                for window in phone_windows(phones, toy.context.width)
                for tid in toy.transitions.entry_tids(window, toy.context)
            ]
            best = min(best, chain_cost(tids, loglikes, toy.transitions.tid_to_pdf, costs) + 3 * math.log(2))
    assert math.isclose(result.cost, best, rel_tol=1e-5)


def chain_cost(tids, loglikes, tid_to_pdf, costs):
    """Least cost of a left-to-right chain of states over all frames."""
    row = [math.inf] * len(tids)
    for t, frame in enumerate(loglikes):
        new = []
        for j, tid in enumerate(tids):
            enter = (0.0 if t == 0 else math.inf) if j == 0 else row[j - 1]
            new.append(min(enter + costs[tid], row[j] + costs[tid + 1]) - 0.2 * float(frame[tid_to_pdf[tid]]))
        row = [new[0], *([math.inf] * (len(tids) - 1))] if t == 0 else new
    return row[-1]


ARPA = """
\\data\\
ngram 1=8
ngram 2=3

\\1-grams:
-1.0 </s>
-99 <s> -0.2
-0.7 A -0.1
-0.8 B -0.3
-0.9 BEAD -0.2
-1.1 E
-0.6 RED
-1.3 READ

\\2-grams:
-0.3 <s> A
-0.4 A B
-0.2 B </s>

\\end\\
"""
LOG10_P = {"</s>": -1.0, "A": -0.7, "B": -0.8, "BEAD": -0.9, "E": -1.1, "RED": -0.6, "READ": -1.3}
BACKOFF = {"<s>": -0.2, "A": -0.1, "B": -0.3, "BEAD": -0.2}
BIGRAM = {("<s>", "A"): -0.3, ("A", "B"): -0.4, ("B", "</s>"): -0.2}


def lm_cost(sentence):
    """-ln P of a sentence; a back-off path is as good as an n-gram when it is cheaper (arpa2fst's approximation)."""
    total = 0.0
    for left, right in zip(["<s>", *sentence], [*sentence, "</s>"]):
        backed_off = BACKOFF.get(left, 0.0) + LOG10_P[right]
        total -= max(BIGRAM.get((left, right), -math.inf), backed_off) * math.log(10)
    return total


# Without "B E E": with one state a phone, a long E sounds the same and may be cheaper.
@pytest.mark.parametrize("sentence", [s for s in SENTENCES if s != ["B", "E", "E"]], ids=" ".join)
def test_graph_of_a_backoff_bigram_gives_each_sentence_its_weight(toy, sentence, tmp_path):
    (tmp_path / "lm.arpa").write_text(ARPA)
    toy.words.save(tmp_path / "words.txt")
    hclg = toy.hclg(make_g_fst(tmp_path / "lm.arpa", tmp_path / "words.txt"))
    # Likelihoods that make exactly this sentence, said without silence, the best one.
    prons = [alternatives[0] for alternatives in toy.prons(sentence)]
    tids = [
        tid
        for window in phone_windows([p for pron in prons for p in pron], toy.context.width)
        for tid in toy.transitions.entry_tids(window, toy.context)
    ]
    loglikes = np.full((len(tids), toy.context.num_pdfs), -1000, np.float32)
    loglikes[np.arange(len(tids)), toy.transitions.tid_to_pdf[tids]] = 0
    cost, words, found = shortest(hclg, loglikes, toy.transitions.tid_to_pdf, 1.0)
    assert list(found) == tids
    # The same sounds may be several sentences; the graph must find the most likely of them.
    rivals = [
        lm_cost(list(rival))
        for length in range(1, 5)
        for rival in itertools.product(LEXICON, repeat=length)
        if any(sum(pron, ()) == sum(prons, ()) for pron in itertools.product(*toy.prons(rival)))
    ]
    said = [toy.words.name(word) for word in words]
    silences = (len(said) + 1) * math.log(2)
    assert math.isclose(lm_cost(said), min(rivals), abs_tol=0.02)
    assert math.isclose(
        cost, toy.transitions.tid_cost(0.3)[tids].sum() + silences + lm_cost(said), abs_tol=0.02 * len(tids)
    )


def test_homophones_that_the_grammar_does_not_tell_apart_are_decided_by_their_counts(toy):
    both = kaldifst.compile(
        f"0 1 {toy.words.id('RED')} {toy.words.id('RED')}\n0 1 {toy.words.id('READ')} {toy.words.id('READ')} 0.1\n1\n"
    )
    prons = [(tuple(toy.phones.id(p) for p in ("R", "EH", "D")))]
    tids = [
        t for w in phone_windows(list(prons[0]), toy.context.width) for t in toy.transitions.entry_tids(w, toy.context)
    ]
    loglikes = np.full((len(tids), toy.context.num_pdfs), -1000, np.float32)
    loglikes[np.arange(len(tids)), toy.transitions.tid_to_pdf[tids]] = 0

    def best(grammar, counts):
        ties = tie_costs(toy.lexicon, counts)
        l_fst, disambiguation = make_l_fst(toy.lexicon, toy.phones, toy.words, 0.5, ties)
        hclg = build_hclg(l_fst, grammar, disambiguation, toy.context, toy.transitions)
        _, words, _ = shortest(hclg, loglikes, toy.transitions.tid_to_pdf, 1.0)
        return [toy.words.name(word) for word in words]

    assert best(both, {"READ": 5, "RED": 3}) == ["RED"]  # the grammar decides where it can
    equal = kaldifst.compile(
        f"0 1 {toy.words.id('RED')} {toy.words.id('RED')}\n0 1 {toy.words.id('READ')} {toy.words.id('READ')}\n1\n"
    )
    assert best(equal, {"READ": 5, "RED": 3}) == ["READ"]
    assert best(equal, {"RED": 5, "READ": 3}) == ["RED"]
    assert tie_costs(toy.lexicon, {}) == {"A": 0, "B": 0, "BEAD": 0, "E": 0, "READ": 0, "RED": 0.01}


def test_penalty_falls_on_words_alone(toy):
    sentence = ["READ", "A", "RED"]
    hclg = toy.hclg(linear_g(toy, sentence))
    loglikes = np.zeros((30, toy.context.num_pdfs), np.float32)
    plain, _, _ = shortest(hclg, loglikes, toy.transitions.tid_to_pdf, 1.0)
    dearer, _, _ = shortest(add_word_penalty(hclg, 0.75), loglikes, toy.transitions.tid_to_pdf, 1.0)
    assert math.isclose(dearer - plain, 3 * 0.75, abs_tol=1e-4)


def test_times_survive_between_equal_neighbours(toy):
    """B E E: the end of B and both E are the same phone; three of them, with their own times, come out."""
    loglikes = np.zeros((20, toy.context.num_pdfs), np.float32)
    loglikes[:, toy.context.all_pdfs(toy.phones.silence_id, 0)] = -1000
    graph, result = toy.align(["B", "E", "E"], loglikes)
    tids = graph.arc_tid[result.arcs]
    names = [toy.phones.name(phone) for phone, _, _ in phone_segments(tids, toy.transitions)]
    assert names == ["B", "IY", "IY", "IY"]
    words = word_segments(graph.arc_word[result.arcs])
    assert [index for index, _, _ in words] == [0, 1, 2]
    assert words[0][1] == 0 and words[-1][2] == 20
    assert all(end == start for (_, _, end), (_, start, _) in zip(words, words[1:]))


def test_converted_alignment_keeps_phones_states_and_times(toy):
    loglikes = np.random.default_rng(0).normal(scale=5, size=(30, toy.context.num_pdfs)).astype(np.float32)
    graph, result = toy.align(["BEAD", "A"], loglikes)
    tids = graph.arc_tid[result.arcs]
    states = int(toy.transitions.tid_to_state.max()) + 1
    topology = Topology(states=states, silence_states=states)
    other = ScatteredTriphones(toy.phones, topology, per_state=5)
    new = TransitionModel.build(toy.phones, topology, other)
    converted = convert_alignment(tids, toy.transitions, new, other)
    assert phone_segments(converted, new) == phone_segments(tids, toy.transitions)
    np.testing.assert_array_equal(new.tid_to_state[converted], toy.transitions.tid_to_state[tids])
    np.testing.assert_array_equal(new.is_entry(converted), toy.transitions.is_entry(tids))
    windows = phone_windows([p for p, _, _ in phone_segments(tids, toy.transitions)], 3)
    expected = [pdf for window in windows for pdf in other.pdfs(window)]
    entered = new.tid_to_pdf[converted[new.is_entry(converted)]]
    assert list(entered) == expected
