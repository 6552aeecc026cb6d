"""Viterbi alignment against kaldi-decoder's FasterDecoder on the same graphs, one thread each.

The graphs have the shape of transcripts: a chain of phones of three states, an optional silence after each
word, one alternative pronunciation in ten words. With PYASR_AN4_EXP=DIR, an experiment on AN4 that has its stage tri
(recipes/run.sh --recipe an4 --corpus-dir AN4 --exp DIR --stop-stage 5), also its training set: the graphs of the
transcripts, scored by these triphones, with the options that training aligns with. Alignments must agree in cost before
anything is timed.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path

import kaldi_decoder
import kaldifst
import numpy as np
from common import best_s, main, row

from pyasr.align.data import TrainingSet
from pyasr.align.options import AlignOptions
from pyasr.align.system import GmmSystem
from pyasr.corpora import read_cuts
from pyasr.features.archive import FeatureArchive
from pyasr.lang.alignment_graph import build_alignment_graph
from pyasr.lang.lexicon import Lexicon
from pyasr.ops.viterbi import AlignmentGraph, viterbi_align

NUM_PDFS = 500
WORDS, PHONES_PER_WORD, STATES = 12, 4, 3
FRAMES, UTTERANCES = 500, 20


def transcript_graph(rng: np.random.Generator) -> AlignmentGraph:
    """About 200 states; column of an arc = its tid - 1."""
    arcs: list[tuple[int, int, int, float]] = []  # source, destination, tid, cost
    num_states = 1

    def chain(source: int, states: int, last: int | None = None) -> int:
        nonlocal num_states
        for i in range(states):
            tid = int(rng.integers(1, NUM_PDFS + 1))
            dst = last if last is not None and i == states - 1 else num_states
            num_states += dst == num_states
            arcs.extend([(source, dst, tid, 0.3), (dst, dst, tid, 0.2)])
            source = dst
        return source

    here = 0
    for _ in range(WORDS):
        end = chain(here, PHONES_PER_WORD * STATES)
        if rng.random() < 0.1:
            chain(here, PHONES_PER_WORD * STATES, last=end)
        after_silence = chain(end, STATES)
        first = chain(end, 1)  # the next word begins with one state, reached with and without silence
        arcs.append((after_silence, first, arcs[-2][2], 0.3))
        here = first
    arcs.sort(key=lambda arc: arc[0])
    source, dst, tid, cost = (np.array(column) for column in zip(*arcs))
    final = np.full(num_states, np.inf, np.float32)
    final[here] = 0.0
    return AlignmentGraph(
        arc_begin=np.searchsorted(source, np.arange(num_states + 1)).astype(np.int32),
        arc_dst=dst.astype(np.int32),
        arc_tid=tid.astype(np.int32),
        arc_cost=cost.astype(np.float32),
        final_cost=final,
        arc_word=np.full(len(arcs), -1, np.int32),
    )


def to_fst(graph: AlignmentGraph) -> kaldifst.StdVectorFst:
    fst = kaldifst.StdVectorFst()
    for cost in graph.final_cost:
        state = fst.add_state()
        if cost < math.inf:
            fst.set_final(state, float(cost))
    fst.start = 0
    source = np.repeat(np.arange(len(graph.final_cost)), np.diff(graph.arc_begin))
    for s, d, tid, cost in zip(source, graph.arc_dst, graph.arc_tid, graph.arc_cost):
        fst.add_arc(state=int(s), arc=kaldifst.StdArc(int(tid), int(tid), float(cost), int(d)))
    return fst


def decode(fst: kaldifst.StdVectorFst, loglikes: np.ndarray, beam: float) -> float:
    """Cost of the best path as FasterDecoder finds it."""
    # The beam alone prunes, as ours: by default the 20 best states stay, however bad.
    options = kaldi_decoder.FasterDecoderOptions(beam=beam, max_active=2**31 - 1, min_active=0)
    decoder = kaldi_decoder.FasterDecoder(fst, options)
    decoder.decode(kaldi_decoder.DecodableCtc(loglikes))
    ok, best = decoder.get_best_path()
    if not ok:
        raise RuntimeError("FasterDecoder found no path")
    ok, _, _, weight = kaldifst.get_linear_symbol_sequence(best)
    return weight.value1 + weight.value2


def training_set(exp: Path) -> tuple[list[AlignmentGraph], list[np.ndarray]]:
    """Graphs and scaled log-likelihoods of the transcribed utterances; column of an arc = its tid - 1."""
    system, options = GmmSystem.load(exp / "gmm/tri/system"), AlignOptions()
    cuts, archive = read_cuts(exp / "data/transcribed.jsonl.gz"), FeatureArchive.open(exp / "features/train")
    data = TrainingSet.from_cuts(cuts, archive, Lexicon.read(exp / "lang/lexicon.txt"), system.phones)
    graphs, scores = [], []
    for utterance in data.utterances:
        graph = build_alignment_graph(
            utterance.pronunciations,
            system.transitions,
            system.context,
            system.phones.silence_id,
            options.silence_p,
            options.transition_scale,
        )
        pdfs, columns = np.unique(system.transitions.tid_to_pdf[graph.arc_tid], return_inverse=True)
        graphs.append(dataclasses.replace(graph, arc_tid=(columns + 1).astype(np.int32)))
        loglikes = system.loglikes(*data.mfcc(utterance), pdfs=pdfs)
        scores.append(np.float32(options.acoustic_scale) * loglikes)
    return graphs, scores


def compare(
    name: str, graphs: Sequence[AlignmentGraph], loglikes: Sequence[np.ndarray], beams: Sequence[float]
) -> list[dict]:
    tid_to_pdf = np.arange(-1, max(matrix.shape[1] for matrix in loglikes), dtype=np.int32)
    fsts = [to_fst(graph) for graph in graphs]
    frames = sum(map(len, loglikes))
    arcs = sum(len(graph.arc_dst) * len(matrix) for graph, matrix in zip(graphs, loglikes))
    rows = []
    for beam in beams:
        ours = np.array([result.cost for result in viterbi_align(graphs, loglikes, tid_to_pdf, beam=beam)])
        peers = np.array([decode(fst, matrix, min(beam, 1e6)) for fst, matrix in zip(fsts, loglikes)])
        found = ours < math.inf  # where the beam has pruned all final states, FasterDecoder gives a path to any state
        differ = np.abs(ours - peers)[found] > 1e-4 * np.abs(ours)[found]
        print(f"{found.sum()} of {len(found)} aligned, {differ.sum()} differ")
        ours_s = best_s(lambda beam=beam: viterbi_align(graphs, loglikes, tid_to_pdf, beam=beam))
        peer_s = best_s(lambda beam=beam: [decode(f, x, min(beam, 1e6)) for f, x in zip(fsts, loglikes)], repeats=2)
        what = f"viterbi_align, {name}, beam {beam:g}, {arcs / frames:.0f} arcs"
        rows.append(row(what, "frames/s", frames / ours_s, frames / peer_s, "kaldi_decoder.FasterDecoder"))
    return rows


def measure() -> list[dict]:
    rng = np.random.default_rng(0)
    graphs = [transcript_graph(rng) for _ in range(UTTERANCES)]
    loglikes = [rng.normal(size=(FRAMES, NUM_PDFS)).astype(np.float32) for _ in graphs]
    rows = compare("random scores", graphs, loglikes, (math.inf, 50.0))
    if exp := os.environ.get("PYASR_AN4_EXP"):
        rows += compare("AN4's training set", *training_set(Path(exp)), (40.0, 10.0))
    return rows


if __name__ == "__main__":
    main(__doc__.splitlines()[0], measure)
