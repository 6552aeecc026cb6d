"""Any Lhotse CutSets (.jsonl, .jsonl.gz) with a user's lexicon and ARPA language model.

A cut is one channel of one recording with one supervision that has a speaker. Cuts are taken over as they are,
but their supervision gets the cut's id, and texts of the untranscribed part are withheld. Audio paths that are
not absolute are looked for below --corpus-dir, then below the current folder.
"""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

from lhotse import MonoCut

from pyasr.base.errors import DataError
from pyasr.corpora.manifest import PARTS, Summary, read_cuts, write_corpus
from pyasr.corpora.options import ManifestsOptions
from pyasr.corpora.text import copy_arpa, copy_lexicon, find_audio, require_dir


def prepare(
    options: ManifestsOptions, corpus_dir: Path | None, out_dir: Path, seed: int, executor: Executor
) -> Summary:
    """Write the corpus folder `out_dir`; DataError names manifest and cut of what cannot be used."""
    corpus_dir = require_dir(corpus_dir, "manifests")
    cuts_by_part = {}
    for part in PARTS:
        name = getattr(options, part)
        if name is not None:
            path = corpus_dir / name
            cuts_by_part[part] = [_take_over(cut, path, corpus_dir) for cut in read_cuts(path)]
    copy_lexicon(corpus_dir / options.lexicon, out_dir / "lexicon.txt")
    copy_arpa(corpus_dir / options.lm, out_dir / "lm.arpa")
    return write_corpus(out_dir, cuts_by_part)


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
