"""Kaldi data directories with a user's lexicon and ARPA language model: a new corpus without code.

A part is a folder with wav.scp, utt2spk, text (not needed for the untranscribed part) and segments where the
utterances are pieces of longer recordings. Audio is a file that libsndfile reads (wav, flac, ogg, ...), mono. An
audio path that is not absolute is looked for below --corpus-dir, then below the current folder.

A pipe in wav.scp is a shell command taken from a data file: it is refused, always.
"""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

from pyasr.base.errors import DataError
from pyasr.corpora.manifest import Summary, Utterance, make_parts, write_corpus
from pyasr.corpora.options import KaldiDirOptions
from pyasr.corpora.text import copy_arpa, copy_lexicon, find_audio, read_lines, require_dir


def prepare(
    options: KaldiDirOptions, corpus_dir: Path | None, out_dir: Path, seed: int, executor: Executor
) -> Summary:
    """Write the corpus folder `out_dir`; DataError names file and line of what cannot be read."""
    corpus_dir = require_dir(corpus_dir, "kaldi_dir")
    utterances: dict[str, list[Utterance]] = {}
    skipped: list[dict[str, str]] = []
    for part in ("transcribed", "untranscribed", "dev", "test"):
        folder = getattr(options, part)
        if folder is not None:
            utterances[part], rows = read_data_dir(corpus_dir / folder, corpus_dir, needs_text=part != "untranscribed")
            skipped += [{"part": part, **row} for row in rows]
    cuts, unread = make_parts(utterances, executor)
    copy_lexicon(corpus_dir / options.lexicon, out_dir / "lexicon.txt")
    copy_arpa(corpus_dir / options.lm, out_dir / "lm.arpa")
    return write_corpus(out_dir, cuts, skipped=skipped + unread)


def read_data_dir(
    folder: Path, corpus_dir: Path, needs_text: bool = True
) -> tuple[list[Utterance], list[dict[str, str]]]:
    """Utterances of a Kaldi data directory in its own order, and skip rows {"id", "reason"}.

    An utterance without a line in text, or with a line in text and no audio, is a skip; broken lines, missing
    files, ids that appear twice and utterances without a speaker are errors.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    recordings = _read_wav_scp(folder / "wav.scp", corpus_dir)
    pieces = _read_segments(folder / "segments", recordings)
    texts = _read_table(folder / "text") if needs_text or (folder / "text").is_file() else {}
    speakers = {name: value for name, (_, value) in _read_table(folder / "utt2spk", fields=1).items()}
    utterances, skipped = [], []
    for name, (recording, start_s, duration_s) in pieces.items():
        if name not in speakers:
            raise DataError(f"{folder / 'utt2spk'}: no line for utterance {name}; every utterance needs a speaker")
        if needs_text and name not in texts:
            skipped.append({"id": name, "reason": f"no transcript: not in {folder / 'text'}"})
            continue
        text = " ".join(texts[name][1].split()) if name in texts else None
        audio = recordings[recording]
        utterances.append(Utterance(name, speakers[name], text, audio, start_s, duration_s, recording))
    where = folder / ("segments" if (folder / "segments").is_file() else "wav.scp")
    lost = [name for name in texts if name not in pieces]
    skipped += [{"id": name, "reason": f"transcript without audio: not in {where}"} for name in lost]
    return utterances, skipped


def _read_table(path: Path, fields: int | None = None) -> dict[str, tuple[int, str]]:
    """{first field: (line number, rest of the line)}; `fields` None: a rest that may be empty or of any length."""
    table: dict[str, tuple[int, str]] = {}
    for number, line in read_lines(path):
        name, _, rest = line.strip().partition(" ") if "\t" not in line else line.strip().partition("\t")
        rest = rest.strip()
        if fields is not None and len(rest.split()) != fields:
            raise DataError(f"{path}:{number}: expected {fields + 1} fields, got {line.strip()!r}")
        if name in table:
            raise DataError(f"{path}:{number}: {name} appears twice, first in line {table[name][0]}")
        table[name] = (number, rest)
    return table


def _read_wav_scp(path: Path, corpus_dir: Path) -> dict[str, Path]:
    recordings = {}
    for name, (number, rest) in _read_table(path).items():
        if not rest:
            raise DataError(f"{path}:{number}: recording {name} has no path")
        if rest.endswith("|") or rest.startswith("|"):
            raise DataError(
                f"{path}:{number}: recording {name} is a pipe ({rest!r}); pyasr does not run commands from data"
                " files: run it once yourself, write a wav or flac file, and put its path here"
            )
        recordings[name] = find_audio(rest, corpus_dir)
    return recordings


def _read_segments(path: Path, recordings: dict[str, Path]) -> dict[str, tuple[str, float, float | None]]:
    """{utterance: (recording, start_s, duration_s)}; without a segments file each recording is an utterance."""
    if not path.is_file():
        return {name: (name, 0.0, None) for name in recordings}
    pieces: dict[str, tuple[str, float, float | None]] = {}
    for name, (number, rest) in _read_table(path, fields=3).items():
        recording, *times = rest.split()
        try:
            start_s, end_s = (float(time) for time in times)
        except ValueError as error:
            raise DataError(f"{path}:{number}: start and end of {name} are not numbers: {rest!r}") from error
        if not 0 <= start_s < end_s < float("inf"):
            raise DataError(f"{path}:{number}: {name} starts at {start_s:g} s and ends at {end_s:g} s")
        if recording not in recordings:
            raise DataError(f"{path}:{number}: recording {recording} is not in {path.with_name('wav.scp')}")
        pieces[name] = (recording, start_s, end_s - start_s)
    return pieces
