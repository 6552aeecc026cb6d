"""What recognisers return: words and their times."""

from __future__ import annotations

from dataclasses import dataclass

from pyasr.base.errors import DataError
from pyasr.decode.model_dir import NetworkModel
from pyasr.decode.search import Hypothesis
from pyasr.features.options import FRAME_SHIFT_S
from pyasr.lang.segments import phone_segments, split_into_words


@dataclass(frozen=True)
class TimedWord:
    """A recognised word; seconds from the beginning of the audio."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Transcript:
    """reached_final: False when the search ended in the middle of what the grammar allows."""

    words: tuple[TimedWord, ...]
    duration_s: float
    reached_final: bool

    @property
    def text(self) -> str:
        return " ".join(word.word for word in self.words)


def path_words(model: NetworkModel, found: Hypothesis, complete: bool, begin_s: float = 0.0) -> tuple[TimedWord, ...]:
    """The words of a path with the times of their phones on it. complete: False for a path that breaks off.

    begin_s: when its first frame begins.
    """
    words = [model.words.name(word_id) for word_id in found.word_ids]
    phones = model.phones
    pronunciations = [
        [tuple(map(phones.id, phone_names)) for phone_names in model.lexicon.pronunciations(word)] for word in words
    ]
    segments = phone_segments(found.tids, model.transitions)
    placed = split_into_words(segments, pronunciations, phones.silence_id, complete)
    if placed is None:
        raise DataError(f"{model.folder}: lexicon.txt and HCLG.fst do not belong together; run the decode stage again")
    frame_s = model.network.frontend.options.stack * FRAME_SHIFT_S
    return tuple(
        TimedWord(words[index], round(begin_s + start * frame_s, 3), round(begin_s + end * frame_s, 3))
        for index, start, end in placed
    )
