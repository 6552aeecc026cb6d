"""A part in a folder of manifests: names, parts, and rewriting one at a time."""

import pytest

from pyasr.base.errors import DataError
from pyasr.base.executor import make_executor
from pyasr.corpora import prepare_corpus, read_cuts, write_cuts
from pyasr.corpora.options import KaldiDirOptions, ManifestsOptions
from pyasr.corpora.shards import manifest_names, part_of, rewrite


def test_parts_are_named_after_manifests(tmp_path):
    for name in ("b.0001.jsonl.gz", "a.jsonl", "notes.txt"):
        (tmp_path / name).write_text("")
    assert manifest_names(tmp_path) == ["a.jsonl", "b.0001.jsonl.gz"]
    assert [part_of(name) for name in manifest_names(tmp_path)] == ["a", "b_0001"]


def test_folders_that_cannot_be(tmp_path):
    with pytest.raises(DataError, match="cannot be listed"):
        manifest_names(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no manifests"):
        manifest_names(tmp_path)
    for name in ("a.1.jsonl", "a_1.jsonl.gz"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"a\.1\.jsonl and a_1\.jsonl\.gz would both be part a_1; rename one"):
        manifest_names(tmp_path)


def _halve(path):
    cuts = list(read_cuts(path))
    return cuts[::2], [{"id": cut.id, "reason": "odd"} for cut in cuts[1::2]]


def test_manifests_are_rewritten_one_by_one(kaldi_tree, serial, tmp_path):
    prepare_corpus(KaldiDirOptions(), kaldi_tree, tmp_path / "made", 1, serial)
    cuts = list(read_cuts(tmp_path / "made" / "transcribed.jsonl.gz"))
    for number in range(3):
        write_cuts(tmp_path / "many" / f"{number}.jsonl.gz", cuts[3 * number : 3 * number + 3])
    size = rewrite(tmp_path / "many", tmp_path / "half", _halve, serial, "halving")
    assert (size.utterances, len(size.skips)) == (6, 3) and size.hours == pytest.approx(6 / 3600)
    assert [len(read_cuts(tmp_path / "half" / f"{number}.jsonl.gz")) for number in range(3)] == [2, 2, 2]
    assert manifest_names(tmp_path / "half") == ["0.jsonl.gz", "1.jsonl.gz", "2.jsonl.gz"]


def test_who_was_killed_goes_on_with_what_is_not_done(kaldi_tree, serial, tmp_path):
    prepare_corpus(KaldiDirOptions(), kaldi_tree, tmp_path / "made", 1, serial)
    cuts = list(read_cuts(tmp_path / "made" / "transcribed.jsonl.gz"))
    for number in range(3):
        write_cuts(tmp_path / "many" / f"{number}.jsonl.gz", cuts[3 * number : 3 * number + 3])
    read = []

    def killed_at_the_third(path):
        read.append(path.name)
        if read == ["0.jsonl.gz", "1.jsonl.gz", "2.jsonl.gz"]:
            raise KeyboardInterrupt
        return _halve(path)

    arguments = (tmp_path / "many", tmp_path / "half", killed_at_the_third, serial, "halving")
    with pytest.raises(KeyboardInterrupt):
        rewrite(*arguments)
    size = rewrite(*arguments)
    assert read[3:] == ["2.jsonl.gz"] and size.utterances == 6 and [row["id"] for row in size.skips] == [
        cut.id for cut in cuts[1::3]
    ]


def test_an_untranscribed_folder_is_taken_over_without_texts(kaldi_tree, serial, tmp_path):
    source = tmp_path / "made"
    prepare_corpus(KaldiDirOptions(), kaldi_tree, source, 1, serial)
    copies = [cut.with_id(f"new-{cut.id}") for cut in read_cuts(source / "dev.jsonl.gz")]
    write_cuts(source / "many" / "x.jsonl.gz", copies)
    with make_executor("processes:1") as executor:
        summary = prepare_corpus(ManifestsOptions(untranscribed="many"), source, tmp_path / "out", 1, executor)
    assert summary.parts["untranscribed"]["utterances"] == 9
    assert len(read_cuts(tmp_path / "out" / "untranscribed.jsonl.gz")) == 0
    cuts = list(read_cuts(tmp_path / "out" / "untranscribed" / "x.jsonl.gz"))
    assert len(cuts) == 9 and all(cut.supervisions[0].text is None for cut in cuts)
