"""Example alignments: names and times of phones and words from a stored alignment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import Recording, SupervisionSegment

from pyasr.align.frontend import Frontend
from pyasr.align.gmm import DiagGmm
from pyasr.align.system import GmmSystem
from pyasr.align.train import EmState
from pyasr.base.artifact import write_jsonl
from pyasr.corpora.manifest import write_cuts
from pyasr.lang.context import MonophoneContext
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel
from pyasr.report.examples import alignment_examples, group_words

LEXICON = Lexicon({"A": [("AH",), ("EY",)], "B": [("B", "IY")], "AB": [("AH", "B")], "E": [("IY",)]})


def segments(text: str) -> list[tuple[str, float, float]]:
    return [(name, float(i), float(i + 1)) for i, name in enumerate(text.split())]


def test_group_words() -> None:
    phones = segments("SIL EY SIL B IY IY SIL")
    assert group_words(phones, ["A", "B", "E"], LEXICON) == [("A", 1.0, 2.0), ("B", 3.0, 5.0), ("E", 5.0, 6.0)]


def test_group_words_tries_alternatives() -> None:
    lexicon = Lexicon({"X": [("AH",), ("AH", "B")], "Y": [("B", "IY"), ("IY",)]})
    assert group_words(segments("AH B IY"), ["X", "Y"], lexicon) == [("X", 0.0, 1.0), ("Y", 1.0, 3.0)]
    assert group_words(segments("AH B B IY"), ["X", "Y"], lexicon) == [("X", 0.0, 2.0), ("Y", 2.0, 4.0)]


@pytest.mark.parametrize("phones, words", [("AH B", ["A"]), ("AH", ["A", "A"]), ("B", ["A"]), ("", ["A"])])
def test_phones_that_do_not_spell_the_words(phones: str, words: list[str]) -> None:
    assert group_words(segments(phones), words, LEXICON) == []


def test_no_words() -> None:
    assert group_words(segments("SIL"), [], LEXICON) == []


def monophones(lexicon: Lexicon, word_positions: bool) -> GmmSystem:
    phones = PhoneTable.from_pronunciations((phones for _, phones in lexicon), word_positions)
    topology = Topology()
    context = MonophoneContext(phones, topology)
    gmm = DiagGmm.single(np.zeros((context.num_pdfs, 39)), np.ones((context.num_pdfs, 39)))
    return GmmSystem(phones, topology, context, TransitionModel.build(phones, topology, context), Frontend(), gmm)


def tids(system: GmmSystem, phones: str, frames_each: int) -> np.ndarray:
    """Every phone lasts `frames_each` frames, all but two in its last state."""
    ids: list[int] = []
    for name in phones.split():
        first, second, last = system.transitions.entry_tids((system.phones.id(name),), system.context)
        ids += [first, second, last] + [last + 1] * (frames_each - 3)
    return np.array(ids, np.int32)


@pytest.fixture(params=[False, True], ids=["phones", "phones with their places in the word"])
def trained(request, tmp_path: Path) -> Path:
    """Two aligned utterances of different speakers, and one without alignment."""
    lexicon = LEXICON.with_word_positions() if request.param else LEXICON
    spoken = "SIL AH_S B_B IY_E SIL" if request.param else "SIL AH B IY SIL"
    system, cuts, alignments = monophones(lexicon, request.param), [], {}
    for number in range(3):
        path = tmp_path / f"utt-{number}.wav"
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(16000), 16000)
        cut = Recording.from_file(path, recording_id=f"utt-{number}").to_cut()
        cut.id = f"utt-{number}"
        supervision = SupervisionSegment(cut.id, cut.id, 0.0, cut.duration, text="A B", speaker=f"spk{number}")
        cut.supervisions.append(supervision)
        cuts.append(cut)
        if number < 2:
            alignments[cut.id] = tids(system, spoken, 20)
    exp = tmp_path / "exp"
    EmState(system, alignments, []).save_result(exp / "gmm" / "mono")
    lexicon.write(exp / "lang" / "lexicon.txt")
    write_cuts(exp / "data" / "transcribed.jsonl.gz", cuts)
    write_jsonl(exp / "corpus" / "phone_times.jsonl", [{"id": "utt-0", "phones": [["AH", 0.21, 0.4]]}])
    return exp


def test_examples(trained: Path) -> None:
    examples = alignment_examples(trained)
    assert [example.cut_id for example in examples] == ["utt-0", "utt-1"]
    first = examples[0]
    assert (first.speaker, first.text, first.system, first.frames.shape) == ("spk0", "A B", "mono", (100, 64))
    names = [name for name, _, _ in first.phones]
    times = [(start, end) for _, start, end in first.phones]
    assert names == "SIL AH B IY SIL".split()
    np.testing.assert_allclose(times, [(0.2 * i, 0.2 * i + 0.2) for i in range(5)], atol=1e-9)
    assert [(word, round(start, 2), round(end, 2)) for word, start, end in first.words] == [
        ("A", 0.2, 0.4),
        ("B", 0.4, 0.8),
    ]
    assert first.true_phones == [("AH", 0.21, 0.4)] and examples[1].true_phones == []


def test_count(trained: Path) -> None:
    assert len(alignment_examples(trained, count=1)) == 1


def test_audio_gone(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "utt-0.wav").unlink()
    assert [example.cut_id for example in alignment_examples(trained)] == ["utt-1"]


def test_nothing_trained(tmp_path: Path) -> None:
    assert alignment_examples(tmp_path) == []
