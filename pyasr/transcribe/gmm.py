"""Whole recordings to words and their times with a Gaussian system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pyasr.align.sat import speaker_transform
from pyasr.base.errors import DataError
from pyasr.decode.model_dir import GmmModel
from pyasr.decode.part import Scales
from pyasr.decode.search import Hypothesis, Searcher
from pyasr.decode.tune import middle_scales
from pyasr.features.cmvn import cmvn_of
from pyasr.features.mfcc import compute_mfcc
from pyasr.features.options import FRAME_SHIFT_S
from pyasr.lang.alignment_graph import build_alignment_graph
from pyasr.lang.segments import word_segments
from pyasr.ops.viterbi import viterbi_align
from pyasr.transcribe.transcript import TimedWord, Transcript


class GmmRecogniser:
    """Holds a model and its decoding graph in memory."""

    def __init__(self, model: GmmModel) -> None:
        self._model = model
        self._searchers: dict[float, Searcher] = {}

    def transcribe(self, samples_by_name: Mapping[str, np.ndarray]) -> dict[str, Transcript | DataError]:
        """Recognise the recordings of one speaker: samples (n,) float32 at 16 kHz by name.

        The mean and variance that are normalised, and the transform of an adapted system, are estimated from
        these recordings alone. A recording that cannot be recognised gives its DataError; the others go on.
        """
        results: dict[str, Transcript | DataError] = {}
        mfcc = {}
        for name, samples in samples_by_name.items():
            mfcc[name] = compute_mfcc(samples, self._model.options.mfcc)
            if not len(mfcc[name]):
                results[name] = DataError(f"{name}: too short: {len(samples)} samples give no frame")
                del mfcc[name]
        if mfcc:
            results |= self._transcribe_speaker(mfcc, cmvn_of(mfcc.values()))
        return {name: results[name] for name in samples_by_name}

    def _transcribe_speaker(
        self, mfcc: Mapping[str, np.ndarray], cmvn: np.ndarray
    ) -> dict[str, Transcript | DataError]:
        transform = self._adapt(mfcc, cmvn) if self._model.options.fmllr else None
        results: dict[str, Transcript | DataError] = {}
        for name, found in self._search(mfcc, cmvn, transform, self._model.scales).items():
            results[name] = found
            if isinstance(found, Hypothesis):
                words = self._word_times(found, mfcc[name], cmvn, transform)
                results[name] = Transcript(words, len(mfcc[name]) * FRAME_SHIFT_S, found.reached_final)
        return results

    def _adapt(self, mfcc: Mapping[str, np.ndarray], cmvn: np.ndarray) -> np.ndarray | None:
        """The speaker's transform after two passes, as for a test part; None with too little speech."""
        options, transform = self._model.options, None
        for _ in range(2):
            found = self._search(mfcc, cmvn, transform, middle_scales(options.search))
            decoded = [(mfcc[name], cmvn, h.tids) for name, h in found.items() if isinstance(h, Hypothesis)]
            transform = speaker_transform(self._model.system, decoded, transform, options.fmllr)
        return transform

    def _search(
        self, mfcc: Mapping[str, np.ndarray], cmvn: np.ndarray, transform: np.ndarray | None, scales: Scales
    ) -> dict[str, Hypothesis | DataError]:
        searcher = self._searcher(scales.word_penalty)
        found: dict[str, Hypothesis | DataError] = {}
        for name, frames in mfcc.items():
            try:
                loglikes = self._model.system.loglikes(frames, cmvn, transform)
                found[name] = searcher.decode(loglikes, scales.acoustic_scale, name)
            except DataError as error:
                found[name] = error
        return found

    def _searcher(self, word_penalty: float) -> Searcher:
        if word_penalty not in self._searchers:
            self._searchers[word_penalty] = self._model.searcher(word_penalty)
        return self._searchers[word_penalty]

    def _word_times(
        self, found: Hypothesis, mfcc: np.ndarray, cmvn: np.ndarray, transform: np.ndarray | None
    ) -> tuple[TimedWord, ...]:
        system = self._model.system
        loglikes = system.loglikes(mfcc, cmvn, transform)
        words = [self._model.words.name(word_id) for word_id in found.word_ids]
        segments = self._align(words, loglikes)
        while words and not segments:
            # Only where the search reached no end: there is no audio for all of its last word.
            words.pop()
            segments = self._align(words, loglikes)
        return tuple(
            TimedWord(words[index], round(start * FRAME_SHIFT_S, 2), round(end * FRAME_SHIFT_S, 2))
            for index, start, end in segments
        )

    def _align(self, words: Sequence[str], loglikes: np.ndarray) -> list[tuple[int, int, int]]:
        """(word index, start frame, end frame) of each word; empty without a path."""
        system, options = self._model.system, self._model.options.align
        pronunciations = [
            [tuple(map(system.phones.id, phones)) for phones in self._model.lexicon.pronunciations(word)]
            for word in words
        ]
        graph = build_alignment_graph(
            pronunciations,
            system.transitions,
            system.context,
            system.phones.silence_id,
            options.silence_p,
            options.transition_scale,
        )
        (result,) = viterbi_align([graph], [loglikes], system.transitions.tid_to_pdf, options.acoustic_scale)
        return word_segments(graph.arc_word[result.arcs]) if result.ok else []
