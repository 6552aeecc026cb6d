"""From the engine's phoneme codes to the demo's phone set (ARPAbet with names for its own r-coloured vowels)."""

from __future__ import annotations

from collections.abc import Sequence

from pyasr.base.errors import PyasrError

SILENCE = "SIL"
_COMMON = {
    "0": "AA", "A:": "AA", "a": "AE", "aa": "AE", "V": "AH", "@": "AX", "@2": "AX", "@-": "AX", "a#": "AX",
    "O:": "AO", "O2": "AO", "O": "AO", "aU": "AW", "aI": "AY", "aI@": "AY", "aI3": "AY", "E": "EH", "3": "ER",
    "3:": "ER", "eI": "EY", "I": "IH", "I2": "IH", "I#": "IH", "i": "IY", "i:": "IY", "oU": "OW", "OI": "OY", "U": "UH",
    "u:": "UW", "A@": "AR", "O@": "OR", "o@": "OR", "e@": "AIR", "i@": "EAR", "i@3": "EAR", "U@": "UR",
    "@L": "EL", "b": "B", "tS": "CH", "d": "D", "t#": "DX", "D": "DH", "f": "F", "g": "G", "h": "HH", "dZ": "JH",
    "k": "K", "l": "L", "m": "M", "n": "N", "n-": "N", "N": "NG", "p": "P", "r": "R", "s": "S", "S": "SH",
    "t": "T", "t2": "T", "?": "T", "T": "TH", "v": "V", "w": "W", "j": "Y", "z": "Z", "Z": "ZH",
}  # fmt: skip
# Voices without the r of "car" and "four": there these codes are plain long vowels.
_WITHOUT_R = {"A@": "AA", "O@": "AO"}
_LINKS = (";", "r-")  # glides between two vowels ("see it", "four eight"), part of the vowel before them


def phone_of(code: str, voice: str) -> str | None:
    """The phone of a phoneme code of `voice` ("en-US", "en-GB-x-rp"); SIL for a pause, None for a link."""
    code = code.lstrip("',%=")
    if code.startswith("_"):
        return SILENCE
    if code in _LINKS:
        return None
    phone = _WITHOUT_R.get(code) if voice.startswith("en-GB") else None
    phone = phone or _COMMON.get(code)
    if phone is None:
        raise PyasrError(f"the demo's phone set lacks the engine's phoneme {code!r} of voice {voice}")
    return phone


def pronunciation(codes: str, voice: str) -> tuple[str, ...]:
    """Phones of phoneme codes separated by spaces, without pauses and links."""
    phones = (phone_of(code, voice) for code in codes.split())
    return tuple(phone for phone in phones if phone not in (None, SILENCE))


def phone_segments(
    events: Sequence[tuple[int, str]], rate: int, voice: str, lead_s: float, total_s: float
) -> list[tuple[str, float, float]]:
    """(phone, start_s, end_s) that cover [0, total_s] without gaps, from the sample offsets of the engine's events.

    lead_s: how much later the speech begins than in the engine's own output. Adjoining silences are one. A phone
    with start_s == end_s is there but not timed by the engine: an L at the end, spoken as a part of its vowel.
    """
    starts: list[tuple[str, float]] = [(SILENCE, 0.0)]
    for sample, code in events:
        phone = phone_of(code, voice)
        if phone is not None and not (phone == SILENCE and starts[-1][0] == SILENCE):
            starts.append((phone, round(lead_s + sample / rate, 4)))
    ends = [start for _, start in starts[1:]] + [round(total_s, 4)]
    return [(phone, start, end) for (phone, start), end in zip(starts, ends)]
