"""Search against the enumeration of all paths, and what it does with damaged input."""

import math

import numpy as np
import pytest

from pyasr.base.errors import DataError
from pyasr.decode.backends import SEARCHERS
from pyasr.lang.fst_arrays import FstArrays

TID_TO_PDF = np.array([-1, 0, 0, 1, 1, 2, 2], np.int32)
NUM_TIDS = len(TID_TO_PDF) - 1


def graph_of(arcs, final, start=0):
    """arcs: (source, ilabel, olabel, weight, nextstate); final: cost a state."""
    columns = [np.array(column) for column in zip(*arcs)]
    names = ("source", "ilabel", "olabel", "weight", "nextstate")
    return FstArrays.from_arcs(start, np.array(final), dict(zip(names, columns)))


def random_graph(rng, num_states=4, final_everywhere=False):
    arcs = []
    for source in range(num_states):
        for _ in range(2):
            label = int(rng.integers(1, NUM_TIDS + 1))
            arcs.append((source, label, int(rng.integers(0, 4)), rng.uniform(0, 2), int(rng.integers(num_states))))
        if source + 1 < num_states:  # epsilons lead forward only: no loops of them
            arcs.append((source, 0, int(rng.integers(0, 4)), rng.uniform(0, 2), source + 1))
    ends = range(num_states) if final_everywhere else [num_states - 1]
    final = [rng.uniform(0, 2) if state in ends else math.inf for state in range(num_states)]
    return graph_of(arcs, final)


def all_paths(graph, loglikes, scale):
    """(cost without the final one, words, tids, state) of every path that consumes all frames."""
    arcs = list(zip(graph.source, graph.ilabel, graph.olabel, graph.weight, graph.nextstate))

    def walk(state, t, cost, words, tids):
        if t == len(loglikes):
            yield cost, words, tids, state
        for source, i, o, weight, dst in arcs:
            if source != state or (i and t == len(loglikes)):
                continue
            acoustic = -scale * loglikes[t, TID_TO_PDF[i]] if i else 0.0
            yield from walk(
                dst, t + bool(i), cost + weight + acoustic, words + ((o,) if o else ()), tids + ((i,) if i else ())
            )

    return list(walk(graph.start, 0, 0.0, (), ()))


def searcher(graph, backend="kaldi", **options):
    return SEARCHERS[backend](graph, TID_TO_PDF, **{"beam": 1000.0, **options})


@pytest.mark.parametrize("seed", range(12))
def test_finds_the_best_of_all_paths(seed, backend):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, final_everywhere=seed % 2 == 0)
    loglikes = rng.normal(scale=3, size=(5, 3)).astype(np.float32)
    found = searcher(graph, backend).decode(loglikes, 0.7)
    ends = [
        (cost + graph.final[state], words, tids)
        for cost, words, tids, state in all_paths(graph, loglikes, 0.7)
        if graph.final[state] < math.inf
    ]
    cost, words, tids = min(ends)
    assert found.reached_final
    assert math.isclose(found.cost, cost, rel_tol=1e-5)
    assert found.word_ids == words and tuple(found.tids) == tids


@pytest.mark.parametrize("penalty", [-3.0, 0.0, 3.0])
def test_word_penalty_is_a_cost_for_each_word(penalty, backend):
    rng = np.random.default_rng(5)
    graph = random_graph(rng, final_everywhere=True)
    loglikes = rng.normal(scale=3, size=(5, 3)).astype(np.float32)
    found = searcher(graph, backend, word_penalty=penalty).decode(loglikes, 0.5)
    paths = all_paths(graph, loglikes, 0.5)
    best = min(cost + penalty * len(words) + graph.final[state] for cost, words, _, state in paths)
    assert math.isclose(found.cost, best, rel_tol=1e-5)


def test_blocks_of_frames_change_nothing(monkeypatch):
    rng = np.random.default_rng(7)
    graph = random_graph(rng, final_everywhere=True)
    loglikes = rng.normal(scale=3, size=(50, 3)).astype(np.float32)
    whole = searcher(graph).decode(loglikes, 0.7)
    monkeypatch.setattr("pyasr.decode.search._VALUES_AT_ONCE", 7 * NUM_TIDS)
    parts = searcher(graph).decode(loglikes, 0.7)
    assert (whole.word_ids, whole.cost) == (parts.word_ids, parts.cost)
    np.testing.assert_array_equal(whole.tids, parts.tids)


def test_result_does_not_depend_on_what_was_decoded_before(backend):
    rng = np.random.default_rng(8)
    tight = searcher(random_graph(rng, num_states=40, final_everywhere=True), backend, beam=2.0, max_active=21)
    utterances = [rng.normal(scale=3, size=(30, 3)).astype(np.float32) for _ in range(4)]
    forward = [tight.decode(u, 1.0) for u in utterances]
    backward = [tight.decode(u, 1.0) for u in reversed(utterances)][::-1]
    assert [h.cost for h in forward] == [h.cost for h in backward]
    assert [h.word_ids for h in forward] == [h.word_ids for h in backward]


CHAIN = graph_of([(0, 1, 7, 0.5, 1), (1, 2, 0, 0.25, 1), (1, 3, 8, 0.25, 2), (2, 4, 0, 0.1, 2)], [math.inf] * 2 + [1.5])


def test_best_partial_path_when_no_final_state_is_reached(backend):
    arcs = [(0, 1, 7, 0.5, 1), (1, 2, 0, 0.25, 1), (1, 3, 8, 0.25, 2), (2, 5, 0, 0, 3)]
    longer = graph_of(arcs, [math.inf] * 3 + [0])
    found = searcher(longer, backend).decode(np.array([[1, 0, 0], [1, -9, 0]], np.float32), 1.0)
    assert not found.reached_final
    assert found.word_ids == (7,) and tuple(found.tids) == (1, 2)
    assert math.isclose(found.cost, 0.5 + 0.25 - 2, rel_tol=1e-6)


def test_long_utterances_keep_their_precision(backend):
    loglikes = np.full((20_000, 3), -700.0, np.float32)
    found = searcher(CHAIN, backend).decode(loglikes, 0.1)
    assert found.reached_final and len(found.tids) == 20_000
    assert found.word_ids == (7, 8)


@pytest.mark.parametrize(
    ("loglikes", "message"),
    [
        (np.zeros((0, 3), np.float32), "utt7: no frames"),
        (np.zeros(3, np.float32), "utt7: no frames"),
        (np.zeros((4, 2), np.float32), "utt7: .*2 pdfs.*needs 3"),
        (np.array([[0, 0, 0], [0, np.nan, 0]], np.float32), "utt7: .*1 frames, from frame 1 on"),
        (np.array([[0, np.inf, 0]], np.float32), "utt7: .*not finite"),
        (np.array([[0, -np.inf, 0]], np.float32), "utt7: .*not finite"),
    ],
)
def test_damaged_likelihoods_are_refused_by_name(loglikes, message, backend):
    with pytest.raises(DataError, match=message):
        searcher(CHAIN, backend).decode(loglikes, 1.0, "utt7")


def test_no_surviving_path_is_an_error_by_name(backend):
    dead_end = graph_of([(0, 1, 7, 0.5, 1)], [math.inf, 0.0])
    assert searcher(dead_end, backend).decode(np.zeros((1, 3), np.float32), 1.0).word_ids == (7,)
    with pytest.raises(DataError, match=r"utt7: no path .* 2 frames"):
        searcher(dead_end, backend).decode(np.zeros((2, 3), np.float32), 1.0, "utt7")


def test_graph_of_another_model_is_refused(tmp_path, backend):
    foreign = graph_of([(0, 9, 7, 0.5, 1)], [math.inf, 0.0])
    foreign.write(tmp_path / "HCLG.fst")
    with pytest.raises(DataError, match=r"HCLG.fst: .*transition id 9, the model 6"):
        SEARCHERS[backend].read(tmp_path / "HCLG.fst", TID_TO_PDF, 10.0, 100)
    with pytest.raises(DataError, match="empty"):
        searcher(graph_of([(0, 1, 7, 0.5, 1)], [math.inf, 0.0], start=-1), backend)
    with pytest.raises(DataError, match=r"missing\.fst"):
        SEARCHERS[backend].read(tmp_path / "missing.fst", TID_TO_PDF, 10.0, 100)
    content = (tmp_path / "HCLG.fst").read_bytes()
    (tmp_path / "HCLG.fst").write_bytes(content[:-5])
    with pytest.raises(DataError, match=r"HCLG.fst"):
        SEARCHERS[backend].read(tmp_path / "HCLG.fst", TID_TO_PDF, 10.0, 100)


@pytest.mark.parametrize("seed", range(4))
def test_frame_by_frame_is_the_same(seed):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, num_states=40, final_everywhere=True)
    loglikes = rng.normal(scale=3, size=(30, 3)).astype(np.float32)
    tight = searcher(graph, beam=3.0, max_active=21)
    search = tight.start(0.7)
    for t, frame in enumerate(loglikes):
        search.advance(frame[None])
        assert len(search.best().tids) == t + 1
    whole, parts = tight.decode(loglikes, 0.7), search.finish()
    assert (whole.word_ids, whole.cost) == (parts.word_ids, parts.cost)
    np.testing.assert_array_equal(whole.tids, parts.tids)


@pytest.mark.parametrize("seed", range(12))
def test_the_best_so_far_is_the_best_of_all_paths(seed):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    loglikes = rng.normal(scale=3, size=(5, 3)).astype(np.float32)
    search = searcher(graph).start(0.7)
    search.advance(loglikes)
    found = search.best()
    cost, words, tids, _ = min(all_paths(graph, loglikes, 0.7))
    assert math.isclose(found.cost, cost, rel_tol=1e-5)
    assert found.word_ids == words and tuple(found.tids) == tids and not found.reached_final


def test_a_bad_frame_leaves_the_search_as_it_was():
    search = searcher(CHAIN).start(1.0, "utt7")
    search.advance(np.array([[1, 0, 0]], np.float32))
    with pytest.raises(DataError, match=r"utt7: .*1 frames, from frame 1 on"):
        search.advance(np.array([[0, np.nan, 0]], np.float32))
    search.advance(np.array([[1, -9, 0]], np.float32))
    assert search.best().word_ids == (7,)
