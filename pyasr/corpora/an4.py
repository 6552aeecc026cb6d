"""CMU AN4 ("Census") in its official layout: etc/an4_{train,test}.{fileids,transcription}, etc/an4.{dic,lm}.

Audio is whichever of .flac, .wav, .sph, .raw is there (.raw: big-endian int16, 16 kHz, no header).

Official split (`fold` unset): the official test set; dev is the set of whole training speakers with 100
utterances together (of all such sets the first in a fixed hashed order), and the other 848 are transcribed.

Rotation (`fold` 0 to 6): all speakers of both official parts are pooled. Sorted by stratum (sex, official
part) and dealt out in turn, they make 7 test sets of 12 that every seed shares; of the remaining 72, in a fixed
order per fold balanced over the sexes, the first 8 are dev, the next `transcribed_speakers` are transcribed (so
5 < 10 < 15 < 30 nest), and the texts of the rest are withheld. A name's first letter tells the sex.

Either way synthetic speech can be added to the untranscribed part: what it brings tells what speech of another kind,
or more of it, would.
"""

from __future__ import annotations

import re
import shutil
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import soundfile

from pyasr.base.artifact import atomic_path
from pyasr.base.errors import ConfigError, DataError
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.corpora.manifest import Summary, Utterance, make_cuts, write_corpus
from pyasr.corpora.options import An4Options, DemoPart
from pyasr.corpora.splits import rotation_fold, speakers_summing_to
from pyasr.corpora.text import copy_lexicon, read_lines, require_dir

NUM_FOLDS = 7
DEV_SPEAKERS = 8
_UTTERANCES_OF_A_SPEAKER = 13  # as AN4 has them
_DEV_SHARE = 100 / 948  # of the official training utterances
_SUFFIXES = (".flac", ".wav", ".sph", ".raw")
_TRANSCRIPT = re.compile(r"^(?P<text>.*?)\s*\((?P<id>[^()\s]+)\)\s*$")


def prepare(
    options: An4Options, corpus_dir: Path | None, out_dir: Path, seed: int, executor: Executor
) -> Summary:
    """Write the AN4 corpus folder `out_dir`; every seed sees the same split, but for synthetic speech."""
    corpus_dir = require_dir(corpus_dir, "an4", "etc/an4_train.fileids", "wav")
    notes: list[str] = []
    skipped: list[dict[str, str]] = []
    train = _read_part(corpus_dir, "train", skipped)
    test = _read_part(corpus_dir, "test", skipped)
    utterances = _convert(train + test, out_dir / "audio", executor, notes)
    parts = _official_split(train, test) if options.fold is None else _rotation(train, test, options)
    if options.synthetic:
        added = _synthetic(options.synthetic, out_dir / "audio" / "synthetic", seed, executor)
        utterances = [*utterances, *added]
        parts.setdefault("untranscribed", set()).update(item.id for item in added)
        notes.append(f"{len(added)} synthetic utterances added to the untranscribed part")
    cuts, unread = make_cuts(utterances, executor)
    skipped += unread
    copy_lexicon(corpus_dir / "etc" / "an4.dic", out_dir / "lexicon.txt")
    with atomic_path(out_dir / "lm.arpa") as temporary:
        shutil.copyfile(corpus_dir / "etc" / "an4.lm", temporary)
    by_part = {part: [cut for cut in cuts if cut.id in ids] for part, ids in parts.items()}
    part_of = {name: part for part, ids in parts.items() for name in ids}
    rows = [{"part": part_of[row["id"]], **row} if row["id"] in part_of else row for row in skipped]
    return write_corpus(out_dir, by_part, skipped=rows, notes=notes)


def _read_part(corpus_dir: Path, part: str, skipped: list[dict[str, str]]) -> list[Utterance]:
    """Utterances of an official part in the order of its fileids; those without transcript go to `skipped`."""
    texts = _read_transcripts(corpus_dir / "etc" / f"an4_{part}.transcription")
    ids_path = corpus_dir / "etc" / f"an4_{part}.fileids"
    utterances: dict[str, Utterance] = {}
    for number, line in read_lines(ids_path):
        file_id = line.strip()
        name, speaker = file_id.rsplit("/", 1)[-1], file_id.split("/")[-2:-1]
        if not speaker or ".." in file_id.split("/"):
            raise DataError(f"{ids_path}:{number}: expected FOLDER/SPEAKER/UTTERANCE, got {file_id!r}")
        if name in utterances:
            raise DataError(f"{ids_path}:{number}: utterance {name} appears twice")
        if name not in texts:
            skipped.append({"id": name, "reason": f"no transcript: not in an4_{part}.transcription"})
            continue
        utterances[name] = Utterance(name, speaker[0], texts[name], _find_audio(corpus_dir / "wav" / file_id))
    for name in texts.keys() - utterances.keys():
        skipped.append({"id": name, "reason": f"transcript without audio: not in an4_{part}.fileids"})
    return list(utterances.values())


def _read_transcripts(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, line in read_lines(path):
        match = _TRANSCRIPT.match(line)
        if match is None:
            raise DataError(f"{path}:{number}: no (utterance id) at the end: {line.strip()!r}")
        if match["id"] in texts:
            raise DataError(f"{path}:{number}: utterance {match['id']} appears twice")
        texts[match["id"]] = " ".join(word for word in match["text"].split() if word not in ("<s>", "</s>"))
    return texts


def _find_audio(stem: Path) -> Path:
    # Not with_suffix: an id may hold a dot. A missing file is called .flac and reported with the headers.
    candidates = [stem.parent / (stem.name + suffix) for suffix in _SUFFIXES]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _convert(
    utterances: list[Utterance], folder: Path, executor: Executor, notes: list[str]
) -> list[Utterance]:
    """Re-code .raw and .sph losslessly to FLAC below `folder`: Lhotse reads neither by itself."""
    foreign = [utterance for utterance in utterances if utterance.audio.suffix in (".raw", ".sph")]
    if not foreign:
        return utterances
    jobs = [(folder, job) for job in split_jobs(foreign, 32)]
    converted = dict(
        pair for job in run_jobs(executor, _convert_files, jobs, "re-coding audio to FLAC") for pair in job
    )
    notes.append(f"{len(foreign)} raw or sphere files re-coded to FLAC")
    return [
        Utterance(item.id, item.speaker, item.text, converted.get(item.id, item.audio)) for item in utterances
    ]


def _convert_files(job: tuple[Path, list[Utterance]]) -> list[tuple[str, Path]]:
    folder, utterances = job
    converted = []
    for utterance in utterances:
        try:
            if utterance.audio.suffix == ".raw":
                samples, rate = np.fromfile(utterance.audio, dtype=">i2").astype(np.int16), 16000
            else:
                samples, rate = soundfile.read(str(utterance.audio), dtype="int16")
        except (soundfile.LibsndfileError, OSError):
            continue  # keeps its path: the header check names the file and the reason
        if not len(samples):
            continue
        path = folder / utterance.speaker / f"{utterance.id}.flac"
        with atomic_path(path) as temporary:
            soundfile.write(str(temporary), samples, rate, format="FLAC", subtype="PCM_16")
        converted.append((utterance.id, path))
    return converted


def _official_split(train: list[Utterance], test: list[Utterance]) -> dict[str, set[str]]:
    counts: dict[str, int] = {}
    for utterance in train:
        counts[utterance.speaker] = counts.get(utterance.speaker, 0) + 1
    dev_speakers = set(speakers_summing_to(counts, round(_DEV_SHARE * len(train)), "an4-dev"))
    return {
        "transcribed": {item.id for item in train if item.speaker not in dev_speakers},
        "dev": {item.id for item in train if item.speaker in dev_speakers},
        "test": {item.id for item in test},
    }


def _synthetic(count: int, folder: Path, seed: int, executor: Executor) -> list[Utterance]:
    from pyasr.corpora.demo import synthesise_untranscribed  # only here: it needs an optional extra

    size = DemoPart(speakers=-(-count // _UTTERANCES_OF_A_SPEAKER), utterances=count)
    return synthesise_untranscribed(size, folder, seed, executor)


def _rotation(train: list[Utterance], test: list[Utterance], options: An4Options) -> dict[str, set[str]]:
    strata = {item.speaker: f"{item.speaker[0]} train" for item in train}
    strata.update({item.speaker: f"{item.speaker[0]} test" for item in test})
    largest = len(strata) - -(-len(strata) // NUM_FOLDS) - DEV_SPEAKERS
    if options.transcribed_speakers > largest:
        raise ConfigError(
            f"corpus.transcribed_speakers = {options.transcribed_speakers}: a fold of {len(strata)} speakers"
            f" has at most {max(largest, 0)} to transcribe"
        )
    fold = rotation_fold(
        strata, options.fold, NUM_FOLDS, DEV_SPEAKERS, options.transcribed_speakers, group=lambda name: name[0]
    )
    everyone = train + test
    return {
        part: {item.id for item in everyone if item.speaker in set(getattr(fold, part))}
        for part in ("transcribed", "untranscribed", "dev", "test")
    }
