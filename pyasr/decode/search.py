"""Search for the best word sequence in a decoding graph (kaldi-decoder's FasterDecoder: token passing with a beam)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import kaldifst
import numpy as np
from kaldi_decoder import DecodableCtc, FasterDecoder, FasterDecoderOptions

from pyasr.base.errors import DataError
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.hclg import add_word_penalty

MIN_ACTIVE = 20
_VALUES_AT_ONCE = 4_000_000
_NEVER = np.float32(-np.inf)  # log-likelihood of what must not be
_ALL = FasterDecoderOptions(beam=1e9, max_active=2**31 - 1, min_active=MIN_ACTIVE)


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


Made = TypeVar("Made", bound="InGraph")


class InGraph:
    """What searches in a graph: made of one, the model's tid_to_pdf and options of its own."""

    @classmethod
    def read(cls: type[Made], path: str | Path, tid_to_pdf: np.ndarray, *options: float) -> Made:
        """As the constructor, with the graph of a file; DataError names it."""
        graph = FstArrays.read(path)
        try:
            return cls(graph, tid_to_pdf, *options)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


class Searcher(InGraph):
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
        graph = add_word_penalty(graph, word_penalty) if word_penalty else graph
        self._fst = to_const(_with_end_arcs(graph, len(tid_to_pdf)))
        self._pdf_of_column = np.ascontiguousarray(tid_to_pdf[1:])
        self._options = FasterDecoderOptions(
            beam=beam, max_active=max_active, min_active=min(MIN_ACTIVE, max_active - 1)
        )

    def start(self, acoustic_scale: float, utterance_id: str = "utterance") -> Search:
        """Begin an utterance whose frames come bit by bit; log-likelihoods are multiplied with `acoustic_scale`."""
        return Search(self._fst, self._options, self._pdf_of_column, acoustic_scale, utterance_id)

    def decode(self, loglikes: np.ndarray, acoustic_scale: float, utterance_id: str = "utterance") -> Hypothesis:
        """Best path for log-likelihoods (T, P) float32, natural log, times `acoustic_scale`.

        DataError names the utterance: no frames, too few columns, values that are not finite, no surviving path.
        """
        search = self.start(acoustic_scale, utterance_id)
        search.advance(loglikes)
        return search.finish()


class Search:
    """The search of one utterance, made by `Searcher.start`.

    However the frames are divided, the result is the same: a decoder of its own for each utterance sees to it that
    what was pruned before does not change the order of its tokens.
    """

    def __init__(
        self,
        fst: kaldifst.StdConstFst,
        options: FasterDecoderOptions,
        pdf_of_column: np.ndarray,
        acoustic_scale: float,
        utterance_id: str,
    ) -> None:
        self._fst = fst  # the decoder has but a pointer to it
        self._decoder = FasterDecoder(fst, options)
        self._decoder.init_decoding()
        self._pdf_of_column = pdf_of_column
        self._acoustic_scale, self._utterance_id = np.float32(acoustic_scale), utterance_id
        self._num_frames = 0

    def advance(self, loglikes: np.ndarray) -> None:
        """Go on with the next frames (T, P) float32; DataError as in `Searcher.decode`, before any is taken."""
        check_loglikes(loglikes, self._pdf_of_column, self._utterance_id, self._num_frames)
        # One column a transition id; a block of frames at a time, because that is wide.
        width = len(self._pdf_of_column)
        block = max(1, _VALUES_AT_ONCE // (width + 1))
        for begin in range(0, len(loglikes), block):
            rows = loglikes[begin : begin + block]
            columns = np.full((len(rows), width + 1), _NEVER)
            np.multiply(rows.take(self._pdf_of_column, axis=1), self._acoustic_scale, out=columns[:, :width])
            self._take(columns)

    def best(self) -> Hypothesis:
        """The best path so far, wherever it is: what to show while more is to come. DataError where none survives."""
        found = self._path()
        if found is None:
            raise no_path(self._utterance_id, self._num_frames)
        return found

    def finish(self) -> Hypothesis:
        """The best complete path, or of those under way where none is complete. No frames may follow."""
        under_way = self.best()
        end = np.full((1, len(self._pdf_of_column) + 1), _NEVER)
        end[0, -1] = 0.0
        self._decoder.set_options(_ALL)  # every path that may end here
        self._take(end)
        return self._path() or under_way

    def _take(self, columns: np.ndarray) -> None:
        self._decoder.advance_decoding(DecodableCtc(columns, offset=self._num_frames))
        self._num_frames += len(columns)

    def _path(self) -> Hypothesis | None:
        found, path = self._decoder.get_best_path()
        linear, tids, word_ids, weight = kaldifst.get_linear_symbol_sequence(path) if found else (False, [], [], None)
        if not linear or len(tids) != self._num_frames:
            return None
        ended = bool(tids) and tids[-1] > len(self._pdf_of_column)
        cost = weight.value1 + weight.value2
        return Hypothesis(tuple(word_ids), np.array(tids[:-1] if ended else tids, np.int32), cost, ended)


def no_path(utterance_id: str, num_frames: int) -> DataError:
    """What to raise when nothing survives."""
    return DataError(
        f"{utterance_id}: no path through the decoding graph survives {num_frames} frames;"
        " a larger decode.beam may help, or the audio is too short"
    )


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


def check_loglikes(loglikes: np.ndarray, pdf_of_column: np.ndarray, utterance_id: str, first_frame: int = 0) -> None:
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
            f"{utterance_id}: the log-likelihoods of {int(bad.sum())} frames, from frame"
            f" {first_frame + int(bad.argmax())} on, are not finite; check the audio and the model"
        )


def _with_end_arcs(graph: FstArrays, label: int) -> FstArrays:
    """The same graph with one final state, which an arc with `label` leads to from each that was final.

    kaldi-decoder prefers paths that are complete to better ones under way whenever there are any; now there are none
    before a frame with this label has been taken.
    """
    finals = np.flatnonzero(np.isfinite(graph.final))
    ends, end = np.zeros(len(finals), np.int64), len(graph.final)
    return FstArrays.from_arcs(
        graph.start,
        np.append(np.full(end, np.inf), 0.0),
        {
            "source": np.concatenate([graph.source, finals]),
            "ilabel": np.concatenate([graph.ilabel, ends + label]),
            "olabel": np.concatenate([graph.olabel, ends]),
            "weight": np.concatenate([graph.weight, graph.final[finals]]),
            "nextstate": np.concatenate([graph.nextstate, ends + end]),
        },
    )


def to_const(graph: FstArrays) -> kaldifst.StdConstFst:
    """The graph as the decoders take it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.fst"
        graph.write(path)
        return kaldifst.StdConstFst.read(str(path))
