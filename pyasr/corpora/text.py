"""Reading the text files that corpora come with; errors name file and line."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pyasr.base.artifact import atomic_path, write_text
from pyasr.base.errors import ConfigError, DataError

_ALTERNATIVE = re.compile(r"^(\S+)\(\d+\)$")


def require_dir(corpus_dir: Path | None, kind: str, *expected: str) -> Path:
    """The corpus folder, checked to hold the `expected` files; ConfigError says what is wrong with it."""
    if corpus_dir is None:
        raise ConfigError(f"corpus {kind!r} needs --corpus-dir DIR: the folder with {', '.join(expected)}")
    corpus_dir = Path(corpus_dir).resolve()
    if not corpus_dir.is_dir():
        raise ConfigError(f"--corpus-dir {corpus_dir}: no such folder")
    for name in expected:
        if not (corpus_dir / name).exists():
            raise ConfigError(f"--corpus-dir {corpus_dir}: not a folder of corpus {kind!r}: it has no {name}")
    return corpus_dir


def find_audio(name: str, corpus_dir: Path) -> Path:
    """The absolute path of an audio file: a relative one is below the corpus folder, else the current folder."""
    below = corpus_dir / name
    return Path(name).absolute() if Path(name).is_file() and not below.is_file() else below.absolute()


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end) of every line that is not blank; .gz is unpacked."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def copy_lexicon(source: Path, target: Path) -> None:
    """Copy a pronunciation dictionary, turning CMU's WORD(2) into WORD; the lang stage checks it."""
    if not source.is_file():
        raise DataError(f"lexicon {source}: missing")
    lines = []
    for _, line in read_lines(source):
        if line.startswith(";;;"):
            continue
        word, *phones = line.split()
        match = _ALTERNATIVE.match(word)
        lines.append(" ".join([match[1] if match else word, *phones]))
    write_text(target, "\n".join(lines) + "\n")


def copy_arpa(source: Path, target: Path) -> None:
    """Copy an ARPA language model, unpacking .gz; content is checked by the lang stage."""
    if not source.is_file():
        raise DataError(f"language model {source}: missing")
    opener = gzip.open if source.suffix == ".gz" else open
    try:
        with opener(source, "rb") as stream, atomic_path(target) as temporary, open(temporary, "wb") as out:
            shutil.copyfileobj(stream, out)
    except (OSError, EOFError) as error:
        raise DataError(f"language model {source}: cannot be read ({error})") from error
