"""Example alignments: phones and words with their times, beside the true ones where a corpus has them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import CutSet, MonoCut

from pyasr.align.train import EmState
from pyasr.base.artifact import read_jsonl
from pyasr.base.errors import DataError
from pyasr.corpora.manifest import read_cuts
from pyasr.features.audio import load_samples
from pyasr.features.lfbe import compute_lfbe
from pyasr.features.options import FRAME_SHIFT_S
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import SILENCE
from pyasr.lang.segments import phone_segments

Segment = tuple[str, float, float]
"""name, start_s, end_s"""

SYSTEMS = ("sat", "lda", "tri", "mono")
"""The folders of EXP/gmm with alignments, the best first."""


@dataclass(frozen=True)
class Example:
    """frames: (T, D) log mel energies. true_phones: empty when the corpus does not tell."""

    cut_id: str
    speaker: str
    text: str
    system: str
    frames: np.ndarray
    words: list[Segment]
    phones: list[Segment]
    true_phones: list[Segment]


def alignment_examples(exp: Path, count: int = 3) -> list[Example]:
    """Up to `count` utterances of different speakers with the alignment of the best system; [] before there is one."""
    system = next((name for name in SYSTEMS if (exp / "gmm" / name / "alignments.npz").exists()), None)
    if system is None:
        return []
    trained = EmState.load_result(exp / "gmm" / system)
    phones = trained.system.phones
    lexicon = Lexicon.read(exp / "lang" / "lexicon.txt")
    true_phones = _true_phones(exp)
    examples = []
    for cut in _choose(read_cuts(exp / "data" / "transcribed.jsonl.gz"), trained.alignments, count):
        found = phone_segments(trained.alignments[cut.id], trained.system.transitions)
        timed = [(phone_id, start * FRAME_SHIFT_S, end * FRAME_SHIFT_S) for phone_id, start, end in found]
        text, speaker = cut.supervisions[0].text, cut.supervisions[0].speaker
        try:
            frames = compute_lfbe(load_samples(cut))
        except DataError:
            continue  # the audio was there when the features were made; the rest of the report does not need it
        # The lexicon has the phones with their places in the word; those are not for the picture.
        words = group_words([(phones.name(phone), *times) for phone, *times in timed], text.split(), lexicon)
        shown = [(phones.base(phone), *times) for phone, *times in timed]
        examples.append(Example(cut.id, speaker, text, system, frames, words, shown, true_phones.get(cut.id, [])))
    return examples


def group_words(phones: Sequence[Segment], words: Sequence[str], lexicon: Lexicon) -> list[Segment]:
    """Times of the words whose phones, in one of their pronunciations and with silence between, are `phones`.

    [] when they do not spell the words.
    """
    spoken = [segment for segment in phones if segment[0] != SILENCE]
    names = tuple(name for name, _, _ in spoken)

    def match(word: int, begin: int) -> list[Segment] | None:
        if word == len(words):
            return [] if begin == len(names) else None
        for pronunciation in lexicon.pronunciations(words[word]):
            end = begin + len(pronunciation)
            if names[begin:end] == pronunciation:
                rest = match(word + 1, end)
                if rest is not None:
                    return [(words[word], spoken[begin][1], spoken[end - 1][2]), *rest]
        return None

    return match(0, 0) or []


def _choose(cuts: CutSet, aligned: Container[str], count: int) -> list[MonoCut]:
    """Utterances of about two and a half seconds, each of another speaker."""
    chosen: dict[str, MonoCut] = {}
    for cut in sorted((cut for cut in cuts if cut.id in aligned), key=lambda cut: (abs(cut.duration - 2.5), cut.id)):
        if len(chosen) == count:
            break
        chosen.setdefault(cut.supervisions[0].speaker, cut)
    return list(chosen.values())


def _true_phones(exp: Path) -> dict[str, list[Segment]]:
    path = exp / "corpus" / "phone_times.jsonl"
    if not path.exists():
        return {}
    return {row["id"]: [(name, start_s, end_s) for name, start_s, end_s in row["phones"]] for row in read_jsonl(path)}
