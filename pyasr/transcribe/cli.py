"""The command line of pyasr.transcribe."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pyasr.base.errors import ConfigError, DataError, PyasrError
from pyasr.decode.model_dir import GmmModel, NetworkModel, load_model
from pyasr.features.options import SAMPLING_RATE
from pyasr.ops.streaming import PRECISIONS
from pyasr.transcribe.audio import read_audio
from pyasr.transcribe.endpoint import DEFAULT_ENDPOINT, EndpointOptions
from pyasr.transcribe.live import stream_file, stream_stdin
from pyasr.transcribe.recogniser import Recogniser, make_recogniser
from pyasr.transcribe.show import Style, show_error, show_transcript
from pyasr.transcribe.streaming import StreamingRecogniser

app = typer.Typer(add_completion=False)
Precision = enum.Enum("Precision", {name: name for name in PRECISIONS}, type=str)

_HELP = """Print the words of audio files, one line a file: name, tab, words. Or of live audio, as it is spoken.

Examples:

  python -m pyasr.transcribe --model exp/demo/decode/student hello.wav

  arecord -f S16_LE -r 16000 -c 1 -t raw | python -m pyasr.transcribe --model exp/demo/decode/student -

Any file that libsndfile reads (WAV, FLAC, OGG, MP3, NIST sphere), of any rate from 8 kHz and up to 10 minutes long; \
several channels are averaged. The model only knows the words of its lexicon, and hears best what is like its \
training speech.

Live audio, the file -, is raw 16-bit mono samples (little-endian) on standard input, at 16 kHz or --rate. It takes a \
forward-only network: supervised, student or topline. On a terminal the line changes while words are spoken; with \
--json every change is an object a line, its "final" true once the utterance has ended: after --silence seconds \
without speech, or with the audio. Times count from the beginning of the audio. --streaming does the same with files: \
the words are those found without it.

GMM systems take each file as a speaker of its own: mean and variance are normalised, and the transform of a \
speaker-adapted model (tri_sat), are estimated from the file itself, so a few words alone are recognised less well. \
Give --same-speaker when all files are of one speaker and one microphone.

A file that cannot be recognised is reported on stderr and the others go on; the exit status is then 1."""


@app.command(help=_HELP)
def transcribe(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files, or -.", show_default=False)],
    model: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of a trained system, EXP/decode/SYSTEM.", show_default=False)
    ],
    times: Annotated[bool, typer.Option("--times", help="A line a word: name, start, end (seconds), word.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a file, with words and times.")] = False,
    same_speaker: Annotated[bool, typer.Option("--same-speaker", help="All files are of one speaker.")] = False,
    streaming: Annotated[bool, typer.Option("--streaming", help="Recognise files as if they were live audio.")] = False,
    precision: Annotated[
        Precision, typer.Option(help="Of a forward-only network's weights: int8 is fastest.")
    ] = Precision.fp32,  # type: ignore[attr-defined]
    silence: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.0,
            help="Silence that ends an utterance of live audio; 0: only its end does. Default 0.6, for files 0.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[int, typer.Option(metavar="HZ", help="Sampling rate of live audio.")] = SAMPLING_RATE,
) -> None:
    style = Style(as_json, times, sys.stdout.isatty())
    try:
        loaded, live = load_model(model), Path("-") in files
        if live and len(files) > 1:
            raise ConfigError("-: live audio stands alone; recognise files in a call of their own")
        if live or streaming:
            seconds = silence if silence is not None else DEFAULT_ENDPOINT.after_words_s if live else 0.0
            endpoint = EndpointOptions(after_words_s=seconds) if seconds else None
            recogniser = StreamingRecogniser(_network(loaded), precision.value, endpoint)
            failed = stream_stdin(recogniser, rate, style) if live else _stream_files(recogniser, files, style)
        else:
            failed = _transcribe_files(make_recogniser(loaded, precision.value), files, style, same_speaker)
    except PyasrError as error:
        show_error(error)
        raise typer.Exit(1) from None
    raise typer.Exit(1 if failed else 0)


def _network(model: GmmModel | NetworkModel) -> NetworkModel:
    if isinstance(model, NetworkModel):
        return model
    raise ConfigError(
        f"{model.folder}: a Gaussian system normalises whole recordings and cannot follow live audio; choose a"
        " forward-only network, such as EXP/decode/student"
    )


def _stream_files(recogniser: StreamingRecogniser, files: list[Path], style: Style) -> int:
    """How many files failed."""
    return sum(stream_file(recogniser, name, style) for name in _names(files))


def _transcribe_files(recogniser: Recogniser, files: list[Path], style: Style, same_speaker: bool) -> int:
    """How many files failed."""
    names = _names(files)
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
            failed += show_transcript(name, results[name], style)
    return failed


def _names(files: list[Path]) -> list[str]:
    return list(dict.fromkeys(map(str, files)))
