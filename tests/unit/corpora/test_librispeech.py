"""LibriSpeech and Mini LibriSpeech on small trees of the same shape, with the real phone set and a pruned trigram."""

import gzip

import pytest

from pyasr.base.errors import ConfigError, DataError
from pyasr.corpora import PARTS, prepare_corpus, read_cuts, validate_cuts
from pyasr.corpora.options import LibrispeechOptions, MiniLibrispeechOptions, ValidationOptions

# Words that together use all 39 phones, vowels with their stress digits, as librispeech-lexicon.txt writes them.
LEXICON = """A\tAH0
A\tEY1
FATHER\tF AA1 DH ER0
CAT\tK AE1 T
THOUGHT\tTH AO1 T
COW\tK AW1
HIDE\tHH AY1 D
CHURCH\tCH ER1 CH
BED\tB EH1 D
GIVING\tG IH1 V IH0 NG
JUDGES\tJH AH1 JH IH0 Z
EAGLE\tIY1 G AH0 L
MOTION\tM OW1 SH AH0 N
POINT\tP OY1 N T
RULE\tR UW1 L
SHOULD\tSH UH1 D
VISION\tV IH1 ZH AH0 N
WITH\tW IH1 DH
YES\tY EH1 S
ZOO\tZ UW1
"""
WORDS = [line.split()[0] for line in LEXICON.splitlines()]
TRIGRAM = """\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1.0\t</s>
-99\t<s>\t-0.3
-0.7\tYES\t-0.3
-0.7\tWITH\t-0.3
-0.7\tCAT

\\2-grams:
-0.4\t<s> YES\t-0.2
-0.4\tYES WITH
-0.4\tWITH CAT

\\3-grams:
-0.1\t<s> YES WITH

\\end\\
"""
SUBSETS = ("train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "test-clean")
MINI = ("train-clean-5", "dev-clean-2")


@pytest.fixture
def tree(tmp_path, write_audio):
    """Every subset with four speakers of two chapters with three utterances; the openslr 11 files beside it."""
    root = tmp_path / "corpus"
    for number, subset in enumerate(SUBSETS + MINI):
        for speaker in range(4):
            name = str(100 * (number + 1) + speaker)
            for chapter in ("7", "8"):
                folder = root / "LibriSpeech" / subset / name / chapter
                lines = []
                for index in range(3):
                    utterance = f"{name}-{chapter}-{index:04d}"
                    write_audio(folder / f"{utterance}.flac", 1.0)
                    lines.append(f"{utterance} {' '.join(WORDS[index : index + 3])}")
                (folder / f"{name}-{chapter}.trans.txt").write_text("\n".join(lines) + "\n")
    (root / "librispeech-lexicon.txt").write_text(LEXICON)
    (root / "3-gram.pruned.1e-7.arpa.gz").write_bytes(gzip.compress(TRIGRAM.encode()))
    return root


def _prepare(tree, serial, options):
    return prepare_corpus(options, tree, tree.parent / "out", 1, serial)


def test_the_lexicon_has_the_real_phone_set():
    phones = {phone.rstrip("012") for line in LEXICON.splitlines() for phone in line.split("\t")[1].split()}
    assert len(phones) == 39


def test_librispeech(tree, serial):
    summary = _prepare(tree, serial, LibrispeechOptions())
    assert [row["utterances"] for row in summary.parts.values()] == [24, 48, 24, 24]
    out = tree.parent / "out"
    cuts = {part: read_cuts(out / f"{part}.jsonl.gz") for part in PARTS}
    assert cuts["test"]["500-7-0001"].supervisions[0].text == "A FATHER CAT"
    assert cuts["test"]["500-7-0001"].supervisions[0].speaker == "500"
    assert all(cut.supervisions[0].text is None for cut in cuts["untranscribed"])
    assert len((out / "withheld.jsonl").read_text().splitlines()) == 48
    assert (out / "lm.arpa").read_text() == TRIGRAM
    known = {line.split()[0] for line in (out / "lexicon.txt").read_text().splitlines()}
    validated = validate_cuts(cuts, known, ValidationOptions(skip_limit=0), serial)
    assert validated.notes == [] and validated.skips.count == 0


def test_mini_librispeech(tree, serial):
    summary = _prepare(tree, serial, MiniLibrispeechOptions())
    assert [row["utterances"] for row in summary.parts.values()] == [24, 0, 12, 12]
    assert [row["speakers"] for row in summary.parts.values()] == [4, 0, 2, 2]


def test_the_inner_folder_works_too(tree, serial):
    summary = _prepare(tree / "LibriSpeech", serial, MiniLibrispeechOptions())
    assert summary.parts["transcribed"]["utterances"] == 24


def test_a_missing_subset(tree, serial):
    (tree / "LibriSpeech" / "dev-clean-2").rename(tree / "elsewhere")
    with pytest.raises(ConfigError, match=r"LibriSpeech: has no dev-clean-2; get it from openslr"):
        _prepare(tree, serial, MiniLibrispeechOptions())


def test_a_missing_lexicon(tree, serial):
    (tree / "librispeech-lexicon.txt").rename(tree / "words.txt")
    with pytest.raises(ConfigError, match=r"no librispeech-lexicon\.txt in it or beside it.*set corpus\.lexicon"):
        _prepare(tree, serial, MiniLibrispeechOptions())
    _prepare(tree, serial, MiniLibrispeechOptions(lexicon=tree / "words.txt"))


def test_missing_audio_is_listed(tree, serial):
    folder = tree / "LibriSpeech" / "test-clean" / "500" / "7"
    (folder / "500-7-0001.flac").unlink()
    summary = _prepare(tree, serial, LibrispeechOptions())
    reason = f"audio missing: 500-7-0001.flac, listed in {folder / '500-7.trans.txt'}"
    assert summary.skipped == [{"id": "500-7-0001", "part": "test", "reason": reason}]


def test_a_line_without_a_transcript(tree, serial):
    path = tree / "LibriSpeech" / "train-clean-5" / "600" / "7" / "600-7.trans.txt"
    path.write_text("600-7-0000\n")
    with pytest.raises(DataError, match=r"600-7\.trans\.txt:1: utterance 600-7-0000 has no transcript"):
        _prepare(tree, serial, MiniLibrispeechOptions())


def test_an_archive_that_was_not_unpacked_whole(tree, serial):
    audio = tree / "LibriSpeech" / "train-clean-5" / "600" / "7" / "600-7-0000.flac"
    audio.write_bytes(audio.read_bytes()[:20])
    with pytest.raises(DataError, match=r"train-clean-5: Lhotse cannot read it"):
        _prepare(tree, serial, MiniLibrispeechOptions())
    audio.write_bytes(b"")
    with pytest.raises(DataError, match=r"600-7-0000\.flac: the file is empty"):
        _prepare(tree, serial, MiniLibrispeechOptions())
