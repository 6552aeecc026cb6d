"""Both libraries that search, on the AN4 test set with a network and scales that a recipe made: the same words.

Takes PYASR_AN4_EXP, the experiment folder of a run of the recipe an4, and k2. With `pytest -s` it shows what differs.
"""

import os
import time
from pathlib import Path

import kaldialign
import numpy as np
import pytest

from pyasr.corpora import read_cuts
from pyasr.decode.backends import LATTICE_SEARCHERS, SEARCHERS
from pyasr.decode.model_dir import load_model
from pyasr.decode.network_decode import network_source
from pyasr.ops.lattice import lattice_forward_backward

SYSTEMS = ("teacher", "supervised", "student", "topline")
LATTICE_UTTERANCES = 20
NO_LIMIT = 100_000  # arcs a frame


@pytest.fixture(scope="module")
def exp():
    if "PYASR_AN4_EXP" not in os.environ:
        pytest.skip("PYASR_AN4_EXP is not set: the experiment folder of a run of the recipe an4")
    pytest.importorskip("k2", reason="`python -m pyasr.run doctor` tells how to get k2", exc_type=ImportError)
    return Path(os.environ["PYASR_AN4_EXP"])


@pytest.fixture(scope="module", params=SYSTEMS)
def test_set(exp, request):
    """(model, its log-likelihoods by utterance)."""
    if not (exp / "decode" / request.param / "model.json").exists():
        pytest.skip(f"{exp} has no {request.param}")
    model, manifest = load_model(exp / "decode" / request.param), exp / "data" / "test.jsonl.gz"
    opened = network_source(model, manifest).open()
    return model, {cut.id: opened.loglikes(cut.id) for cut in read_cuts(manifest)}


def searched(test_set, backend):
    """cut_id -> Hypothesis, and seconds."""
    model, matrices = test_set
    search, scales = model.options.search, model.scales
    searcher = SEARCHERS[backend].read(
        model.graph, model.transitions.tid_to_pdf, search.beam, search.max_active, scales.word_penalty
    )
    start = time.perf_counter()
    found = {cut_id: searcher.decode(matrix, scales.acoustic_scale, cut_id) for cut_id, matrix in matrices.items()}
    return found, time.perf_counter() - start


def test_the_same_words_at_equal_beams(test_set):
    model, matrices = test_set
    (kaldi, kaldi_s), (k2, k2_s) = searched(test_set, "kaldi"), searched(test_set, "k2")
    words = different = worse = 0
    for cut_id, ours in kaldi.items():
        theirs = k2[cut_id]
        sides = [[model.words.name(word) for word in found.word_ids] for found in (ours, theirs)]
        words += len(sides[0])
        worse += theirs.cost > ours.cost + 1e-3
        assert theirs.reached_final == ours.reached_final, cut_id
        if sides[0] != sides[1]:
            different += kaldialign.edit_distance(*sides)["total"]
            print(f"\n{cut_id}: kaldi {sides[0]} at {ours.cost:.4f}, k2 {sides[1]} at {theirs.cost:.4f}")
    frames = sum(map(len, matrices.values()))
    print(f"\n{words - different} of {words} words the same, {worse} of {len(kaldi)} costs above kaldi-decoder's;"
          f" {frames} frames: kaldi-decoder {kaldi_s:.2f} s, k2 {k2_s:.2f} s")  # fmt: skip
    assert different <= 0.005 * words
    assert worse == 0


def best_and_total(lattice, loglikes, scale):
    """Cost of the best path, and minus the logarithm of the sum over all."""
    values = np.zeros(len(lattice.arc_src), np.float32)
    (result,) = lattice_forward_backward([lattice], [loglikes], [values], scale)
    costs, senones = lattice.arc_cost.astype(np.float64), lattice.arc_senone
    takes_frame = senones >= 0
    costs[takes_frame] -= scale * loglikes[lattice.arc_time[takes_frame], senones[takes_frame]]
    best = np.full(len(lattice.final_cost), np.inf)
    best[0] = 0.0
    for source, dst, cost in zip(lattice.arc_src.tolist(), lattice.arc_dst.tolist(), costs.tolist()):
        best[dst] = min(best[dst], best[source] + cost)
    return np.array([(best + lattice.final_cost).min(), -result.log_total])


def test_lattices_with_the_same_paths(test_set):
    """At a beam at which neither makes search errors; at smaller ones k2 makes fewer, since it widens it at the end."""
    model, matrices = test_set
    scales, tid_to_pdf = model.scales, model.transitions.tid_to_pdf
    searchers = {
        name: kind.read(model.graph, tid_to_pdf, 20.0, 8.0, NO_LIMIT, scales.word_penalty)
        for name, kind in LATTICE_SEARCHERS.items()
    }
    seconds = dict.fromkeys(searchers, 0.0)
    for cut_id in list(matrices)[:LATTICE_UTTERANCES]:
        costs, arcs = {}, {}
        for name, searcher in searchers.items():
            start = time.perf_counter()
            lattice = searcher.lattice(matrices[cut_id], scales.acoustic_scale, cut_id)
            seconds[name] += time.perf_counter() - start
            arcs[name] = len(lattice.arc_src) / lattice.num_frames
            costs[name] = best_and_total(lattice, matrices[cut_id], scales.acoustic_scale)
        print(f"\n{cut_id}: arcs a frame {arcs}, costs of best path and of all {costs}")
        np.testing.assert_allclose(costs["k2"][0], costs["kaldi"][0], atol=1e-3, err_msg=cut_id)
        np.testing.assert_allclose(costs["k2"][1], costs["kaldi"][1], atol=0.02, err_msg=cut_id)
    print(f"\nseconds {seconds}")
