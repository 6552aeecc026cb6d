"""Graphs without epsilons against the paths of the graphs they are made from."""

import math

import numpy as np
import pytest

from pyasr.base.errors import DataError
from pyasr.lang.epsilon_free import FINAL, STOP, remove_epsilons
from pyasr.lang.fst_arrays import FstArrays

FRAMES = 3


def graph_of(arcs, final, start=0):
    """arcs: (source, ilabel, olabel, weight, nextstate); final: cost a state."""
    names = ("source", "ilabel", "olabel", "weight", "nextstate")
    return FstArrays.from_arcs(start, np.array(final), dict(zip(names, map(np.array, zip(*arcs)))))


def random_graph(seed, num_states=5):
    """With several epsilons between the same states; some states only epsilons lead to, some nothing does."""
    rng = np.random.default_rng(seed)
    arcs = []
    for source in range(num_states):
        arcs.append((source, int(rng.integers(1, 5)), int(rng.integers(3)), rng.uniform(), int(rng.integers(3))))
        for _ in range(int(rng.integers(3))):
            if source + 1 < num_states:
                arcs.append((source, 0, int(rng.integers(3)), rng.uniform(), int(rng.integers(source + 1, num_states))))
    final = np.where(rng.random(num_states) < 0.5, rng.uniform(size=num_states), math.inf)
    final[-1] = 0.5
    return graph_of(arcs, final, start=int(rng.integers(2)))


def paths_of_graph(graph, anywhere):
    """(tids, words, cost) of all ways through FRAMES labels that end in a final state, or anywhere at no cost."""

    def walk(state, tids, words, cost):
        if len(tids) == FRAMES and anywhere:
            yield tids, words, cost
        elif len(tids) == FRAMES and graph.final[state] < math.inf:
            yield tids, words, cost + float(graph.final[state])
        for arc in np.flatnonzero(graph.source == state):
            tid, word = int(graph.ilabel[arc]), int(graph.olabel[arc])
            if not tid or len(tids) < FRAMES:
                more = (tids + (tid,) * bool(tid), words + (word,) * bool(word), cost + float(graph.weight[arc]))
                yield from walk(int(graph.nextstate[arc]), *more)

    return sorted(walk(graph.start, (), (), 0.0))


def paths_of(free, kind):
    """The same of a graph without epsilons; kind: of the arcs that end paths."""

    def walk(state, path):
        for arc in np.flatnonzero(free.source == state):
            if free.tid[arc] == kind and len(path) == FRAMES:
                yield np.array([*path, arc])
            elif free.tid[arc] > 0 and len(path) < FRAMES:
                yield from walk(int(free.dst[arc]), [*path, arc])

    return sorted(
        (tuple(free.tid[path[:-1]].tolist()), free.words(path), free.cost[path].sum()) for path in walk(0, [])
    )


def assert_same(found, expected):
    assert [path[:2] for path in found] == [path[:2] for path in expected]
    np.testing.assert_allclose([path[2] for path in found], [path[2] for path in expected], rtol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_all_paths_are_kept_with_words_and_costs(seed):
    graph = random_graph(seed)
    free = remove_epsilons(graph, stops=True)
    assert_same(paths_of(free, FINAL), paths_of_graph(graph, anywhere=False))
    assert_same(paths_of(free, STOP), paths_of_graph(graph, anywhere=True))
    assert (np.diff(free.source) >= 0).all()
    assert ((free.dst == free.num_states - 1) == (free.tid <= 0)).all()
    assert set(free.source) | {0} == set(range(free.num_states - 1)), "states are numbered without gaps"
    assert (remove_epsilons(graph).tid >= 0).all()


def test_without_epsilons_nothing_but_the_final_state_is_added():
    free = remove_epsilons(graph_of([(0, 1, 7, 0.5, 1), (1, 2, 0, 0.25, 1)], [math.inf, 1.5]))
    assert free.source.tolist() == [0, 1, 1] and free.dst.tolist() == [1, 1, 2]
    assert free.tid.tolist() == [1, 2, FINAL] and free.cost.tolist() == [0.5, 0.25, 1.5]
    assert free.words(np.array([0, 1, 2])) == (7,)


@pytest.mark.parametrize("cycle", [[(1, 0, 0, 0.0, 1)], [(1, 0, 0, 0.0, 2), (2, 0, 3, 0.0, 1)]])
def test_a_cycle_of_epsilons_is_refused(cycle):
    with pytest.raises(DataError, match=r"from state \d of the decoding graph, .* cycle"):
        remove_epsilons(graph_of([(0, 1, 0, 0.0, 1), *cycle, (0, 0, 0, 0.0, 2)], [0.0] * 3))
