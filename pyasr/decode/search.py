"""Search for the best word sequence in a decoding graph (kaldi-decoder's FasterDecoder: token passing with a beam)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import kaldifst
import numpy as np
from kaldi_decoder import DecodableCtc, FasterDecoder, FasterDecoderOptions

from pyasr.base.errors import DataError
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.hclg import add_word_penalty

_MIN_ACTIVE = 20
_VALUES_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Hypothesis:
    """The best path of an utterance.

    word_ids: ids of the word table. tids: int32 (T,) transition ids. cost: graph and word penalties minus scaled
    log-likelihoods; without a final cost unless reached_final. reached_final: False when no complete path survived,
    and this is the best that was under way.
    """

    word_ids: tuple[int, ...]
    tids: np.ndarray
    cost: float
    reached_final: bool


class Searcher:
    """Decodes utterances in one graph, which is held in memory as long as this object is.

    graph: input labels are transition ids (1-based, one a frame) or 0, output labels word ids.
    tid_to_pdf: int32 (num_tids + 1,), column of the log-likelihoods of each transition id; entry 0 is not used.
    beam: cost; paths this far above the best of their frame are dropped. max_active: states kept a frame.
    word_penalty: cost added for each word (positive: fewer words).
    DataError for a graph without a start state or with transition ids that the model does not have.
    """

    def __init__(
        self,
        graph: FstArrays,
        tid_to_pdf: np.ndarray,
        beam: float = 13.0,
        max_active: int = 7000,
        word_penalty: float = 0.0,
    ) -> None:
        check_graph(graph, tid_to_pdf)
        self._fst = to_const(add_word_penalty(graph, word_penalty) if word_penalty else graph)
        self._pdf_of_column = np.ascontiguousarray(tid_to_pdf[1:])
        self._options = FasterDecoderOptions(
            beam=beam, max_active=max_active, min_active=min(_MIN_ACTIVE, max_active - 1)
        )

    @classmethod
    def read(
        cls, path: str | Path, tid_to_pdf: np.ndarray, beam: float, max_active: int, word_penalty: float = 0.0
    ) -> Searcher:
        """A searcher in the graph of a file; DataError names it."""
        graph = FstArrays.read(path)
        try:
            return cls(graph, tid_to_pdf, beam, max_active, word_penalty)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def decode(self, loglikes: np.ndarray, acoustic_scale: float, utterance_id: str = "utterance") -> Hypothesis:
        """Best path for log-likelihoods (T, P) float32, natural log, times `acoustic_scale`.

        DataError names the utterance: no frames, too few columns, values that are not finite, no surviving path.
        """
        check_loglikes(loglikes, self._pdf_of_column, utterance_id)
        # A decoder of its own for each utterance: what it pruned before must not change the order of its tokens.
        decoder = FasterDecoder(self._fst, self._options)
        decoder.init_decoding()
        # One column a transition id; a block of frames at a time, because that is wide.
        block = max(1, _VALUES_AT_ONCE // max(1, len(self._pdf_of_column)))
        for begin in range(0, len(loglikes), block):
            columns = loglikes[begin : begin + block].take(self._pdf_of_column, axis=1)
            columns *= np.float32(acoustic_scale)
            decoder.advance_decoding(DecodableCtc(columns, offset=begin))
        reached_final = decoder.reached_final()
        found, path = decoder.get_best_path()
        linear, tids, word_ids, weight = kaldifst.get_linear_symbol_sequence(path) if found else (False, [], [], None)
        if not linear or len(tids) != len(loglikes):
            raise DataError(
                f"{utterance_id}: no path through the decoding graph survives {len(loglikes)} frames;"
                " a larger decode.beam may help, or the audio is too short"
            )
        cost = weight.value1 + weight.value2
        return Hypothesis(tuple(word_ids), np.array(tids, np.int32), cost, reached_final)


def check_graph(graph: FstArrays, tid_to_pdf: np.ndarray) -> None:
    """DataError for a graph without a start state or with transition ids that the model does not have."""
    largest = int(graph.ilabel.max(initial=0))
    if graph.start < 0:
        raise DataError("the decoding graph is empty; build it again")
    # The decoders read likelihoods without checking bounds.
    if largest >= len(tid_to_pdf) or int(graph.ilabel.min(initial=0)) < 0:
        raise DataError(
            f"the decoding graph has transition id {largest}, the model {len(tid_to_pdf) - 1}:"
            " they do not belong together; build the graph again"
        )


def check_loglikes(loglikes: np.ndarray, pdf_of_column: np.ndarray, utterance_id: str) -> None:
    """DataError names the utterance: no frames, too few columns, values that are not finite."""
    if loglikes.ndim != 2 or len(loglikes) == 0:
        raise DataError(f"{utterance_id}: no frames to decode (log-likelihoods of shape {loglikes.shape})")
    if loglikes.shape[1] <= pdf_of_column.max(initial=-1):
        raise DataError(
            f"{utterance_id}: log-likelihoods of {loglikes.shape[1]} pdfs, the transition model needs"
            f" {pdf_of_column.max() + 1}: model and graph do not belong together"
        )
    bad = ~np.isfinite(loglikes).all(axis=1)
    if bad.any():
        raise DataError(
            f"{utterance_id}: the log-likelihoods of {int(bad.sum())} frames, from frame {int(bad.argmax())} on,"
            " are not finite; check the audio and the model"
        )


def to_const(graph: FstArrays) -> kaldifst.StdConstFst:
    """The graph as the decoders take it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.fst"
        graph.write(path)
        return kaldifst.StdConstFst.read(str(path))
