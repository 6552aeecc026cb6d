"""Where live audio comes from: standard input, or a file played as fast as it is recognised."""

from __future__ import annotations

import sys

import numpy as np

from pyasr.base.errors import DataError
from pyasr.transcribe.audio import read_audio
from pyasr.transcribe.show import Style, show_error, show_update
from pyasr.transcribe.streaming import Stream, StreamingRecogniser

_CHUNK_BYTES = 1 << 16
_CHUNK_SAMPLES = 1600
_WAV_MAGIC = b"RIFF"


def stream_stdin(recogniser: StreamingRecogniser, rate: int, style: Style) -> bool:
    """Recognise raw little-endian int16 mono samples from standard input until its end, or Ctrl-C; True for an error.

    DataError when it is a terminal, a WAV file, or too little.
    """
    if sys.stdin.isatty():
        raise DataError(
            "-: standard input is a terminal; pipe raw audio into it, for example"
            f" arecord -f S16_LE -r {rate} -c 1 -t raw | python -m pyasr.transcribe --model DIR -"
        )
    stream, failed, rest, total = recogniser.open("-", rate), False, b"", 0
    try:
        # read1 waits for the first bytes alone: as little as has come is recognised at once.
        while data := sys.stdin.buffer.read1(_CHUNK_BYTES):
            if not total and data.startswith(_WAV_MAGIC):
                raise DataError("-: this is a WAV file, not raw samples; give its name instead of -")
            total += len(data)
            data = rest + data
            whole = len(data) // 2 * 2
            stream.accept(np.frombuffer(data[:whole], "<i2").astype(np.int16, copy=False))
            rest = data[whole:]
            failed |= _advance(recogniser, stream, "", style)
    except KeyboardInterrupt:
        pass  # how one ends a recording: what was heard so far is the result
    if total < 2:
        raise DataError("-: no audio came on standard input; does the command before | work?")
    if rest:
        show_error(DataError("-: the audio ends within a sample: an odd number of bytes; is it 16-bit?"))
        failed = True
    stream.finish()
    return failed | _advance(recogniser, stream, "", style)


def stream_file(recogniser: StreamingRecogniser, name: str, style: Style) -> bool:
    """Recognise a file bit by bit; True for an error, which is shown."""
    try:
        samples = read_audio(name)
    except DataError as error:
        show_error(error)
        return True
    stream, failed = recogniser.open(name), False
    for begin in range(0, len(samples), _CHUNK_SAMPLES):
        stream.accept(samples[begin : begin + _CHUNK_SAMPLES])
        failed |= _advance(recogniser, stream, name, style)
    stream.finish()
    return failed | _advance(recogniser, stream, name, style)


def _advance(recogniser: StreamingRecogniser, stream: Stream, name: str, style: Style) -> bool:
    failed = False
    for _, update in recogniser.advance([stream]):
        if isinstance(update, DataError):
            show_error(update)
            failed = True
        else:
            show_update(name, update, style)
    return failed
