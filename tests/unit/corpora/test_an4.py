"""AN4: every audio format, the official split, the rotation; on small trees and, where it is, on AN4 itself."""

from collections import Counter

import numpy as np
import pytest
import soundfile

from pyasr.base.config import validate
from pyasr.base.errors import ConfigError, DataError
from pyasr.corpora import prepare_corpus, read_cuts
from pyasr.corpora.options import An4Options

PARTS = ("transcribed", "untranscribed", "dev", "test")


@pytest.fixture
def tree(tmp_path, write_audio):
    """24 speakers of five utterances: 20 in training, 4 in test."""
    root = tmp_path / "an4"
    (root / "etc").mkdir(parents=True)
    for part, folder, speakers in (("train", "an4_clstk", range(20)), ("test", "an4test_clstk", range(20, 24))):
        ids, texts = [], []
        for speaker in speakers:
            name = f"{'mf'[speaker % 2]}spk{speaker}"
            for index in range(5):
                utterance = f"an{index}-{name}-b"
                write_audio(root / "wav" / folder / name / f"{utterance}.flac")
                ids.append(f"{folder}/{name}/{utterance}")
                words = f"<s> YES NO </s> ({utterance})" if part == "train" else f"YES NO ({utterance})"
                texts.append(words)
        (root / "etc" / f"an4_{part}.fileids").write_text("\n".join(ids) + "\n")
        (root / "etc" / f"an4_{part}.transcription").write_text("\n".join(texts) + "\n")
    (root / "etc" / "an4.dic").write_text("YES  Y EH S\nNO\tN OW\nNO(2)  N AO\n")
    (root / "etc" / "an4.lm").write_text("\\data\\\n")
    return root


def _read(out_dir):
    return {part: list(read_cuts(out_dir / f"{part}.jsonl.gz")) for part in PARTS}


def _speakers(cuts):
    return {cut.supervisions[0].speaker for cut in cuts}


def test_official_split_of_a_small_tree(tree, tmp_path, serial):
    summary = prepare_corpus(An4Options(), tree, tmp_path / "out", 1, serial)
    parts = _read(tmp_path / "out")
    # 100 training utterances: a share of 100/948 is 10.5, and two speakers of five come nearest from below
    assert {part: len(cuts) for part, cuts in parts.items()} == {
        "transcribed": 90, "untranscribed": 0, "dev": 10, "test": 20,
    }  # fmt: skip
    assert all(cut.supervisions[0].text == "YES NO" for part in parts.values() for cut in part)
    assert len(_speakers(parts["dev"])) == 2 and not _speakers(parts["dev"]) & _speakers(parts["transcribed"])
    assert (tmp_path / "out" / "lexicon.txt").read_text() == "YES Y EH S\nNO N OW\nNO N AO\n"
    assert summary.skipped == []


@pytest.mark.parametrize("fold", [None, 0])
def test_synthetic_speech_is_untranscribed(tree, tmp_path, serial, fold):
    pytest.importorskip("espeakng_loader")
    options = {"fold": fold, "transcribed_speakers": 5}
    prepare_corpus(An4Options(**options), tree, tmp_path / "plain", 1, serial)
    summary = prepare_corpus(An4Options(**options, synthetic=15), tree, tmp_path / "out", 1, serial)
    plain, parts = _read(tmp_path / "plain"), _read(tmp_path / "out")
    added = parts["untranscribed"][len(plain["untranscribed"]) :]
    assert len(added) == 15 and len(_speakers(added)) == 2
    assert not _speakers(added) & _speakers(cut for part in plain.values() for cut in part)
    assert all(cut.supervisions[0].text is None and cut.load_audio().std() > 0.001 for cut in added)
    # All else is as without: no text of them is withheld either, so the topline does not hear them.
    for name in ("transcribed.jsonl.gz", "dev.jsonl.gz", "test.jsonl.gz", "withheld.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert "15 synthetic utterances added to the untranscribed part" in summary.notes
    assert "synthetic" not in An4Options().model_dump()


@pytest.mark.parametrize("suffix", ["raw", "sph", "wav"])
def test_other_audio_formats_give_the_same_samples(tree, tmp_path, serial, suffix):
    flac = tree / "wav" / "an4_clstk" / "mspk0" / "an0-mspk0-b.flac"
    expected, rate = soundfile.read(str(flac), dtype="int16")
    other = flac.with_suffix(f".{suffix}")
    if suffix == "raw":
        expected.astype(">i2").tofile(other)
    else:
        container = {"sph": "NIST", "wav": "WAV"}[suffix]
        soundfile.write(str(other), expected, rate, format=container, subtype="PCM_16")
    flac.unlink()
    prepare_corpus(An4Options(), tree, tmp_path / "out", 1, serial)
    cut = next(cut for cuts in _read(tmp_path / "out").values() for cut in cuts if cut.id == "an0-mspk0-b")
    assert cut.sampling_rate == 16000
    np.testing.assert_array_equal(np.round(cut.load_audio()[0] * 32768).astype(np.int16), expected)


def test_the_split_does_not_depend_on_the_seed(tree, tmp_path, serial):
    for seed in (1, 2):
        prepare_corpus(An4Options(), tree, tmp_path / str(seed), seed, serial)
    for part in PARTS:
        name = f"{part}.jsonl.gz"
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_a_fold_withholds_texts(tree, tmp_path, serial):
    prepare_corpus(An4Options(fold=0, transcribed_speakers=5), tree, tmp_path / "out", 1, serial)
    parts = _read(tmp_path / "out")
    assert {part: len(_speakers(cuts)) for part, cuts in parts.items()} == {
        "transcribed": 5, "untranscribed": 7, "dev": 8, "test": 4,
    }  # fmt: skip
    assert all(cut.supervisions[0].text is None for cut in parts["untranscribed"])
    withheld = (tmp_path / "out" / "withheld.jsonl").read_text()
    assert withheld.count("YES NO") == len(parts["untranscribed"]) == 35


def test_too_many_transcribed_speakers(tree, tmp_path, serial):
    with pytest.raises(ConfigError, match=r"transcribed_speakers = 30: a fold of 24 speakers has at most 12"):
        prepare_corpus(An4Options(fold=0, transcribed_speakers=30), tree, tmp_path / "out", 1, serial)


@pytest.mark.parametrize("fold", [-1, 7])
def test_unknown_fold(fold):
    with pytest.raises(ConfigError, match=r"recipe\.toml: fold: Input should be (less|greater)"):
        validate(An4Options, {"kind": "an4", "fold": fold}, "recipe.toml")


def test_transcript_without_an_id(tree, tmp_path, serial):
    path = tree / "etc" / "an4_train.transcription"
    path.write_text(path.read_text().replace("(an1-mspk0-b)", ""))
    with pytest.raises(DataError, match=r"an4_train\.transcription:2: no \(utterance id\) at the end"):
        prepare_corpus(An4Options(), tree, tmp_path / "out", 1, serial)


def test_missing_transcripts_and_audio_are_listed(tree, tmp_path, serial):
    path = tree / "etc" / "an4_test.transcription"
    path.write_text(path.read_text().replace("(an1-mspk20-b)", "(an9-mspk20-b)"))
    gone = tree / "wav" / "an4test_clstk" / "mspk20" / "an2-mspk20-b.flac"
    gone.unlink()
    summary = prepare_corpus(An4Options(), tree, tmp_path / "out", 1, serial)
    assert {row["id"]: row["reason"] for row in summary.skipped} == {
        "an1-mspk20-b": "no transcript: not in an4_test.transcription",
        "an9-mspk20-b": "transcript without audio: not in an4_test.fileids",
        "an2-mspk20-b": f"audio missing: {gone}",
    }
    assert [row["id"] for row in summary.skipped if row.get("part") == "test"] == ["an2-mspk20-b"]


def test_official_split_of_an4(an4_dir, tmp_path, serial):
    summary = prepare_corpus(An4Options(), an4_dir, tmp_path / "out", 1, serial)
    assert {part: row["utterances"] for part, row in summary.parts.items()} == {
        "transcribed": 848, "untranscribed": 0, "dev": 100, "test": 130,
    }  # fmt: skip
    parts = _read(tmp_path / "out")
    assert len(_speakers(parts["test"])) == 10
    assert sum(len(cut.supervisions[0].text.split()) for cut in parts["test"]) == 773
    assert not _speakers(parts["dev"]) & (_speakers(parts["transcribed"]) | _speakers(parts["test"]))


def test_rotation_of_an4(an4_dir, tmp_path, serial):
    tested, words = Counter(), 0
    for fold in range(7):
        summary = prepare_corpus(An4Options(fold=fold), an4_dir, tmp_path / "out", fold, serial)
        parts = _read(tmp_path / "out")
        assert {part: row["speakers"] for part, row in summary.parts.items()} == {
            "transcribed": 15, "untranscribed": 49, "dev": 8, "test": 12,
        }  # fmt: skip
        assert sum(name[0] == "f" for name in _speakers(parts["test"])) in (3, 4)
        tested.update(_speakers(parts["test"]))
        words += sum(len(cut.supervisions[0].text.split()) for cut in parts["test"])
    assert len(tested) == 84 and set(tested.values()) == {1}
    assert words == 6215
