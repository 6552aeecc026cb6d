"""Lattices against the enumeration of all paths of the graph."""

import math

import numpy as np
import pytest

from pyasr.base.errors import DataError
from pyasr.decode.backends import LATTICE_SEARCHERS
from pyasr.lang.fst_arrays import FstArrays
from pyasr.ops import reference
from pyasr.ops.lattice import lattice_forward_backward

TID_TO_PDF = np.array([-1, 0, 0, 1, 1, 2, 2], np.int32)
FRAMES, SCALE = 4, 0.7
UNBOUNDED = {"beam": 1000.0, "lattice_beam": 1000.0, "max_density": 100000}


def graph_of(arcs, final):
    names = ("source", "ilabel", "olabel", "weight", "nextstate")
    return FstArrays.from_arcs(0, np.array(final), dict(zip(names, map(np.array, zip(*arcs)))))


def random_graph(rng, num_states=3):
    """With arcs that take no frame, which lead forward only."""
    arcs = []
    for source in range(num_states):
        for _ in range(2):
            arcs.append((source, int(rng.integers(1, 7)), int(rng.integers(3)), rng.uniform(0, 2),
                         int(rng.integers(num_states))))  # fmt: skip
        if source + 1 < num_states:
            arcs.append((source, 0, int(rng.integers(3)), rng.uniform(0, 2), source + 1))
    return graph_of(arcs, [*[math.inf] * (num_states - 1), rng.uniform(0, 2)])


def all_paths(graph, penalty=0.0):
    """(graph cost, pdfs) of every path that takes all frames and ends well."""

    def walk(state, cost, pdfs):
        if len(pdfs) == FRAMES and graph.final[state] < math.inf:
            yield cost + float(graph.final[state]), pdfs
        for arc in np.flatnonzero(graph.source == state):
            tid = graph.ilabel[arc]
            if tid and len(pdfs) == FRAMES:
                continue
            more = (int(TID_TO_PDF[tid]),) if tid else ()
            words = penalty * (graph.olabel[arc] > 0)
            yield from walk(graph.nextstate[arc], cost + float(graph.weight[arc]) + words, pdfs + more)

    return list(walk(0, 0.0, ()))


def paths_of(lattice):
    """The same of a lattice."""
    found = []
    for path in reference.lattice_paths(lattice):
        cost = lattice.arc_cost[path].sum(dtype=float) + float(lattice.final_cost[lattice.arc_dst[path[-1]]])
        found.append((cost, tuple(int(senone) for senone in lattice.arc_senone[path] if senone >= 0)))
    return found


def scores(paths, loglikes):
    return [cost - SCALE * sum(float(loglikes[t, pdf]) for t, pdf in enumerate(pdfs)) for cost, pdfs in paths]


def assert_same_paths(found, expected):
    assert sorted(pdfs for _, pdfs in found) == sorted(pdfs for _, pdfs in expected)
    np.testing.assert_allclose(sorted(cost for cost, _ in found), sorted(cost for cost, _ in expected), rtol=1e-4)


def searcher(graph, backend, **options):
    return LATTICE_SEARCHERS[backend](graph, TID_TO_PDF, **options)


def made(seed):
    rng = np.random.default_rng(seed)
    return random_graph(rng), rng.normal(scale=2, size=(FRAMES, 3)).astype(np.float32)


@pytest.mark.parametrize("penalty", [0.0, 1.5])
@pytest.mark.parametrize("seed", range(8))
def test_unbounded_it_holds_every_path_with_its_cost(seed, penalty, backend):
    graph, loglikes = made(seed)
    lattice = searcher(graph, backend, **UNBOUNDED, word_penalty=penalty).lattice(loglikes, SCALE)
    expected = all_paths(graph, penalty)
    assert len(expected) > 3
    assert_same_paths(paths_of(lattice), expected)
    (result,) = lattice_forward_backward([lattice], [loglikes], [np.zeros(len(lattice.arc_src), np.float32)], SCALE)
    total = np.logaddexp.reduce([-score for score in scores(expected, loglikes)])
    assert math.isclose(result.log_total, total, rel_tol=1e-4, abs_tol=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_the_beam_and_the_density_keep_the_best_paths(seed, backend):
    graph, loglikes = made(seed)
    every = sorted(zip(scores(all_paths(graph), loglikes), all_paths(graph)))
    beam = (every[0][0] + every[len(every) // 2][0]) / 2 - every[0][0]
    within = {pdfs for score, (_, pdfs) in every if score <= every[0][0] + beam}
    narrow = searcher(graph, backend, **{**UNBOUNDED, "lattice_beam": beam}).lattice(loglikes, SCALE)
    found = {pdfs for _, pdfs in paths_of(narrow)}
    assert within <= found  # others share their arcs
    whole = searcher(graph, backend, **UNBOUNDED).lattice(loglikes, SCALE)
    for density in (2, 3):
        thin = searcher(graph, backend, **{**UNBOUNDED, "max_density": density}).lattice(loglikes, SCALE)
        assert len(thin.arc_src) <= min(density * FRAMES, len(whole.arc_src))
        assert every[0][1][1] in {pdfs for _, pdfs in paths_of(thin)}


def test_what_has_no_complete_path_is_named(backend):
    dead_end = graph_of([(0, 1, 1, 0.0, 1), (1, 2, 0, 0.0, 1), (1, 3, 0, 0.0, 2)], [math.inf, math.inf, 0.0])
    lattices = searcher(dead_end, backend)
    good = np.zeros((2, 3), np.float32)
    assert lattices.lattice(good, 1.0).num_frames == 2
    with pytest.raises(DataError, match="u1: empty lattice: no complete path survives 1 frames"):
        lattices.lattice(good[:1], 1.0, "u1")
    for bad, message in ((good[:0], "no frames"), (good[:, :2], "2 pdfs"), (good * np.nan, "not finite")):
        with pytest.raises(DataError, match=f"u2.*{message}"):
            lattices.lattice(bad, 1.0, "u2")


def test_graphs_of_other_models_are_refused(backend):
    graph = graph_of([(0, 9, 1, 0.0, 0)], [0.0])
    with pytest.raises(DataError, match="transition id 9"):
        searcher(graph, backend)
