"""The same searches by k2: pruned intersection of the graph with the log-likelihoods, on a GPU if there is one.

k2 (Povey et al., github.com/k2-fsa/k2) searches in epsilon-free acceptors whose labels are columns of the
log-likelihoods, so arcs carry their number in the graph, and what they stand for is looked up afterwards. Its beam is
what kaldi-decoder's is, but for frames with fewer than the smallest or more than the largest number of states, where
it widens or narrows bit by bit over the next frames, and for the last five frames, where it may widen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pyasr.decode.k2_install import import_k2
from pyasr.decode.lattice_search import finished
from pyasr.decode.raw_lattice import RawLattice
from pyasr.decode.search import MIN_ACTIVE, Hypothesis, InGraph, check_graph, check_loglikes, no_path
from pyasr.lang.epsilon_free import FINAL, STOP, EpsilonFree, remove_epsilons
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.hclg import add_word_penalty
from pyasr.ops.lattice import Lattice

_INCOMPLETE_COST = 1e4  # more than any difference within a beam; float32 still tells 1e-3 apart
_BEST_PATH_BEAM = 1.0  # of what k2 keeps; the best path is kept whatever this is
_MOST_ACTIVE = 1 << 20  # k2 sets aside 32 bytes for each


class K2Searcher(InGraph):
    """Does what `pyasr.decode.search.Searcher` does, whole utterances only, with the same arguments.

    device: "cpu", "cuda", ...; None: a GPU if k2 and torch have one. ConfigError when k2 is missing.
    """

    def __init__(
        self,
        graph: FstArrays,
        tid_to_pdf: np.ndarray,
        beam: float = 13.0,
        max_active: int = 7000,
        word_penalty: float = 0.0,
        device: str | None = None,
    ) -> None:
        self._graph = _K2Graph(graph, tid_to_pdf, word_penalty, True, device)
        self._beam, self._max_active = beam, max_active

    def decode(self, loglikes: np.ndarray, acoustic_scale: float, utterance_id: str = "utterance") -> Hypothesis:
        """As `Searcher.decode`; of incomplete paths, the best but for a cost of 1e-3."""
        graph, min_active = self._graph.arcs, min(MIN_ACTIVE, self._max_active - 1)
        bounds = (self._beam, _BEST_PATH_BEAM, min_active, self._max_active)
        found = self._graph.intersect(loglikes, acoustic_scale, bounds, utterance_id)
        path = self._graph.k2.shortest_path(found, use_double_scores=True).arc.cpu().numpy()
        if not len(path):
            raise no_path(utterance_id, len(loglikes))
        tids = graph.tid[path[:-1]]
        acoustic = loglikes[np.arange(len(tids)), self._graph.tid_to_pdf[tids]].sum(dtype=np.float64)
        cost = float(graph.cost[path].sum() - np.float32(acoustic_scale) * acoustic)
        return Hypothesis(graph.words(path), tids, cost, bool(graph.tid[path[-1]] == FINAL))


class K2LatticeSearcher(InGraph):
    """Does what `pyasr.decode.lattice_search.LatticeSearcher` does, with the same arguments.

    device: as for `K2Searcher`. Lattices hold the same paths in fewer arcs, since epsilons are part of the others.
    """

    def __init__(
        self,
        graph: FstArrays,
        tid_to_pdf: np.ndarray,
        beam: float = 13.0,
        lattice_beam: float = 8.0,
        max_density: int = 200,
        word_penalty: float = 0.0,
        device: str | None = None,
    ) -> None:
        self._graph = _K2Graph(graph, tid_to_pdf, word_penalty, False, device)
        self._beam, self._lattice_beam, self._max_density = beam, lattice_beam, max_density

    def lattice(self, loglikes: np.ndarray, acoustic_scale: float, utterance_id: str = "utterance") -> Lattice:
        """As `LatticeSearcher.lattice`."""
        graph, tid_to_pdf = self._graph.arcs, self._graph.tid_to_pdf
        bounds = (self._beam, self._lattice_beam, 0, min(graph.num_states, _MOST_ACTIVE))
        found = self._graph.intersect(loglikes, acoustic_scale, bounds, utterance_id)
        arcs = found.arc.cpu().numpy()
        source, dst = found.arcs.values()[:, :2].cpu().numpy().astype(np.int64).T
        tid, takes_frame = graph.tid[arcs], graph.tid[arcs] != FINAL
        acoustic = np.zeros(len(arcs), np.float32)
        acoustic[takes_frame] = loglikes[found.frame.cpu().numpy()[takes_frame], tid_to_pdf[tid[takes_frame]]]
        final = np.full(int(dst.max(initial=-1)) + 1, np.inf)
        final[-1:] = 0.0
        cost = graph.cost[arcs].astype(np.float32)
        raw = RawLattice(0, final, source, dst, tid.astype(np.int64), cost, -np.float32(acoustic_scale) * acoustic)
        return finished(raw if len(arcs) else None, tid_to_pdf, self._max_density, len(loglikes), utterance_id)


class _K2Graph:
    """A graph as k2 takes it. stops: paths may end anywhere, at `_INCOMPLETE_COST`."""

    def __init__(
        self, graph: FstArrays, tid_to_pdf: np.ndarray, word_penalty: float, stops: bool, device: str | None
    ) -> None:
        self.k2 = import_k2()
        check_graph(graph, tid_to_pdf)
        graph = add_word_penalty(graph, word_penalty) if word_penalty else graph
        self.arcs, self.tid_to_pdf = remove_epsilons(graph, stops), tid_to_pdf
        on_gpu = torch.cuda.is_available() and self.k2.with_cuda
        self._device = torch.device(device or ("cuda" if on_gpu else "cpu"))
        self._fsa = self._acceptor(self.arcs).to(self._device)

    def _acceptor(self, graph: EpsilonFree) -> Any:
        """The k2.Fsa: labels are columns of the log-likelihoods, -1 into the final state; attribute arc: numbers of
        arcs."""
        label = np.where(graph.tid > 0, self.tid_to_pdf[np.maximum(graph.tid, 0)], -1)
        costs = graph.cost + _INCOMPLETE_COST * (graph.tid == STOP)
        order = np.lexsort((label, graph.source))
        columns = (graph.source, graph.dst, label, (-costs).astype(np.float32).view(np.int32))
        fsa = self.k2.Fsa(torch.from_numpy(np.stack([column[order] for column in columns], axis=1).astype(np.int32)))
        fsa.arc = torch.from_numpy(order.astype(np.int32))
        return self.k2.create_fsa_vec([fsa])

    def intersect(
        self,
        loglikes: np.ndarray,
        acoustic_scale: float,
        bounds: tuple[float, float, int, int],
        utterance_id: str,
    ) -> Any:
        """The k2.Fsa of what survives, with attributes arc and frame. bounds: beam, beam of what is kept, smallest
        and largest number of states. DataError as for `Searcher.decode`."""
        check_loglikes(loglikes, self.tid_to_pdf[1:], utterance_id)
        scores = loglikes * np.float32(acoustic_scale)
        # What paths have in common would cost float32 the digits in which they differ.
        scores -= scores.max(axis=1, keepdims=True)
        whole = torch.tensor([[0, 0, len(scores)]], dtype=torch.int32)
        dense = self.k2.DenseFsaVec(torch.from_numpy(scores)[None].to(self._device), whole)
        return self.k2.intersect_dense_pruned(self._fsa, dense, *bounds, frame_idx_name="frame")
