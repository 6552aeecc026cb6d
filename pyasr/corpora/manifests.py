"""Any Lhotse CutSets (.jsonl, .jsonl.gz) with a user's lexicon and ARPA language model.

A cut is one channel of one recording with one supervision that has a speaker. Cuts are taken over as they are,
but their supervision gets the cut's id, and texts of the untranscribed part are withheld. That part may be a folder of
manifests, of any number and size: none of what follows holds more than a few of them in memory. Audio paths that are
not absolute are looked for below --corpus-dir, then below the current folder.
"""

from __future__ import annotations

from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from lhotse import MonoCut

from pyasr.base.errors import DataError
from pyasr.corpora.manifest import PARTS, Summary, iterate_cuts, read_cuts, withhold_texts, write_corpus
from pyasr.corpora.options import ManifestsOptions
from pyasr.corpora.shards import SkipRows, rewrite
from pyasr.corpora.text import copy_arpa, copy_lexicon, find_audio, require_dir


def prepare(
    options: ManifestsOptions, corpus_dir: Path | None, out_dir: Path, seed: int, executor: Executor
) -> Summary:
    """Write the corpus folder `out_dir`; DataError names manifest and cut of what cannot be used."""
    corpus_dir = require_dir(corpus_dir, "manifests")
    paths = {part: corpus_dir / getattr(options, part) for part in PARTS if getattr(options, part) is not None}
    many = paths.pop("untranscribed", None)
    if many is not None and not many.is_dir():
        paths["untranscribed"], many = many, None
    cuts_by_part = {
        part: [_take_over(cut, path, corpus_dir) for cut in read_cuts(path)] for part, path in paths.items()
    }
    copy_lexicon(corpus_dir / options.lexicon, out_dir / "lexicon.txt")
    copy_arpa(corpus_dir / options.lm, out_dir / "lm.arpa")
    summary = write_corpus(out_dir, cuts_by_part)
    if many is not None:
        taken_over = partial(_take_over_all, corpus_dir)
        size = rewrite(many, out_dir / "untranscribed", taken_over, executor, "reading manifests")
        summary.parts["untranscribed"] |= {"utterances": size.utterances, "hours": round(size.hours, 4)}
    return summary


def _take_over_all(corpus_dir: Path, path: Path) -> tuple[list[MonoCut], SkipRows]:
    """Those of a manifest of untranscribed speech. Texts are dropped: nobody could hold those of so many."""
    return withhold_texts(_take_over(cut, path, corpus_dir) for cut in iterate_cuts(path))[0], []


def _take_over(cut: MonoCut, path: Path, corpus_dir: Path) -> MonoCut:
    if not isinstance(cut, MonoCut) or cut.recording is None:
        raise DataError(f"{path}: cut {cut.id} is not one channel of one recording; split it first")
    if len(cut.supervisions) != 1:
        raise DataError(
            f"{path}: cut {cut.id} has {len(cut.supervisions)} supervisions, not one;"
            " use CutSet.trim_to_supervisions(keep_overlapping=False)"
        )
    supervision = cut.supervisions[0]
    if not supervision.speaker:
        raise DataError(f"{path}: cut {cut.id} has no speaker; set the supervision's speaker")
    supervision.id = cut.id
    if supervision.text is not None:
        supervision.text = " ".join(supervision.text.split())
    for source in cut.recording.sources:
        if source.type == "file":
            source.source = str(find_audio(source.source, corpus_dir))
    return cut
