"""Words of a path from its phones, against the words that were put together."""

import numpy as np
import pytest

from pyasr.lang.segments import split_into_words

SIL, A, B, C = 1, 2, 3, 4
WORDS = {"a": [(A,)], "ab": [(A, B)], "abc": [(A, B, C), (C,)], "cab": [(C, A, B)], "bb": [(B, B)]}


def segments_of(phones, frames=2):
    return [(phone, i * frames, (i + 1) * frames) for i, phone in enumerate(phones)]


def split(phones, words, **more):
    return split_into_words(segments_of(phones), [WORDS[word] for word in words], SIL, **more)


@pytest.mark.parametrize("seed", range(50))
def test_words_put_together_are_found_again(seed):
    rng = np.random.default_rng(seed)
    words = [list(WORDS)[i] for i in rng.integers(len(WORDS), size=rng.integers(1, 7))]
    phones, expected = [SIL] * int(rng.integers(2)), []
    for index, word in enumerate(words):
        chosen = WORDS[word][rng.integers(len(WORDS[word]))]
        expected.append((index, 2 * len(phones), 2 * (len(phones) + len(chosen))))
        phones += [*chosen, SIL]  # silence between words: only one way to split
    assert split(phones, words) == expected
    assert split(phones[:-1], words) == expected
    cut = [phone for phone in phones if phone != SIL]
    found = split(cut, words)  # without silence there may be several ways; each word has one of its pronunciations
    assert [index for index, _, _ in found] == list(range(len(words)))
    assert [start for _, start, _ in found] == [0, *(end for _, _, end in found[:-1])]
    for index, start, end in found:
        assert tuple(cut[start // 2 : end // 2]) in WORDS[words[index]]


def test_what_are_not_the_words_of_the_path():
    for phones, words in ([A, C], ["ab"]), ([A], ["ab"]), ([A, B, C], ["ab"]), ([SIL, SIL, A], ["a"]), ([A], []):
        assert split(phones, words) is None
    assert split([B], ["a"], complete=False) is None


def test_silence_alone():
    assert split([SIL], []) == [] and split([], []) == [] and split([SIL], ["a"]) is None


def test_a_path_that_breaks_off():
    """Words come before their phones; and phones, at the end, before a word that many share."""
    assert split([A], ["abc"], complete=False) == [(0, 0, 2)]
    assert split([A, B], ["ab", "cab"], complete=False) == [(0, 0, 4)]
    assert split([A, B, SIL], ["ab", "cab", "a"], complete=False) == [(0, 0, 4)]
    assert split([A, B, SIL, C], ["ab", "cab"], complete=False) == [(0, 0, 4), (1, 6, 8)]
    assert split([A, B, SIL, C, A], ["ab"], complete=False) == [(0, 0, 4)]
    assert split([SIL], ["ab"], complete=False) == []
    assert split([], ["ab"], complete=False) == []
    # As many phones as there are belong to the last word.
    assert split([C, A, B], ["abc", "ab"], complete=False) == [(0, 0, 2), (1, 2, 6)]
