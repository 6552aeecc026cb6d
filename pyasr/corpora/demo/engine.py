"""Drives libespeak-ng in a process of its own: a script that imports nothing of pyasr.

    python engine.py < requests > replies

espeak-ng is GPL-3.0-or-later and comes with the optional wheel `espeakng-loader`. It is never loaded into a pyasr
process: `pyasr.corpora.demo.speak` starts this file and talks to it through pipes.

Requests, one JSON object a line: {"voice", "text", "rate", "pitch", "range", "phonemes"}. text may hold espeak
phoneme codes in [[ ]]; with "phonemes" true nothing is spoken and the reply tells the phoneme codes of the text.
Replies, in the order of the requests: a line of JSON
{"rate": Hz, "samples": n, "events": [[sample, phoneme], ...], "phonemes": str|null, "error": str|null}
followed by n little-endian int16 samples.

espeak-ng keeps state from one utterance to the next, so that the same request gives different samples the second
time. Hence the library is initialised once, every request is served by a fresh forked child, and the child sets
the seed of the library's own random numbers (breath noise of some variants): equal requests give equal bits.
"""

import ctypes
import json
import os
import struct
import sys

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS
_PHONEME_EVENTS = 0x0001
_DONT_EXIT = 0x8000
_BUFFER_MS = 2000  # fewer callbacks than the default of 60
_UTF8_AND_PHONEMES = 0x0001 | 0x0100
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_VOLUME_VALUE = 50  # at 100 the louder variants clip
_EVENT_PHONEME = 7
_OWN_MNEMONICS_SPACED = ord(" ") << 8  # phoneme names separated by a space


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Engine:
    """The library, initialised. `serve` answers one request and may be called once in the life of a process."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._samples = bytearray()
        self._events: list[list] = []
        self._callback = _CALLBACK(self._collect)  # kept: the library holds a bare pointer to it
        self._data = espeakng_loader.get_data_path()
        options = _PHONEME_EVENTS | _DONT_EXIT
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, self._data.encode(), options)
        if self._rate <= 0:
            raise RuntimeError(f"espeak-ng cannot read its data at {self._data}")
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def serve(self, request: dict) -> tuple[dict, bytes]:
        reply = {"rate": self._rate, "samples": 0, "events": [], "phonemes": None, "error": None}
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # otherwise the seed is the time of day
        variant = request["voice"].partition("+")[2]
        # An unknown variant would silently give the plain voice.
        known = not variant or os.path.isfile(os.path.join(self._data, "voices", "!v", variant))
        if not known or self._library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
            return {**reply, "error": f"espeak-ng has no voice {request['voice']!r}"}, b""
        text = request["text"].encode()
        if request.get("phonemes"):
            return {**reply, "phonemes": self._phonemes(text)}, b""
        self._library.espeak_SetParameter(_VOLUME, _VOLUME_VALUE, 0)
        for parameter, name in ((_RATE, "rate"), (_PITCH, "pitch"), (_RANGE, "range")):
            self._library.espeak_SetParameter(parameter, request[name], 0)
        if self._library.espeak_Synth(text, len(text) + 1, 0, 0, 0, _UTF8_AND_PHONEMES, None, None) != 0:
            return {**reply, "error": f"espeak-ng cannot speak {request['text']!r}"}, b""
        return {**reply, "samples": len(self._samples) // 2, "events": self._events}, bytes(self._samples)

    def _phonemes(self, text: bytes) -> str:
        rest = ctypes.c_char_p(text)
        clauses = []
        while rest.value:
            clause = self._library.espeak_TextToPhonemes(ctypes.byref(rest), 1, _OWN_MNEMONICS_SPACED)
            clauses.append((clause or b"").decode())
        return " ".join(clauses).strip()

    def _collect(self, wave, count, events) -> int:
        if wave and count > 0:
            self._samples += ctypes.string_at(wave, count * 2)
        index = 0
        while events and events[index].type:
            if events[index].type == _EVENT_PHONEME:
                name = ctypes.string_at(ctypes.addressof(events[index].id), 8).split(b"\0")[0].decode()
                self._events.append([events[index].sample, name])
            index += 1
        return 0


def serve_in_child(engine: Engine, request: dict) -> bytes:
    """The reply's bytes, made in a forked child; RuntimeError when the child dies."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(receive)
            header, samples = engine.serve(request)
            with os.fdopen(send, "wb") as stream:
                stream.write(json.dumps(header).encode() + b"\n" + samples)
            status = 0
        finally:
            os._exit(status)
    os.close(send)
    with os.fdopen(receive, "rb") as stream:
        reply = stream.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise RuntimeError(f"espeak-ng died on {request!r} (status {status})")
    return reply


def main() -> int:
    if sys.byteorder != "little" or struct.calcsize("h") != 2:
        print("the demo corpus needs a little-endian machine", file=sys.stderr)
        return 2
    try:
        engine = Engine()
    except ImportError:
        print("espeakng-loader is not installed", file=sys.stderr)
        return 3
    for line in sys.stdin:
        sys.stdout.buffer.write(serve_in_child(engine, json.loads(line)))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
