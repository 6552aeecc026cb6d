"""The word table: words.txt, a line "WORD ID" each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pyasr.base.artifact import write_text
from pyasr.base.errors import DataError

EPSILON, BACKOFF, BEGIN, END = "<eps>", "#0", "<s>", "</s>"


@dataclass(frozen=True)
class WordTable:
    """Words in the order of their ids 1..W; 0 is <eps>; #0, <s> and </s> follow."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, words: Iterable[str]) -> WordTable:
        return cls(tuple(sorted(set(words))))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.symbols)}

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """All symbols in the order of their ids, beginning with <eps>."""
        return (EPSILON, *self.words, BACKOFF, BEGIN, END)

    def id(self, symbol: str) -> int:
        try:
            return self._ids[symbol]
        except KeyError:
            raise DataError(f"word {symbol!r} is not in the word table") from None

    def __contains__(self, word: str) -> bool:
        return 0 < self._ids.get(word, 0) <= len(self.words)

    def name(self, word_id: int) -> str:
        return self.symbols[word_id]

    def save(self, path: str | Path) -> None:
        write_text(path, "".join(f"{symbol} {index}\n" for index, symbol in enumerate(self.symbols)))

    @classmethod
    def load(cls, path: str | Path) -> WordTable:
        try:
            rows = [line.split() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        except FileNotFoundError as error:
            raise DataError(f"{path}: missing; run the stage that writes it") from error
        symbols = [row[0] for row in rows if len(row) == 2]
        table = cls(tuple(symbols[1:-3]))
        if [row[1:] for row in rows] != [[str(i)] for i in range(len(rows))] or list(table.symbols) != symbols:
            raise DataError(f"{path}: not a word table; delete it and run the stage that writes it")
        return table
