"""The command line of pyasr.transcribe."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pyasr.base.errors import DataError, PyasrError
from pyasr.decode.model_dir import load_model
from pyasr.transcribe.audio import read_audio
from pyasr.transcribe.recogniser import Recogniser, Transcript

app = typer.Typer(add_completion=False)

_HELP = """Print the words of audio files, one line a file: name, tab, words.

Example: python -m pyasr.transcribe --model exp/demo/decode/tri_sat hello.wav

Any file that libsndfile reads (WAV, FLAC, OGG, MP3, NIST sphere), of any rate from 8 kHz and up to 10 minutes long; \
several channels are averaged. The model only knows the words of its lexicon, and hears best what is like its \
training speech.

Each file is taken as a speaker of its own: mean and variance are normalised, and the transform of a speaker-adapted \
model (tri_sat), are estimated from the file itself, so a few words alone are recognised less well. Give \
--same-speaker when all files are of one speaker and one microphone.

A file that cannot be recognised is reported on stderr and the others go on; the exit status is then 1."""


@app.command(help=_HELP)
def transcribe(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files.", show_default=False)],
    model: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of a trained system, EXP/decode/SYSTEM.", show_default=False)
    ],
    times: Annotated[bool, typer.Option("--times", help="A line a word: name, start, end (seconds), word.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a file, with words and times.")] = False,
    same_speaker: Annotated[bool, typer.Option("--same-speaker", help="All files are of one speaker.")] = False,
) -> None:
    try:
        recogniser = Recogniser(load_model(model))
        failed = _transcribe_files(recogniser, files, times, as_json, same_speaker)
    except PyasrError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(1 if failed else 0)


def _transcribe_files(
    recogniser: Recogniser, files: list[Path], times: bool, as_json: bool, same_speaker: bool
) -> int:
    """How many files failed."""
    names = list(dict.fromkeys(str(file) for file in files))
    failed = 0
    for group in [names] if same_speaker else [[name] for name in names]:
        samples: dict[str, np.ndarray] = {}
        errors: dict[str, DataError] = {}
        for name in group:
            try:
                samples[name] = read_audio(name)
            except DataError as error:
                errors[name] = error
        results = {**errors, **recogniser.transcribe(samples)}
        for name in group:
            failed += _show(name, results[name], times, as_json)
    return failed


def _show(name: str, result: Transcript | DataError, times: bool, as_json: bool) -> bool:
    """Print a result; True when it is an error."""
    if isinstance(result, DataError):
        typer.echo(f"error: {result}", err=True)
        return True
    if not result.reached_final:
        typer.echo(f"warning: {name}: the search ended before a complete sentence; the words may be cut off", err=True)
    if as_json:
        row = {"file": name, "text": result.text, "words": [asdict(word) for word in result.words]}
        typer.echo(json.dumps({**row, "duration_s": round(result.duration_s, 2)}, ensure_ascii=False))
    elif times:
        for word in result.words:
            typer.echo(f"{name}\t{word.start_s:.2f}\t{word.end_s:.2f}\t{word.word}")
    else:
        typer.echo(f"{name}\t{result.text}")
    sys.stdout.flush()
    return False
