"""How results are printed."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass

import typer

from pyasr.transcribe.streaming import Update
from pyasr.transcribe.transcript import TimedWord, Transcript

_CLEAR_LINE = "\r\x1b[K"


@dataclass(frozen=True)
class Style:
    """as_json: an object a line. times: a line a word. on_terminal: a line may be written over."""

    as_json: bool = False
    times: bool = False
    on_terminal: bool = False


def show_error(error: Exception) -> None:
    typer.echo(f"error: {error}", err=True)


def show_transcript(name: str, result: Transcript | Exception, style: Style) -> bool:
    """Print the result of a whole file; True when it is an error."""
    if isinstance(result, Exception):
        show_error(result)
        return True
    _warn_if_cut_off(name, result.reached_final)
    if style.as_json:
        row = {"file": name, "text": result.text, "words": [asdict(word) for word in result.words]}
        _print(json.dumps({**row, "duration_s": round(result.duration_s, 2)}, ensure_ascii=False))
    else:
        _show_words(f"{name}\t", result.words, style)
    return False


def show_update(name: str, update: Update, style: Style) -> None:
    """Print what is new of a stream. Unless as JSON, partial results are for terminals alone; name "" is left out."""
    prefix = f"{name}\t" if name else ""
    if update.final and update.words:
        _warn_if_cut_off(name or "-", update.reached_final)
    if style.as_json:
        row = {"utterance": update.utterance, "final": update.final, "text": update.text}
        times = {"begin_s": round(update.begin_s, 3), "end_s": round(update.end_s, 3)}
        words = [asdict(word) for word in update.words]
        _print(json.dumps({"file": name or "-", **row, "words": words, **times}, ensure_ascii=False))
    elif not update.final:
        if style.on_terminal:
            # The end of a long line is what is new.
            width = shutil.get_terminal_size().columns - 1
            _print(_CLEAR_LINE + (prefix + update.text)[-width:], end="")
    else:
        if style.on_terminal:
            _print(_CLEAR_LINE, end="")
        if update.words:
            _show_words(prefix, update.words, style)


def _show_words(prefix: str, words: tuple[TimedWord, ...], style: Style) -> None:
    if style.times:
        for word in words:
            _print(f"{prefix}{word.start_s:.2f}\t{word.end_s:.2f}\t{word.word}")
    else:
        _print(prefix + " ".join(word.word for word in words))


def _warn_if_cut_off(name: str, reached_final: bool) -> None:
    if not reached_final:
        typer.echo(f"warning: {name}: the search ended before a complete sentence; the words may be cut off", err=True)


def _print(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()
