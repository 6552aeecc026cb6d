"""Search that keeps more than the best path: lattices of senones (kaldi-decoder's LatticeSimpleDecoder)."""

from __future__ import annotations

import numpy as np
from kaldi_decoder import DecodableCtc, LatticeSimpleDecoder, LatticeSimpleDecoderConfig

from pyasr.base.errors import DataError
from pyasr.decode.raw_lattice import RawLattice, to_lattice
from pyasr.decode.search import InGraph, check_graph, check_loglikes, to_const
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.hclg import add_word_penalty
from pyasr.ops.lattice import Lattice


class LatticeSearcher(InGraph):
    """Makes lattices of utterances in one graph, which is held in memory as long as this object is.

    graph, tid_to_pdf, beam, word_penalty: as for `pyasr.decode.search.Searcher`. lattice_beam: cost; of what the
    search found, an arc is kept when a path with it is no more than this above the best. max_density: arcs a frame;
    where there are more, those of the best paths are kept. The search itself is bounded by its beam alone.
    DataError for a graph without a start state or with transition ids that the model does not have.
    """

    def __init__(
        self,
        graph: FstArrays,
        tid_to_pdf: np.ndarray,
        beam: float = 13.0,
        lattice_beam: float = 8.0,
        max_density: int = 200,
        word_penalty: float = 0.0,
    ) -> None:
        check_graph(graph, tid_to_pdf)
        self._fst = to_const(add_word_penalty(graph, word_penalty) if word_penalty else graph)
        self._tid_to_pdf, self._max_density = tid_to_pdf, max_density
        self._pdf_of_column = np.ascontiguousarray(tid_to_pdf[1:])
        self._options = LatticeSimpleDecoderConfig(beam=beam, lattice_beam=lattice_beam, determinize_lattice=False)

    def lattice(self, loglikes: np.ndarray, acoustic_scale: float, utterance_id: str = "utterance") -> Lattice:
        """The lattice for log-likelihoods (T, P) float32, natural log, times `acoustic_scale`.

        Its costs are those of the graph alone, word penalties included. DataError names the utterance: no frames, too
        few columns, values that are not finite, no complete path.
        """
        check_loglikes(loglikes, self._pdf_of_column, utterance_id)
        columns = loglikes.take(self._pdf_of_column, axis=1)
        columns *= np.float32(acoustic_scale)
        decoder = LatticeSimpleDecoder(self._fst, self._options)
        # A search that reached no final state would give all that was under way for complete.
        complete = decoder.decode(DecodableCtc(columns)) and np.isfinite(decoder.final_relative_cost())
        found, fst = decoder.get_raw_lattice() if complete else (False, None)
        raw = RawLattice.of(fst) if found else None
        return finished(raw, self._tid_to_pdf, self._max_density, len(loglikes), utterance_id)


def finished(
    raw: RawLattice | None, tid_to_pdf: np.ndarray, max_density: int, num_frames: int, utterance_id: str
) -> Lattice:
    """The lattice of what a search left; None: no complete path. DataError names the utterance."""
    if raw is None:
        raise DataError(
            f"{utterance_id}: empty lattice: no complete path survives {num_frames} frames; a larger beam may"
            " help, or the audio is too short"
        )
    try:
        return to_lattice(raw, tid_to_pdf, max_density * num_frames)
    except DataError as error:
        raise DataError(f"{utterance_id}: {error}") from error
