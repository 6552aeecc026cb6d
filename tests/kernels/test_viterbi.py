"""Viterbi alignment against its slow twin and against the enumeration of all paths."""

import hashlib
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyasr.ops import reference
from pyasr.ops.viterbi import AlignmentGraph, viterbi_align


def random_graph(rng, num_states, num_arcs, num_tids, ties=False):
    source = np.sort(rng.integers(0, num_states, num_arcs))
    begin = np.searchsorted(source, np.arange(num_states + 1)).astype(np.int32)
    cost = rng.integers(0, 3, num_arcs) if ties else rng.normal(size=num_arcs)
    final = np.where(rng.random(num_states) < 0.5, rng.integers(0, 3, num_states), np.inf)
    return AlignmentGraph(
        arc_begin=begin,
        arc_dst=rng.integers(0, num_states, num_arcs).astype(np.int32),
        arc_tid=rng.integers(1, num_tids + 1, num_arcs).astype(np.int32),
        arc_cost=cost.astype(np.float32),
        final_cost=final.astype(np.float32),
        arc_word=np.full(num_arcs, -1, np.int32),
    )


def random_batch(seed, sizes, ties=False, num_pdfs=5, num_tids=8):
    rng = np.random.default_rng(seed)
    graphs = [random_graph(rng, states, arcs, num_tids, ties) for states, arcs, _ in sizes]
    draw = (lambda shape: rng.integers(-2, 3, shape)) if ties else (lambda shape: rng.normal(size=shape))
    loglikes = [draw((frames, num_pdfs)).astype(np.float32) for _, _, frames in sizes]
    return graphs, loglikes, rng.integers(0, num_pdfs, num_tids + 1).astype(np.int32)


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert a.ok == b.ok
        np.testing.assert_array_equal(a.arcs, b.arcs)
        assert a.cost == b.cost or math.isclose(a.cost, b.cost, rel_tol=1e-14)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("beam", [math.inf, 3.0, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_twin(seed, beam, ties):
    sizes = [(1, 1, 3), (3, 7, 1), (5, 20, 0), (97, 300, 13), (11, 60, 97), (2, 0, 4)]
    batch = random_batch(seed, sizes, ties)
    assert_same(viterbi_align(*batch, 0.7, beam), reference.viterbi_align(*batch, 0.7, beam))


def left_to_right_batch(seed, ties, num_pdfs=6, frames=37):
    """Graphs of 1 to 40 states like those of transcripts: nearly all states have a loop and an arc from the one before,
    with one pdf; some have many more arcs, two loops, or arcs that read other pdfs than the rest of theirs."""
    rng = np.random.default_rng(seed)
    graphs, loglikes = [], []
    for num_states in range(1, 41):
        tids = rng.integers(1, num_pdfs + 1, num_states)
        regular = [(s, d) for s in range(num_states) for d in (s, s + 1) if d < num_states]
        arcs = [(s, d, tids[d]) for s, d in regular if rng.random() < 0.97]
        odd = rng.integers(0, num_states, (num_states // 4 + 1, 2))
        arcs += [(s, d, tids[d]) for s, d in odd] + [(s, s, rng.integers(1, num_pdfs + 1)) for s in odd[:1, 0]]
        arcs += [(s, odd[0, 1], tids[odd[0, 1]]) for s in range(num_states)] if num_states % 3 == 0 else []
        source, dst, tid = (np.array(column) for column in zip(*sorted(arcs, key=lambda arc: arc[0])))
        cost = rng.integers(0, 3, len(arcs)) if ties else rng.exponential(size=len(arcs))
        final = np.where(np.arange(num_states) > num_states - 4, rng.integers(0, 3, num_states), np.inf)
        graphs.append(
            AlignmentGraph(
                arc_begin=np.searchsorted(source, np.arange(num_states + 1)).astype(np.int32),
                arc_dst=dst.astype(np.int32),
                arc_tid=tid.astype(np.int32),
                arc_cost=cost.astype(np.float32),
                final_cost=final.astype(np.float32),
                arc_word=np.full(len(arcs), -1, np.int32),
            )
        )
        draw = rng.integers(-2, 3, (frames, num_pdfs)) if ties else rng.normal(size=(frames, num_pdfs))
        loglikes.append(np.where(rng.random((frames, num_pdfs)) < 0.02, -np.inf, draw).astype(np.float32))
    return graphs, loglikes, np.arange(-1, num_pdfs, dtype=np.int32)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("beam", [math.inf, 6.0, 1.5])
def test_left_to_right_graphs_equal_the_twin_bit_for_bit(beam, ties):
    batch = left_to_right_batch(0, ties)
    ours, theirs = viterbi_align(*batch, 0.7, beam), reference.viterbi_align(*batch, 0.7, beam)
    assert any(result.ok for result in ours)
    assert [result.cost for result in ours] == [result.cost for result in theirs]
    assert_same(ours, theirs)


def digest(batch, beam):
    found = hashlib.sha256()
    for result in viterbi_align(*batch, 0.7, beam):
        found.update(result.arcs.tobytes() + np.float64(result.cost).tobytes())
    return found.hexdigest()


def digests():
    return [digest(left_to_right_batch(seed, seed % 2), beam) for seed in range(1, 5) for beam in (math.inf, 4.0)]


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "avx512vnni"])
def test_bits_are_the_same_in_every_instruction_set(isa):
    code = "from test_viterbi import digests; print(*digests())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYASR_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    if f"PYASR_ISA={isa}: this processor has no more than" in run.stderr:
        pytest.skip(f"no {isa} here")
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == digests()


def test_memory_kept_between_utterances_changes_nothing():
    """Long and short, wide and narrow in turn: what one leaves behind must not reach the next."""
    batch = random_batch(3, [(97, 300, 200), (2, 3, 5), (301, 900, 60), (9, 40, 333), (1, 1, 1)] * 3)
    one_by_one = [viterbi_align([graph], [matrix], batch[2])[0] for graph, matrix in zip(*batch[:2])]
    assert_same(viterbi_align(*batch), one_by_one)


@pytest.mark.parametrize("seed", range(10))
def test_equals_the_enumeration_of_all_paths(seed):
    (graph,), (loglikes,), tid_to_pdf = random_batch(seed, [(4, 9, 4)])
    source = np.repeat(np.arange(4), np.diff(graph.arc_begin))
    best = math.inf
    for path in itertools.product(range(9), repeat=4):
        states = [0, *(graph.arc_dst[arc] for arc in path)]
        if all(source[arc] == state for arc, state in zip(path, states)):
            acoustic = sum(loglikes[t, tid_to_pdf[graph.arc_tid[arc]]] for t, arc in enumerate(path))
            best = min(best, graph.arc_cost[list(path)].sum() + graph.final_cost[states[-1]] - 0.3 * acoustic)
    (result,) = viterbi_align([graph], [loglikes], tid_to_pdf, 0.3)
    assert result.ok == (best < math.inf)
    assert math.isclose(result.cost, best, rel_tol=1e-5, abs_tol=1e-5) or result.cost == best


def test_threads_change_nothing():
    batch = random_batch(0, [(20 + i, 90, 30 + i % 7) for i in range(40)])
    assert_same(viterbi_align(*batch, num_threads=1), viterbi_align(*batch, num_threads=5))


def test_strided_likelihoods_are_read_right():
    graphs, (loglikes,), tid_to_pdf = random_batch(1, [(9, 40, 12)])
    wide = np.zeros((12, 11), np.float32)
    wide[:, ::2][:, :5] = loglikes
    assert_same(viterbi_align(graphs, [wide[:, ::2][:, :5]], tid_to_pdf), viterbi_align(graphs, [loglikes], tid_to_pdf))


def test_minus_infinity_forbids_and_nan_is_refused():
    graph = AlignmentGraph(
        *(np.array(x, np.int32) for x in ([0, 2, 2], [1, 1], [1, 2])),
        np.array([0, 5], np.float32),
        np.array([np.inf, 0], np.float32),
        np.array([0, 0], np.int32),
    )
    tid_to_pdf = np.array([-1, 0, 1], np.int32)
    (result,) = viterbi_align([graph], [np.array([[-np.inf, 0]], np.float32)], tid_to_pdf)
    assert result.ok and list(result.arcs) == [1] and result.cost == 5
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="utterance 1: log-likelihood of frame 0, column 1"):
            good = np.zeros((1, 2), np.float32)
            viterbi_align([graph, graph], [good, np.array([[0, bad]], np.float32)], tid_to_pdf)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"arc_dst": np.array([1, 7], np.int32)}, ValueError, "arc 1 leads to state 7 of 2"),
        ({"arc_begin": np.array([0, 3, 2], np.int32)}, ValueError, "arc_begin decreases"),
        ({"arc_begin": np.array([0, 2], np.int32)}, ValueError, "arc_begin"),
        ({"arc_tid": np.array([1, 9], np.int32)}, ValueError, "arc_tid of arc 1 is 9, outside 1..2"),
        ({"arc_tid": np.array([0, 1], np.int32)}, ValueError, "arc_tid of arc 0 is 0, outside 1..2"),
        ({"arc_cost": np.array([0, np.nan], np.float32)}, ValueError, "cost of arc 1"),
        ({"arc_cost": np.array([0, 1], np.float64)}, TypeError, "arc_cost is float64"),
        ({"final_cost": np.array([np.inf, np.nan], np.float32)}, ValueError, "final_cost of state 1"),
        ({"final_cost": np.empty(0, np.float32)}, ValueError, "no states"),
    ({"arc_word": np.zeros(3, np.int32)}, ValueError, "arc_word has 3 entries for 2 arcs"),
    ({"arc_tid": np.array([1, 2], np.int64)}, TypeError, "arc_tid is int64"),
    ({"arc_dst": np.array([[1, 1]], np.int32)}, ValueError, "arc_dst has 2 dimensions"),
    ({"arc_begin": [0, 2, 2]}, TypeError, "arc_begin is a list"),
    ],
)
def test_broken_graphs_are_refused(change, error, message):
    arrays = {
        "arc_begin": np.array([0, 2, 2], np.int32),
        "arc_dst": np.array([1, 1], np.int32),
        "arc_tid": np.array([1, 2], np.int32),
        "arc_cost": np.zeros(2, np.float32),
        "final_cost": np.array([np.inf, 0], np.float32),
        "arc_word": np.zeros(2, np.int32),
    }
    with pytest.raises(error, match=message):
        viterbi_align(
            [AlignmentGraph(**{**arrays, **change})], [np.zeros((1, 2), np.float32)], np.array([-1, 0, 1], np.int32)
        )


def test_wrong_arguments_are_refused():
    graphs, loglikes, tid_to_pdf = random_batch(1, [(9, 40, 12)])
    with pytest.raises(ValueError, match="1 graphs for 2"):
        viterbi_align(graphs, loglikes * 2, tid_to_pdf)
    with pytest.raises(TypeError, match="loglikes is float64"):
        viterbi_align(graphs, [loglikes[0].astype(np.float64)], tid_to_pdf)
    with pytest.raises(ValueError, match="reads column"):
        viterbi_align(graphs, [loglikes[0][:, :1]], tid_to_pdf)
    with pytest.raises(ValueError, match="acoustic scale"):
        viterbi_align(graphs, loglikes, tid_to_pdf, acoustic_scale=math.nan)
    with pytest.raises(ValueError, match="beam"):
        viterbi_align(graphs, loglikes, tid_to_pdf, beam=0.0)
    with pytest.raises(TypeError, match="tid_to_pdf is float64"):
        viterbi_align(graphs, loglikes, tid_to_pdf.astype(np.float64))
    with pytest.raises(ValueError, match="num_threads is 0"):
        viterbi_align(graphs, loglikes, tid_to_pdf, num_threads=0)
    assert viterbi_align([], [], tid_to_pdf) == []


def chain(num_states, backwards=False):
    """States in a row, each with a self-loop; the last one is final. Backwards: numbered from right to left."""
    names = np.r_[0, np.arange(num_states - 1, 0, -1)] if backwards else np.arange(num_states)
    arcs = [(names[s], names[d], d + 1) for s in range(num_states) for d in (s, s + 1) if d < num_states]
    source, dst, tid = (np.array(column) for column in zip(*sorted(arcs, key=lambda arc: arc[0])))
    final = np.full(num_states, np.inf, np.float32)
    final[names[-1]] = 0.5
    return AlignmentGraph(
        arc_begin=np.searchsorted(source, np.arange(num_states + 1)).astype(np.int32), arc_dst=dst.astype(np.int32),
        arc_tid=tid.astype(np.int32), arc_cost=np.full(len(arcs), 0.25, np.float32), final_cost=final,
        arc_word=np.full(len(arcs), -1, np.int32),
    )


@pytest.mark.parametrize("backwards", [False, True])
def test_a_beam_follows_a_long_chain(backwards):
    """The band of active states moves over the graph, whichever way its states are numbered."""
    num_states, frames = 301, 1025
    rng = np.random.default_rng(0)
    loglikes = rng.normal(size=(frames, num_states)).astype(np.float32)
    at = np.minimum(np.arange(frames) * num_states // frames, num_states - 1)
    loglikes[np.arange(frames), at] += 20.0
    batch = [chain(num_states, backwards)], [loglikes], np.arange(-1, num_states, dtype=np.int32)
    (narrow,), (wide,) = viterbi_align(*batch, beam=60.0), viterbi_align(*batch)
    assert_same([narrow], reference.viterbi_align(*batch, beam=60.0))
    np.testing.assert_array_equal(narrow.arcs, wide.arcs)
    # arcs into the states where the likelihood was put
    assert (np.diff(batch[0][0].arc_tid[narrow.arcs]) >= 0).all()
    assert np.mean(batch[0][0].arc_tid[narrow.arcs] == at + 1) > 0.99


def test_an_utterance_too_short_for_its_graph_has_no_path():
    zeros = [np.zeros((frames, 5), np.float32) for frames in (0, 3, 4)]
    results = viterbi_align([chain(5)] * 3, zeros, np.arange(-1, 5, dtype=np.int32), num_threads=2)
    assert [result.ok for result in results] == [False, False, True]
    assert [len(result.arcs) for result in results] == [0, 0, 4]
    assert results[0].cost == results[1].cost == math.inf and results[2].cost == 4 * 0.25 + 0.5


def test_nothing_is_read_where_the_beam_has_pruned():
    """NaN counts only where the search looks, so the twin and the kernel look at the same places."""
    loglikes = np.zeros((3, 4), np.float32)
    loglikes[0, 1] = 30.0  # state 1 leads by more than the beam
    loglikes[1, 0] = np.nan  # the loop of state 0, which is pruned by then
    batch = [chain(4)], [loglikes], np.arange(-1, 4, dtype=np.int32)
    assert_same(viterbi_align(*batch, beam=10.0), reference.viterbi_align(*batch, beam=10.0))
    with pytest.raises(ValueError, match="utterance 0: log-likelihood of frame 1, column 0 is nan"):
        viterbi_align(*batch)


def test_the_first_bad_utterance_is_named_whatever_the_threads():
    graphs, loglikes, tid_to_pdf = random_batch(0, [(20, 90, 30)] * 30)
    for bad in (7, 8, 20):
        loglikes[bad][0] = np.nan
        assert graphs[bad].arc_begin[1] > 0, "the start state has no arcs: another seed is needed"
    for num_threads in (1, 2, 5):
        for _ in range(20):
            with pytest.raises(ValueError, match=r"^utterance 7: "):
                viterbi_align(graphs, loglikes, tid_to_pdf, num_threads=num_threads)
