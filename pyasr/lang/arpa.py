"""Language models in ARPA format: every line is checked, n-grams with unknown words are dropped.

    \\data\\
    ngram 1=3
    \\1-grams:
    -0.7  WORD  -0.3      log10 probability, n words, log10 back-off weight (optional)
    \\end\\

What comes before \\data\\ is a free preamble. Probabilities are not normalised again when words are dropped:
their mass is lost, which costs every sentence alike but for the back-off weights.
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from pyasr.base.artifact import atomic_path
from pyasr.base.errors import DataError
from pyasr.lang.words import BEGIN, END

_COUNT = re.compile(r"^ngram\s+(\d+)\s*=\s*(\d+)$")
_SECTION = re.compile(r"^\\(\d+)-grams:$")
_ROUNDING = 1e-4  # some tools write a log-probability a little above 0


@dataclass
class ArpaReport:
    """num_ngrams: kept n-grams of each order. dropped_words: without pronunciation. dropped_ngrams: with such words."""

    num_ngrams: list[int] = field(default_factory=list)
    dropped_words: list[str] = field(default_factory=list)
    dropped_ngrams: int = 0


def clean_arpa(source: str | Path, known_words: Set[str], out: str | Path) -> ArpaReport:
    """Check `source` (.arpa or .arpa.gz) and write to `out` the n-grams whose words are all in `known_words`.

    <s> and </s> are always known. Time and memory are linear in the number of n-grams.
    DataError as "file:line: reason" for whatever is not a well-formed ARPA file: counts that differ from the
    header, wrong numbers of fields, values that are not log-probabilities, an n-gram given twice or with a word
    that has no unigram, no <s> or </s>, no \\end\\, text that is not UTF-8.
    """
    reader = _Reader(Path(source))
    report = ArpaReport()
    known = {*known_words, BEGIN, END}
    with atomic_path(out) as temporary:
        body = temporary.with_name(temporary.name + ".body")
        try:
            with open(body, "w", encoding="utf-8") as stream:
                for order in reader.orders():
                    stream.write(f"\\{order}-grams:\n")
                    kept = 0
                    for line, words in reader.ngrams(order):
                        if all(word in known for word in words):
                            stream.write(line + "\n")
                            kept += 1
                        else:
                            report.dropped_ngrams += 1
                            if order == 1:
                                report.dropped_words.append(words[0])
                    stream.write("\n")
                    report.num_ngrams.append(kept)
            if report.num_ngrams[0] <= (END in reader.unigrams) + (BEGIN in reader.unigrams):
                raise DataError(f"{source}: none of its words has a pronunciation; do lexicon and case match?")
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write("\\data\\\n")
                stream.writelines(f"ngram {order}={count}\n" for order, count in enumerate(report.num_ngrams, 1))
                stream.write("\n")
                with open(body, encoding="utf-8") as rows:
                    stream.writelines(rows)
                stream.write("\\end\\\n")
        finally:
            body.unlink(missing_ok=True)
    report.dropped_words.sort()
    return report


class _Reader:
    """One pass over an ARPA file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self._lines = self._read()
        self._counts: list[int] = []
        self.unigrams: set[str] = set()

    def _error(self, reason: str) -> DataError:
        return DataError(f"{self._path}:{self._number}: {reason}")

    def _read(self) -> Iterator[str]:
        try:
            opened = gzip.open(self._path, "rb") if self._path.suffix == ".gz" else open(self._path, "rb")  # noqa: SIM115
        except FileNotFoundError as error:
            raise DataError(f"{self._path}: no such language model") from error
        with opened as stream:
            lines = iter(stream)
            while True:
                try:
                    raw = next(lines, None)
                except (OSError, EOFError) as error:
                    raise self._error(f"cannot read on: {error}; the file is damaged") from error
                if raw is None:
                    return
                self._number += 1
                try:
                    yield raw.decode("utf-8").strip()
                except UnicodeDecodeError as error:
                    raise self._error(f"not UTF-8 ({error.reason}); convert the file to UTF-8") from error

    def _next(self, expected: str) -> str:
        """The next line that is not empty."""
        for line in self._lines:
            if line:
                return line
        raise self._error(f"the file ends, {expected} expected: it is cut off")

    def orders(self) -> Iterator[int]:
        """Read the header, then yield each order when its section begins; check the end."""
        while self._next("\\data\\") != "\\data\\":
            pass
        line = self._next("'ngram 1=...'")
        while found := _COUNT.match(line):
            if int(found.group(1)) != len(self._counts) + 1:
                raise self._error(f"order {found.group(1)} where {len(self._counts) + 1} is expected")
            self._counts.append(int(found.group(2)))
            line = self._next("\\1-grams:")
        if not self._counts:
            raise self._error(f"'ngram 1=...' expected, found {line!r}")
        for order in range(1, len(self._counts) + 1):
            section = _SECTION.match(line)
            if not section or int(section.group(1)) != order:
                raise self._error(f"\\{order}-grams: expected, found {line!r}")
            yield order
            for symbol in (BEGIN, END) if order == 1 else ():
                if symbol not in self.unigrams:
                    raise self._error(f"the unigrams lack {symbol}; add it with its log-probability, -99 for {BEGIN}")
            line = self._next(f"\\{order + 1}-grams: or \\end\\")
        if line != "\\end\\":
            raise self._error(f"\\end\\ expected, found {line!r}")

    def ngrams(self, order: int) -> Iterator[tuple[str, list[str]]]:
        """The lines of a section with their words; as many as the header says."""
        expected = self._counts[order - 1]
        seen: set[int] = set()
        for found in range(expected):
            line = self._next(f"n-gram {found + 1} of {expected} of order {order}")
            if line.startswith("\\"):
                raise self._error(f"{found} n-grams of order {order}, the header says {expected}")
            fields = line.split()
            if len(fields) not in (order + 1, order + 2):
                raise self._error(f"{len(fields)} fields, an n-gram of order {order} has {order + 1} or {order + 2}")
            words = fields[1 : order + 1]
            self._check_values(fields[0], fields[order + 1 :])
            self._check_words(words, seen)
            yield "\t".join([fields[0], " ".join(words), *fields[order + 1 :]]), words

    def _check_values(self, logp: str, backoff: list[str]) -> None:
        for value in (logp, *backoff):
            try:
                number = float(value)
            except ValueError:
                raise self._error(f"{value!r} is not a number") from None
            if not math.isfinite(number):
                raise self._error(f"{value!r} is not finite; write -99 for log 0")
        if float(logp) > _ROUNDING:
            raise self._error(f"log-probability {logp} is above 0")

    def _check_words(self, words: list[str], seen: set[int]) -> None:
        # A 64-bit hash an n-gram instead of its words: a collision is likelier than not beyond 1e9 n-grams only.
        key = hash(tuple(words))
        if key in seen:
            raise self._error(f"n-gram {' '.join(words)!r} is given twice")
        seen.add(key)
        if len(words) == 1:
            self.unigrams.add(words[0])
        else:
            for word in words:
                if word not in self.unigrams:
                    raise self._error(f"word {word!r} has no unigram")
