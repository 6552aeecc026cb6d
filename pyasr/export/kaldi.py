"""Features, alignments and posteriors as Kaldi archives, through kaldi-native-io.

A wspecifier is Kaldi's: ark:feats.ark, ark,t:ali.txt (text), ark,scp:feats.ark,feats.scp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyasr.align.alignments import load_alignments
from pyasr.align.senones import Senones
from pyasr.align.system import GmmSystem
from pyasr.base.errors import ConfigError, DataError
from pyasr.export.extra import load
from pyasr.features.archive import FeatureArchive
from pyasr.lang.transitions import TransitionModel
from pyasr.targets import PosteriorStore


def write_features(folder: str | Path, wspecifier: str) -> int:
    """The (T, D) float32 matrices of a `FeatureArchive` as Kaldi's float matrices; how many."""
    archive = FeatureArchive.open(folder)
    return _write("FloatMatrixWriter", wspecifier, ((cut_id, np.array(archive[cut_id])) for cut_id in archive))


def write_alignments(path: str | Path, wspecifier: str, system: str | Path | None = None, what: str = "pdfs") -> int:
    """The int32 (T,) vectors of an .npz of alignments; how many.

    system: folder of the GMM system or senones whose transition ids they are (they are numbered in another way than
    Kaldi's); `what` is then written, "pdfs" or "phones". Without one, as they are: targets of networks are senones.
    """
    alignments = load_alignments(path)
    if system is not None:
        table = _table(_transitions(Path(system)), what)
        for cut_id, tids in alignments.items():
            if len(tids) and not 1 <= tids.min() <= tids.max() < len(table):
                raise DataError(f"{path}: {cut_id} was aligned by another system than {system}")
        alignments = {cut_id: table[tids] for cut_id, tids in alignments.items()}
    return _write("Int32VectorWriter", wspecifier, ((cut_id, row.tolist()) for cut_id, row in alignments.items()))


def write_posteriors(folder: str | Path, wspecifier: str) -> int:
    """The k highest posteriors of a `PosteriorStore` as Kaldi's posteriors, pairs of senone and probability.

    They are normalised over all senones, so a frame's pairs sum to less than 1. How many utterances.
    """
    store = PosteriorStore.open(folder)
    return _write("PosteriorWriter", wspecifier, ((cut_id, _pairs(*store.frames(cut_id))) for cut_id in store))


def _pairs(ids: torch.Tensor, logp: torch.Tensor) -> list[list[tuple[int, float]]]:
    return [list(zip(*frame)) for frame in zip(ids.tolist(), logp.exp().tolist())]


def _transitions(system: Path) -> TransitionModel:
    return (Senones if (system / "senones.json").exists() else GmmSystem).load(system).transitions


def _table(transitions: TransitionModel, what: str) -> np.ndarray:
    tables = {"pdfs": transitions.tid_to_pdf, "phones": transitions.tid_to_phone}
    if what not in tables:
        raise ConfigError(f"--as {what}: there are {', '.join(tables)}")
    return tables[what]


def _write(writer: str, wspecifier: str, rows: Iterable[tuple[str, Any]]) -> int:
    kaldi = load("kaldi_native_io")
    kind, colon, files = wspecifier.partition(":")
    if not colon or kind.split(",")[0] not in ("ark", "scp"):
        raise ConfigError(f"{wspecifier!r} is no wspecifier; write ark:FILE, ark,t:FILE or ark,scp:ARK,SCP")
    for file in map(Path, files.split(",")):
        if not file.parent.is_dir():
            raise DataError(f"{file}: no such folder; make it first")
    count = 0
    try:
        with getattr(kaldi, writer)(wspecifier) as table:
            for cut_id, value in _with_keys(rows):
                table.write(cut_id, value)
                count += 1
    except RuntimeError as error:  # what the library raises for what it cannot open or write
        raise DataError(f"{wspecifier}: kaldi-native-io cannot write it ({error})") from error
    return count


def _with_keys(rows: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for cut_id, value in rows:
        if not cut_id or any(character.isspace() for character in cut_id):
            raise DataError(f"utterance {cut_id!r}: a Kaldi archive has no keys with spaces; rename the utterance")
        yield cut_id, value
