"""Faults of audio files, found by decoding them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import soundfile
from lhotse import MonoCut

_TOLERANCE_S = 0.025  # manifests round durations
_UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF)  # what programs that write WAV to a pipe put into the header


def probe_audio(path: Path) -> tuple[int, int] | str:
    """(sampling rate, samples) from the header of a mono file, or the reason why it cannot be used."""
    if not path.is_file():
        return f"audio missing: {path}"
    if path.stat().st_size == 0:
        return f"audio file is empty: {path}"
    try:
        header = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        return f"audio unreadable: {path}: {decoder_message(error)}"
    if header.channels != 1:
        return f"audio is not mono: {path} has {header.channels} channels; make one file a channel"
    if header.frames <= 0 or header.samplerate <= 0:
        return f"audio has no samples: {path} holds a header only"
    return header.samplerate, header.frames


def audio_fault(cut: MonoCut) -> str | None:
    """Why the audio of a cut cannot be used, naming the file; None when all of it decodes to finite samples."""
    source = next((item for item in cut.recording.sources if cut.channel in item.channels), None)
    if source is None:
        return f"audio has no channel {cut.channel}: {cut.recording.id}"
    if source.type in ("command", "url"):
        return f"audio comes from a {source.type}, which is not run or fetched: {source.source}; save it to a file"
    if source.type != "file" or cut.recording.transforms:
        return _lhotse_fault(cut)
    path = Path(source.source)
    if not path.is_file():
        return f"audio missing: {path}"
    if path.stat().st_size == 0:
        return f"audio file is empty: {path}"
    missing = _missing_wav_bytes(path)
    if missing:
        return f"audio truncated: {path}: {missing} bytes fewer than its header says"
    try:
        samples, rate = _read(path, cut)
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        return f"audio unreadable: {path}: {decoder_message(error)}"
    if rate != cut.sampling_rate:
        return f"audio has another rate than its manifest: {path}: {rate} Hz, not {cut.sampling_rate} Hz"
    if samples.shape[1] <= source.channels.index(cut.channel):
        return f"audio has no channel {cut.channel}: {path}"
    return _sample_fault(samples[:, source.channels.index(cut.channel)], cut, str(path))


def _read(path: Path, cut: MonoCut) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(str(path)) as stream:
        first = round(cut.start * stream.samplerate)
        if first >= stream.frames:
            return np.zeros((0, stream.channels), np.float32), stream.samplerate
        stream.seek(first)
        frames = round(cut.duration * stream.samplerate)
        return stream.read(frames, dtype="float32", always_2d=True), stream.samplerate


def _lhotse_fault(cut: MonoCut) -> str | None:
    try:
        samples = cut.load_audio()[0]
    except Exception as error:  # lhotse passes on whatever its many decoders raise
        return f"audio unreadable: {cut.recording.id}: {decoder_message(error)}"
    return _sample_fault(samples, cut, cut.recording.id)


def _sample_fault(samples: np.ndarray, cut: MonoCut, where: str) -> str | None:
    missing_s = cut.duration - len(samples) / cut.sampling_rate
    if missing_s > _TOLERANCE_S:
        return f"audio truncated: {where}: {missing_s:.2f} s of {cut.duration:.2f} s are missing"
    if not np.isfinite(samples).all():
        return f"audio holds values that are not finite numbers: {where}"
    if len(samples) and np.all(samples == samples[0]):
        return f"audio is silent: {where}: all samples are equal"
    return None


def _missing_wav_bytes(path: Path) -> int:
    """Bytes by which the data of a RIFF file falls short of its header; libsndfile would read the rest in silence."""
    with open(path, "rb") as stream:
        head = stream.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0
        size = path.stat().st_size
        while len(chunk := stream.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            if name == b"data":
                return 0 if length in _UNKNOWN_SIZES else max(0, stream.tell() + length - size)
            stream.seek(length + length % 2, 1)
    return 0


def decoder_message(error: Exception) -> str:
    """The decoder's own words in one line, without the file name that messages here begin with."""
    text = " ".join(str(error).split())
    return text.split(": ", 1)[-1] if text.startswith("Error opening") else text
