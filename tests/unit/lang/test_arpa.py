import gzip
import os

import pytest

from pyasr.base.errors import DataError
from pyasr.lang.arpa import clean_arpa
from pyasr.lang.ngram import estimate_arpa

GOOD = """a free preamble, which may mention \\data\\ too
\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-1.0 </s>
-99 <s> -0.3
-0.5 YES -0.2
-0.6 UNHEARD 0.1

\\2-grams:
-0.2 <s> YES
-0.3 YES UNHEARD

\\end\\
"""


def test_unknown_words_are_dropped_and_listed(tmp_path):
    (tmp_path / "in.arpa").write_text(GOOD)
    report = clean_arpa(tmp_path / "in.arpa", {"YES"}, tmp_path / "out.arpa")
    assert report.dropped_words == ["UNHEARD"] and report.dropped_ngrams == 2 and report.num_ngrams == [3, 1]
    again = clean_arpa(tmp_path / "out.arpa", {"YES"}, tmp_path / "again.arpa")
    assert again.num_ngrams == [3, 1] and again.dropped_ngrams == 0
    assert (tmp_path / "again.arpa").read_text() == (tmp_path / "out.arpa").read_text()


def test_gzip_is_read_and_a_cut_off_one_is_refused(tmp_path):
    path = tmp_path / "in.arpa.gz"
    path.write_bytes(gzip.compress(GOOD.encode()))
    assert clean_arpa(path, {"YES"}, tmp_path / "out.arpa").num_ngrams == [3, 1]
    path.write_bytes(gzip.compress(GOOD.encode())[:-20])
    with pytest.raises(DataError, match=r"in\.arpa\.gz:\d+: (cannot read on|the file ends)"):
        clean_arpa(path, {"YES"}, tmp_path / "out.arpa")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("ngram 1=4", "ngram 1=5", r":12: 4 n-grams of order 1, the header says 5"),
        ("ngram 1=4", "ngram 1=3", r":10: \\2-grams: or|:10: .*expected, found '-0.6 UNHEARD 0.1'"),
        ("ngram 2=2", "ngram 3=2", r":4: order 3 where 2 is expected"),
        ("-0.5 YES -0.2", "-0.5 YES -0.2 7", r":9: 4 fields, an n-gram of order 1 has 2 or 3"),
        ("-0.3 YES UNHEARD", "-0.3 YES", r":14: 2 fields, an n-gram of order 2 has 3 or 4"),
        ("-0.5 YES", "0.5 YES", r":9: log-probability 0.5 is above 0"),
        ("-0.5 YES", "nan YES", r":9: 'nan' is not finite"),
        ("-0.5 YES", "half YES", r":9: 'half' is not a number"),
        ("-0.3 YES UNHEARD", "-0.3 <s> YES", r":14: n-gram '<s> YES' is given twice"),
        ("-0.3 YES UNHEARD", "-0.3 YES NO", r":14: word 'NO' has no unigram"),
        ("-1.0 </s>", "-1.0 STOP", r"the unigrams lack </s>; add it"),
        ("-99 <s> -0.3", "-99 BEGIN -0.3", r"the unigrams lack <s>"),
        ("\\end\\\n", "", r"the file ends, .*\\end\\ expected: it is cut off"),
        ("\\data\\\nngram", "ngram", r"the file ends, \\data\\ expected"),
        ("\\2-grams:", "\\3-grams:", r":12: \\2-grams: expected, found '\\\\3-grams:'"),
    ],
)
def test_damage_names_file_line_and_reason(tmp_path, old, new, message):
    assert old in GOOD
    (tmp_path / "in.arpa").write_text(GOOD.replace(old, new))
    with pytest.raises(DataError, match=r"in\.arpa") as caught:
        clean_arpa(tmp_path / "in.arpa", {"YES"}, tmp_path / "out.arpa")
    assert caught.match(message)
    assert sorted(os.listdir(tmp_path)) == ["in.arpa"]


def test_text_that_is_not_utf8_names_the_line(tmp_path):
    (tmp_path / "in.arpa").write_bytes(GOOD.encode().replace(b"YES -0.2", b"YE\xff -0.2"))
    with pytest.raises(DataError, match=r"in\.arpa:9: not UTF-8"):
        clean_arpa(tmp_path / "in.arpa", {"YES"}, tmp_path / "out.arpa")


def test_a_model_without_known_words_is_refused(tmp_path):
    (tmp_path / "in.arpa").write_text(GOOD)
    with pytest.raises(DataError, match="none of its words has a pronunciation; do lexicon and case match"):
        clean_arpa(tmp_path / "in.arpa", {"yes"}, tmp_path / "out.arpa")
    with pytest.raises(DataError, match=r"none\.arpa: no such language model"):
        clean_arpa(tmp_path / "none.arpa", {"yes"}, tmp_path / "out.arpa")


def read_arpa(path):
    """log10 values by n-gram: (probabilities, back-off weights)."""
    logp, backoff, order = {}, {}, 0
    for line in path.read_text().splitlines():
        if line.endswith("-grams:"):
            order = int(line[1])
        elif order and line and not line.startswith("\\"):
            fields = line.split()
            ngram = tuple(fields[1 : order + 1])
            logp[ngram] = float(fields[0])
            if len(fields) > order + 1:
                backoff[ngram] = float(fields[-1])
    return logp, backoff


def probability(logp, backoff, history, word):
    if (*history, word) in logp:
        return 10 ** logp[(*history, word)]
    if not history:
        return 0.0
    return 10 ** backoff.get(history, 0.0) * probability(logp, backoff, history[1:], word)


TEXT = [line.split() for line in ["a b a", "a c", "b b a c", "c"]]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_sum_to_one_after_every_history(tmp_path, order):
    estimate_arpa(TEXT, order, tmp_path / "lm.arpa", vocabulary=["unseen"])
    logp, backoff = read_arpa(tmp_path / "lm.arpa")
    words = [ngram[0] for ngram in logp if len(ngram) == 1 and ngram != ("<s>",)]
    assert sorted(words) == ["</s>", "a", "b", "c", "unseen"]
    histories = {(), *(ngram for ngram in logp if len(ngram) < order and ngram[-1] != "</s>")}
    for history in histories:
        assert abs(sum(probability(logp, backoff, history, word) for word in words) - 1) < 1e-4
    clean_arpa(tmp_path / "lm.arpa", {"a", "b", "c", "unseen"}, tmp_path / "clean.arpa")


def test_probabilities_equal_hand_computed_ones(tmp_path):
    estimate_arpa([["a", "b"], ["a"]], 2, tmp_path / "lm.arpa")
    logp, backoff = read_arpa(tmp_path / "lm.arpa")
    # Events: a b </s> a </s>: c(a) = 2, c(b) = 1, c(</s>) = 2, 5 tokens, 3 types, uniform 1/3.
    p_a, p_b, p_end = 3 / 8, 2 / 8, 3 / 8
    assert 10 ** logp[("a",)] == pytest.approx(p_a, abs=1e-5) and 10 ** logp[("b",)] == pytest.approx(p_b, abs=1e-5)
    # After a: b once, </s> once; two types.
    assert 10 ** logp[("a", "b")] == pytest.approx((1 + 2 * p_b) / 4, abs=1e-5)
    assert 10 ** logp[("a", "</s>")] == pytest.approx((1 + 2 * p_end) / 4, abs=1e-5)
    assert 10 ** backoff[("a",)] == pytest.approx(2 / 4, abs=1e-5)
    # After <s>: a twice; one type.
    assert 10 ** logp[("<s>", "a")] == pytest.approx((2 + p_a) / 3, abs=1e-5)


def test_no_text_is_refused(tmp_path):
    with pytest.raises(DataError, match="no sentence"):
        estimate_arpa([[], []], 2, tmp_path / "lm.arpa")
