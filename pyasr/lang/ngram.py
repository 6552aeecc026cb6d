"""Estimation of small n-gram language models: interpolated Witten-Bell (Witten & Bell 1991; Chen & Goodman 1998).

    p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h))

with t(h) the number of different words seen after h, and h' = h without its first word; below the unigrams
lies the uniform distribution over the vocabulary. In ARPA form the back-off weight of h is t(h) / (c(h) + t(h)),
which is exact: probabilities sum to one after every history.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from pyasr.base.artifact import atomic_path
from pyasr.base.errors import DataError
from pyasr.lang.words import BEGIN, END

_LOG10_ZERO = -99.0
Ngram = tuple[str, ...]


def estimate_arpa(
    sentences: Iterable[Iterable[str]], order: int, path: str | Path, vocabulary: Iterable[str] = ()
) -> None:
    """Write an ARPA file of `order` estimated from `sentences` (sequences of words).

    vocabulary: words that get a probability without having been seen. DataError when there is no sentence.
    """
    counts, followers = _count(sentences, order)
    if not counts:
        raise DataError(f"{path}: no sentence to estimate a language model from")
    words = sorted({ngram[0] for ngram in counts if len(ngram) == 1} | set(vocabulary) | {END})
    probabilities = _probabilities(counts, followers, words)
    by_order: list[list[Ngram]] = [[(word,) for word in (*words, BEGIN)], *([] for _ in range(order - 1))]
    for ngram in sorted(counts):
        if len(ngram) > 1:
            by_order[len(ngram) - 1].append(ngram)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.write("\\data\\\n")
        stream.writelines(f"ngram {n}={len(ngrams)}\n" for n, ngrams in enumerate(by_order, 1))
        for n, ngrams in enumerate(by_order, 1):
            stream.write(f"\n\\{n}-grams:\n")
            for ngram in ngrams:
                logp = math.log10(probabilities[ngram]) if ngram in probabilities else _LOG10_ZERO
                backoff = f"\t{math.log10(_backoff(followers[ngram])):.6f}" if ngram in followers and n < order else ""
                stream.write(f"{logp:.6f}\t{' '.join(ngram)}{backoff}\n")
        stream.write("\n\\end\\\n")


def _count(sentences: Iterable[Iterable[str]], order: int) -> tuple[Counter[Ngram], dict[Ngram, Counter[str]]]:
    """Counts of all n-grams up to `order` that end in a word or </s>, and the words after each history."""
    counts: Counter[Ngram] = Counter()
    followers: dict[Ngram, Counter[str]] = defaultdict(Counter)
    for sentence in sentences:
        words = [BEGIN, *sentence, END]
        if len(words) == 2:
            continue
        for end in range(2, len(words) + 1):
            for n in range(1, min(order, end) + 1):
                ngram = tuple(words[end - n : end])
                counts[ngram] += 1
                followers[ngram[:-1]][ngram[-1]] += 1
    return counts, dict(followers)


def _backoff(after: Counter[str]) -> float:
    return len(after) / (after.total() + len(after))


def _probabilities(
    counts: Counter[Ngram], followers: dict[Ngram, Counter[str]], words: list[str]
) -> dict[Ngram, float]:
    unigrams = followers[()]
    total, types = unigrams.total(), len(unigrams)
    found: dict[Ngram, float] = {(word,): (unigrams[word] + types / len(words)) / (total + types) for word in words}
    for ngram in sorted(counts, key=len):
        if len(ngram) > 1:
            after = followers[ngram[:-1]]
            found[ngram] = (counts[ngram] + len(after) * found[ngram[1:]]) / (after.total() + len(after))
    return found
