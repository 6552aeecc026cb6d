"""Talks to the speech engine, which runs in a process of its own (`pyasr.corpora.demo.engine`)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pyasr.base.errors import ConfigError, PyasrError

_ENGINE = Path(__file__).with_name("engine.py")
_NOT_INSTALLED = 3


@dataclass(frozen=True)
class Request:
    """What to say and how. voice: "en-US+f3" (voice+variant); rate: words a minute; pitch, range: 0 to 99.

    text may hold phoneme codes in [[ ]]. phonemes: tell the codes of the text instead of speaking it.
    """

    voice: str
    text: str
    rate: int = 170
    pitch: int = 50
    range: int = 50
    phonemes: bool = False


@dataclass(frozen=True)
class Reply:
    """samples: int16 (n,) at `rate` Hz; events: (first sample, phoneme code) of each sound."""

    samples: np.ndarray
    rate: int
    events: list[tuple[int, str]]
    phonemes: str | None


def speak(requests: Sequence[Request]) -> list[Reply]:
    """Replies in the order of the requests; equal requests give equal bits, whatever is asked before them.

    Raises ConfigError when the optional extra is not installed, PyasrError when the engine fails.
    """
    lines = "".join(json.dumps(asdict(request)) + "\n" for request in requests)
    done = subprocess.run([sys.executable, str(_ENGINE)], input=lines.encode(), capture_output=True, check=False)
    if done.returncode == _NOT_INSTALLED:
        raise ConfigError("the demo corpus needs the speech engine: pip install espeakng-loader, or pyasr[demo]")
    if done.returncode != 0:
        raise PyasrError(f"the speech engine failed ({done.returncode}): {done.stderr.decode().strip()[-500:]}")
    replies, position = [], 0
    for request in requests:
        end = done.stdout.index(b"\n", position)
        header = json.loads(done.stdout[position:end])
        if header["error"]:
            raise PyasrError(f"the speech engine failed on {request}: {header['error']}")
        position = end + 1 + 2 * header["samples"]
        samples = np.frombuffer(done.stdout[end + 1 : position], dtype="<i2")
        events = [(int(sample), name) for sample, name in header["events"]]
        replies.append(Reply(samples, header["rate"], events, header["phonemes"]))
    return replies


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Band-limited resampling of a whole utterance by its spectrum: (n,) -> float64 (about n * new_rate / rate,)."""
    step = rate // np.gcd(rate, new_rate)
    block = step * 64  # zeros up to whole blocks: exact ratio, and a length that factors well
    padded = -(-(len(samples) + block) // block) * block
    spectrum = np.fft.rfft(np.asarray(samples, dtype=np.float64), padded)
    length = padded * new_rate // rate
    kept = spectrum[: length // 2 + 1]
    if len(kept) < length // 2 + 1:
        kept = np.pad(kept, (0, length // 2 + 1 - len(kept)))
    return np.fft.irfft(kept, length)[: len(samples) * new_rate // rate] * (new_rate / rate)
