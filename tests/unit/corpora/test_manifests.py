"""Lhotse CutSets as a corpus."""

import pytest

from pyasr.base.errors import DataError
from pyasr.corpora import prepare_corpus, read_cuts, write_cuts
from pyasr.corpora.options import KaldiDirOptions, ManifestsOptions


@pytest.fixture
def folder(kaldi_tree, serial):
    """A folder of manifests with relative audio paths, lexicon and language model."""
    root = kaldi_tree.parent / "manifests"
    prepare_corpus(KaldiDirOptions(), kaldi_tree, root, 1, serial)
    for part in ("transcribed", "dev", "test"):
        cuts = list(read_cuts(root / f"{part}.jsonl.gz"))
        for cut in cuts:
            cut.supervisions[0].id = "sup-" + cut.id
            cut.recording.sources[0].source = f"audio/{cut.id}.wav"
        write_cuts(root / f"{part}.jsonl.gz", cuts)
    (kaldi_tree / "audio").rename(root / "audio")
    return root


def _prepare(folder, serial, **options):
    return prepare_corpus(ManifestsOptions(**options), folder, folder.parent / "out", 1, serial)


def test_cuts_are_taken_over(folder, serial):
    summary = _prepare(folder, serial)
    assert [row["utterances"] for row in summary.parts.values()] == [9, 0, 9, 9]
    cut = read_cuts(folder.parent / "out" / "test.jsonl.gz")["test2-0"]
    assert cut.supervisions[0].id == "test2-0"
    assert cut.load_audio().shape == (1, 16000)


def test_untranscribed_texts_are_withheld(folder, serial):
    (folder / "dev.jsonl.gz").rename(folder / "more.jsonl.gz")
    summary = _prepare(folder, serial, untranscribed="more.jsonl.gz", dev="test.jsonl.gz")
    assert summary.parts["untranscribed"]["utterances"] == 9
    cuts = read_cuts(folder.parent / "out" / "untranscribed.jsonl.gz")
    assert all(cut.supervisions[0].text is None for cut in cuts)


def test_a_missing_manifest(folder, serial):
    with pytest.raises(DataError, match=r"nowhere\.jsonl\.gz: missing"):
        _prepare(folder, serial, dev="nowhere.jsonl.gz")


def test_a_cut_without_a_speaker(folder, serial):
    cuts = list(read_cuts(folder / "dev.jsonl.gz"))
    cuts[1].supervisions[0].speaker = None
    write_cuts(folder / "dev.jsonl.gz", cuts)
    with pytest.raises(DataError, match=r"dev\.jsonl\.gz: cut dev0-1 has no speaker"):
        _prepare(folder, serial)


def test_a_cut_with_two_supervisions(folder, serial):
    cuts = list(read_cuts(folder / "dev.jsonl.gz"))
    cuts[1].supervisions = cuts[1].supervisions * 2
    write_cuts(folder / "dev.jsonl.gz", cuts)
    with pytest.raises(DataError, match=r"cut dev0-1 has 2 supervisions, not one"):
        _prepare(folder, serial)


def test_a_cut_that_is_a_mixture(folder, serial):
    cuts = read_cuts(folder / "dev.jsonl.gz")
    write_cuts(folder / "dev.jsonl.gz", [cuts["dev0-0"].pad(2.0).with_id("mixture")])
    with pytest.raises(DataError, match=r"cut mixture is not one channel of one recording"):
        _prepare(folder, serial)
