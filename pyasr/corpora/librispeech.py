"""LibriSpeech (openslr 12) and Mini LibriSpeech (openslr 31), prepared by Lhotse.

--corpus-dir is the folder `LibriSpeech` or the one that holds it. The lexicon and the language model are the files
of openslr 11, in the corpus folder, beside it, or given in the options.

LibriSpeech: 100 h transcribed (train-clean-100), 860 h with the texts withheld (train-clean-360, train-other-500).
Mini LibriSpeech: train-clean-5 transcribed; it has one other part, dev-clean-2, whose speakers are halved in a
fixed order: dev and test.
"""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

from lhotse import MonoCut
from lhotse.recipes import prepare_librispeech

from pyasr.base.errors import ConfigError, DataError
from pyasr.corpora.manifest import Summary, write_corpus
from pyasr.corpora.options import LibrispeechOptions, MiniLibrispeechOptions
from pyasr.corpora.splits import hashed_order
from pyasr.corpora.text import copy_arpa, copy_lexicon, read_lines, require_dir

LEXICONS = ("librispeech-lexicon.txt",)
LMS = ("3-gram.pruned.1e-7.arpa.gz", "3-gram.pruned.1e-7.arpa")
_READERS = 8  # threads that read audio headers; the results do not depend on it


def prepare(
    options: LibrispeechOptions | MiniLibrispeechOptions,
    corpus_dir: Path | None,
    out_dir: Path,
    seed: int,
    executor: Executor,
) -> Summary:
    """Write the corpus folder `out_dir`; ConfigError says which folder or file is missing and where to get it."""
    corpus_dir = require_dir(corpus_dir, options.kind)
    if (corpus_dir / "LibriSpeech").is_dir():
        corpus_dir = corpus_dir / "LibriSpeech"
    skipped: list[dict[str, str]] = []
    if isinstance(options, MiniLibrispeechOptions):
        cuts = {"transcribed": _read_subsets(corpus_dir, ("train-clean-5",), "transcribed", skipped)}
        held_out = _read_subsets(corpus_dir, ("dev-clean-2",), "dev", skipped)
        order = hashed_order({_speaker(cut) for cut in held_out}, "mini-librispeech-dev")
        dev_speakers = set(order[: len(order) // 2])
        cuts["dev"] = [cut for cut in held_out if _speaker(cut) in dev_speakers]
        cuts["test"] = [cut for cut in held_out if _speaker(cut) not in dev_speakers]
    else:
        parts = ("transcribed", "untranscribed", "dev", "test")
        cuts = {part: _read_subsets(corpus_dir, getattr(options, part), part, skipped) for part in parts}
    copy_lexicon(_find(options.lexicon, corpus_dir, LEXICONS, "lexicon"), out_dir / "lexicon.txt")
    copy_arpa(_find(options.lm, corpus_dir, LMS, "lm"), out_dir / "lm.arpa")
    return write_corpus(out_dir, cuts, skipped=skipped)


def _speaker(cut: MonoCut) -> str:
    return cut.supervisions[0].speaker


def _read_subsets(
    corpus_dir: Path, names: tuple[str, ...], part: str, skipped: list[dict[str, str]]
) -> list[MonoCut]:
    cuts = []
    for name in names:
        if not (corpus_dir / name).is_dir():
            raise ConfigError(f"--corpus-dir {corpus_dir}: has no {name}; get it from openslr.org (12, or 31 for mini)")
        cuts += _read_subset(corpus_dir, name, part, skipped)
    return cuts


def _read_subset(corpus_dir: Path, name: str, part: str, skipped: list[dict[str, str]]) -> list[MonoCut]:
    """Cuts of one subset, sorted by id; utterances whose audio is missing go to `skipped`."""
    listed = _listed_utterances(corpus_dir / name)
    try:
        manifests = prepare_librispeech(corpus_dir, dataset_parts=name, num_jobs=_READERS)[name]
    except Exception as error:  # lhotse passes on whatever its decoders raise
        raise DataError(f"{corpus_dir / name}: Lhotse cannot read it: {error}") from error
    supervisions = {item.recording_id: item for item in manifests["supervisions"]}
    recordings = {item.id: item for item in manifests["recordings"]}
    cuts = []
    for utterance in sorted(listed):
        if utterance not in recordings:
            reason = f"audio missing: {utterance}.flac, listed in {listed[utterance]}"
            skipped.append({"id": utterance, "part": part, "reason": reason})
            continue
        recording, supervision = recordings[utterance], supervisions[utterance]
        supervision.text = " ".join(supervision.text.split())
        cuts.append(
            MonoCut(
                id=utterance,
                start=0.0,
                duration=recording.duration,
                channel=0,
                supervisions=[supervision],
                recording=recording,
            )
        )
    return cuts


def _listed_utterances(folder: Path) -> dict[str, Path]:
    """{utterance: the transcript file that lists it}, with the checks that Lhotse does not make."""
    listed: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.trans.txt")):
        for number, line in read_lines(path):
            name, _, text = line.strip().partition(" ")
            if not text.strip():
                raise DataError(f"{path}:{number}: utterance {name} has no transcript")
            if name in listed:
                raise DataError(f"{path}:{number}: utterance {name} appears twice, first in {listed[name]}")
            audio = path.parent / f"{name}.flac"
            if audio.is_file() and audio.stat().st_size == 0:
                raise DataError(f"{audio}: the file is empty; unpack the archive again")
            listed[name] = path
    if not listed:
        raise DataError(f"{folder}: has no *.trans.txt below it; unpack the archive again")
    return listed


def _find(given: Path | None, corpus_dir: Path, names: tuple[str, ...], option: str) -> Path:
    if given is not None:
        return corpus_dir / given  # an absolute path stays what it is
    for folder in (corpus_dir, corpus_dir.parent):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise ConfigError(
        f"--corpus-dir {corpus_dir}: no {names[0]} in it or beside it;"
        f" get it from openslr.org/11, or set corpus.{option}"
    )
