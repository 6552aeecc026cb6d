"""The pronunciation lexicon: words with one or more pronunciations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pyasr.base.artifact import write_text
from pyasr.base.errors import DataError
from pyasr.lang.phones import SILENCE, mark_positions

_ALTERNATIVE = re.compile(r"^(.+)\(\d+\)$")
_RESERVED_WORD = re.compile(r"^(#\d+|<eps>|<s>|</s>|)$")
_RESERVED_PHONE = re.compile(r"^(#\d+|<eps>)$")


@dataclass
class Lexicon:
    """words -> pronunciations in the order of the file; repeated pronunciations were dropped and counted."""

    entries: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    num_repeated: int = 0

    @classmethod
    def read(cls, path: str | Path) -> Lexicon:
        """Read lines "WORD PHONE PHONE ..."; a further pronunciation may be written WORD(2).

        Empty lines and lines that begin with ';;;' are passed over. DataError names file, line and reason.
        """
        lexicon = cls()
        for number, line in enumerate(_lines(path), 1):
            fields = line.split()
            if not fields or line.startswith(";;;"):
                continue
            alternative = _ALTERNATIVE.match(fields[0])
            word, phones = alternative.group(1) if alternative else fields[0], tuple(fields[1:])
            if _RESERVED_WORD.match(word):
                raise DataError(f"{path}:{number}: {word!r} is reserved and cannot be a word; remove the line")
            if not phones:
                raise DataError(
                    f"{path}:{number}: word {word!r} has no pronunciation; add its phones or remove the line"
                )
            for phone in phones:
                if _RESERVED_PHONE.match(phone):
                    raise DataError(f"{path}:{number}: {phone!r} is reserved and cannot be a phone of {word!r}")
            lexicon.add(word, phones)
        if not lexicon.entries:
            raise DataError(f"{path}: no words in the lexicon")
        return lexicon

    def add(self, word: str, phones: tuple[str, ...]) -> None:
        pronunciations = self.entries.setdefault(word, [])
        if phones in pronunciations:
            self.num_repeated += 1
        else:
            pronunciations.append(phones)

    def write(self, path: str | Path) -> None:
        """Write one line a pronunciation, words in the order of the entries."""
        write_text(path, "".join(f"{word} {' '.join(phones)}\n" for word, phones in self))

    def __iter__(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        return ((word, phones) for word, pronunciations in self.entries.items() for phones in pronunciations)

    def __contains__(self, word: str) -> bool:
        return word in self.entries

    def __len__(self) -> int:
        return len(self.entries)

    def pronunciations(self, word: str) -> list[tuple[str, ...]]:
        """Pronunciations of a word; DataError when it has none."""
        try:
            return self.entries[word]
        except KeyError:
            raise DataError(f"word {word!r} is not in the lexicon") from None

    def with_word_positions(self) -> Lexicon:
        """The same words; each phone is marked with its place in the word."""
        entries = {word: list(map(mark_positions, prons)) for word, prons in self.entries.items()}
        return Lexicon(entries, self.num_repeated)

    def without_silence_words(self) -> Lexicon:
        """Leave out words pronounced as silence alone: silence is added between words by the graphs."""
        return Lexicon({w: p for w, p in self.entries.items() if p != [(SILENCE,)]}, self.num_repeated)


def _lines(path: str | Path) -> Iterable[str]:
    try:
        text = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such lexicon") from error
    for number, line in enumerate(text.splitlines(), 1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:{number}: not UTF-8 ({error.reason}); convert the lexicon to UTF-8") from error
