"""Kaldi data directories: whole recordings, segments, untranscribed parts; broken files with file and line."""

import numpy as np
import pytest

from pyasr.base.errors import ConfigError, DataError
from pyasr.corpora import prepare_corpus, read_cuts
from pyasr.corpora.options import KaldiDirOptions


def _prepare(tree, serial, **options):
    return prepare_corpus(KaldiDirOptions(**options), tree, tree.parent / "out", 1, serial)


def _replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_whole_recordings(kaldi_tree, serial):
    summary = _prepare(kaldi_tree, serial)
    assert {part: row["utterances"] for part, row in summary.parts.items()} == {
        "transcribed": 9, "untranscribed": 0, "dev": 9, "test": 9,
    }  # fmt: skip
    cut = read_cuts(kaldi_tree.parent / "out" / "transcribed.jsonl.gz")["train1-2"]
    assert (cut.supervisions[0].text, cut.supervisions[0].speaker, cut.duration) == ("STOP", "train1", 1.0)
    assert (kaldi_tree.parent / "out" / "lm.arpa").read_text() == (kaldi_tree / "lm.arpa").read_text()


def test_segments(kaldi_tree, serial):
    names = [f"train{speaker}-{index}" for speaker in range(3) for index in range(3)]
    (kaldi_tree / "train" / "segments").write_text("".join(f"{name} {name[:-1]}0 0.25 0.75\n" for name in names))
    _prepare(kaldi_tree, serial)
    cuts = read_cuts(kaldi_tree.parent / "out" / "transcribed.jsonl.gz")
    whole = cuts["train0-0"].recording.load_audio()[0]
    np.testing.assert_array_equal(cuts["train0-1"].load_audio()[0], whole[4000:12000])
    assert cuts["train0-1"].supervisions[0].duration == 0.5


def test_an_untranscribed_part_may_have_texts_or_not(kaldi_tree, serial):
    (kaldi_tree / "dev").rename(kaldi_tree / "more")
    options = {"untranscribed": "more", "dev": "test"}
    assert _prepare(kaldi_tree, serial, **options).parts["untranscribed"]["utterances"] == 9
    withheld = kaldi_tree.parent / "out" / "withheld.jsonl"
    assert len(withheld.read_text().splitlines()) == 9
    (kaldi_tree / "more" / "text").unlink()
    assert _prepare(kaldi_tree, serial, **options).parts["untranscribed"]["utterances"] == 9
    assert withheld.read_text() == ""


def test_a_pipe_is_refused(kaldi_tree, serial):
    _replace(kaldi_tree / "dev" / "wav.scp", "dev0-1 audio/dev0-1.wav", "dev0-1 sph2pipe -f wav x.sph |")
    with pytest.raises(DataError, match=r"dev/wav\.scp:2: recording dev0-1 is a pipe \('sph2pipe -f wav x.sph \|'\)"):
        _prepare(kaldi_tree, serial)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train0-0 train0-0 0.1", r"segments:1: expected 4 fields, got 'train0-0 train0-0 0\.1'"),
        ("train0-0 train0-0 zero 0.5", r"segments:1: start and end of train0-0 are not numbers"),
        ("train0-0 train0-0 0.5 0.2", r"segments:1: train0-0 starts at 0\.5 s and ends at 0\.2 s"),
        ("train0-0 train0-0 nan 0.2", r"segments:1: train0-0 starts at nan s"),
        ("train0-0 nowhere 0.1 0.5", r"segments:1: recording nowhere is not in .*train/wav\.scp"),
    ],
)
def test_bad_segments_line(kaldi_tree, serial, line, reason):
    (kaldi_tree / "train" / "segments").write_text(line + "\n")
    with pytest.raises(DataError, match=reason):
        _prepare(kaldi_tree, serial)


@pytest.mark.parametrize("file", ["wav.scp", "text", "utt2spk"])
def test_missing_file(kaldi_tree, serial, file):
    (kaldi_tree / "test" / file).unlink()
    with pytest.raises(DataError, match=rf"test/{file}: missing"):
        _prepare(kaldi_tree, serial)


@pytest.mark.parametrize("file", ["wav.scp", "text", "utt2spk"])
def test_duplicate_id(kaldi_tree, serial, file):
    path = kaldi_tree / "train" / file
    first = path.read_text().splitlines()[0]
    path.write_text(path.read_text() + first + "\n")
    with pytest.raises(DataError, match=rf"train/{file}:10: train0-0 appears twice, first in line 1"):
        _prepare(kaldi_tree, serial)


def test_utterance_without_a_speaker(kaldi_tree, serial):
    _replace(kaldi_tree / "train" / "utt2spk", "train1-1 train1\n", "")
    with pytest.raises(DataError, match=r"train/utt2spk: no line for utterance train1-1"):
        _prepare(kaldi_tree, serial)


def test_text_that_is_not_utf8(kaldi_tree, serial):
    (kaldi_tree / "train" / "text").write_bytes(b"train0-0 \xff\xfe\n")
    with pytest.raises(DataError, match=r"train/text: not UTF-8 .* at byte 9"):
        _prepare(kaldi_tree, serial)


def test_transcripts_and_audio_without_each_other_are_listed(kaldi_tree, serial):
    _replace(kaldi_tree / "train" / "text", "train0-1 ", "train0-9 ")
    summary = _prepare(kaldi_tree, serial)
    assert summary.skipped == [
        {"part": "transcribed", "id": "train0-1", "reason": f"no transcript: not in {kaldi_tree / 'train' / 'text'}"},
        {
            "part": "transcribed",
            "id": "train0-9",
            "reason": f"transcript without audio: not in {kaldi_tree / 'train' / 'wav.scp'}",
        },
    ]


def test_wrong_corpus_dir(kaldi_tree, serial):
    with pytest.raises(ConfigError, match=r"--corpus-dir .*/nowhere: no such folder"):
        _prepare(kaldi_tree / "nowhere", serial)
    with pytest.raises(DataError, match=r"audio/train: no such folder"):
        prepare_corpus(KaldiDirOptions(), kaldi_tree / "audio", kaldi_tree.parent / "out", 1, serial)
    with pytest.raises(ConfigError, match=r"corpus 'kaldi_dir' needs --corpus-dir DIR"):
        prepare_corpus(KaldiDirOptions(), None, kaldi_tree.parent / "out", 1, serial)


def test_missing_lexicon_and_lm(kaldi_tree, serial):
    with pytest.raises(DataError, match=r"lexicon .*/words\.txt: missing"):
        _prepare(kaldi_tree, serial, lexicon="words.txt")
    with pytest.raises(DataError, match=r"language model .*/big\.arpa: missing"):
        _prepare(kaldi_tree, serial, lm="big.arpa")
