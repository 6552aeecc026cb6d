"""The corpus folder's files: reproducible, read back equal, and refused when damaged."""

import gzip

import pytest

from pyasr.base.artifact import read_jsonl
from pyasr.base.errors import DataError
from pyasr.corpora.manifest import Utterance, make_cuts, read_cuts, write_corpus, write_cuts


@pytest.fixture
def cuts(tmp_path, write_audio, serial):
    paths = [write_audio(tmp_path / f"{name}.wav") for name in ("a", "b")]
    cuts, skipped = make_cuts([Utterance(path.stem, "anna", "YES NO", path) for path in paths], serial)
    assert not skipped
    return cuts


def test_cuts_come_back_equal_and_equal_cuts_are_equal_files(tmp_path, cuts):
    write_cuts(tmp_path / "one.jsonl.gz", cuts)
    write_cuts(tmp_path / "two.jsonl.gz", read_cuts(tmp_path / "one.jsonl.gz"))
    assert list(read_cuts(tmp_path / "two.jsonl.gz")) == cuts
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


def test_no_cuts_are_a_valid_file(tmp_path):
    write_cuts(tmp_path / "none.jsonl.gz", [])
    assert len(read_cuts(tmp_path / "none.jsonl.gz")) == 0


def test_untranscribed_texts_are_withheld(tmp_path, cuts):
    summary = write_corpus(tmp_path / "out", {"untranscribed": cuts})
    assert b"YES" not in gzip.decompress((tmp_path / "out" / "untranscribed.jsonl.gz").read_bytes())
    assert read_jsonl(tmp_path / "out" / "withheld.jsonl") == [
        {"id": "a", "text": "YES NO"},
        {"id": "b", "text": "YES NO"},
    ]
    assert summary.parts["untranscribed"] == {"utterances": 2, "speakers": 1, "hours": round(2 / 3600, 4)}


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.jsonl\.gz: missing"):
        read_cuts(tmp_path / "nowhere.jsonl.gz")


def test_a_cut_short_manifest_is_damaged(tmp_path, cuts):
    path = tmp_path / "cuts.jsonl.gz"
    write_cuts(path, cuts)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cuts\.jsonl\.gz: damaged"):
        read_cuts(path)


@pytest.mark.parametrize("line", ["not json", '{"type": "MonoCut"}', '{"id": 1}', "[]"])
def test_a_line_that_is_no_cut_is_named(tmp_path, line):
    path = tmp_path / "cuts.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"cuts\.jsonl:1: not a Lhotse cut"):
        read_cuts(path)


def test_segments_are_trimmed_to_the_file_but_not_by_much(tmp_path, write_audio, serial):
    path = write_audio(tmp_path / "long.wav", 2.0)
    pieces = [
        Utterance("rounded", "anna", "YES", path, 1.0, 1.01),
        Utterance("beyond", "anna", "YES", path, 1.0, 1.5),
        Utterance("after", "anna", "YES", path, 2.01, 0.005),
    ]
    cuts, skipped = make_cuts(pieces, serial)
    assert [(cut.id, cut.start, cut.end) for cut in cuts] == [("rounded", 1.0, 2.0)]
    assert [row["id"] for row in skipped] == ["beyond", "after"]
    assert skipped[0]["reason"] == f"segment beyond the end: it ends at 2.50 s, {path} lasts 2.00 s"
