"""Scoring against counts made by hand."""

import json

import numpy as np
import pytest

from pyasr.base.errors import DataError
from pyasr.decode.bootstrap import interval95, resampled_sums
from pyasr.decode.score import (
    align_words,
    aligned_text,
    failures,
    results_json,
    score_rows,
    score_utterance,
    speaker_table,
    total,
    wer,
    wer_entry,
    wer_interval,
)


@pytest.mark.parametrize(
    ("ref", "hyp", "counts"),
    [
        ("A B C", "A B C", (0, 0, 0, 3)),
        ("A B C", "A X C", (1, 0, 0, 3)),
        ("A B C", "A C", (0, 1, 0, 3)),
        ("A C", "A B C", (0, 0, 1, 2)),
        ("A B C D", "B C D E", (0, 1, 1, 4)),
        ("A B", "", (0, 2, 0, 2)),
        ("", "A B", (0, 0, 2, 0)),
        ("", "", (0, 0, 0, 0)),
        ("ONE TWO THREE", "TWO FOUR THREE FIVE", (0, 1, 2, 3)),
    ],
)
def test_counts_by_hand(ref, hyp, counts):
    row = score_utterance("u", "s", ref.split(), hyp.split())
    assert (row["sub"], row["del"], row["ins"], row["words"]) == counts
    assert [r for r, _ in row["aligned"] if r is not None] == ref.split()
    assert [h for _, h in row["aligned"] if h is not None] == hyp.split()


def test_errors_are_the_edit_distance():
    generator = np.random.default_rng(0)
    for _ in range(50):
        ref, hyp = ([str(w) for w in generator.integers(0, 4, generator.integers(0, 8))] for _ in range(2))
        row = score_utterance("u", "s", ref, hyp)
        table = np.zeros((len(ref) + 1, len(hyp) + 1), int)
        table[0], table[:, 0] = np.arange(len(hyp) + 1), np.arange(len(ref) + 1)
        for i, r in enumerate(ref, 1):
            for j, h in enumerate(hyp, 1):
                table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (r != h))
        assert row["sub"] + row["del"] + row["ins"] == table[-1, -1]


def test_words_that_look_like_a_gap_are_words():
    assert align_words(["*", "", "None"], ["*", "None"]) == [("*", "*"), ("", None), ("None", "None")]


REFERENCES = {"u1": ("ann", "A B C"), "u2": ("bob", "D E"), "u3": ("ann", "F"), "u4": ("cid", "")}


def test_failed_and_missing_utterances_are_deletions_and_listed():
    rows = score_rows(
        REFERENCES,
        [{"id": "u1", "words": ["A", "B", "C"]}, {"id": "u2", "words": [], "failed": "no path"}],
    )
    assert [row["id"] for row in rows] == list(REFERENCES)
    assert total(rows) == {"sub": 0, "del": 3, "ins": 0, "words": 6}
    assert wer(total(rows)) == 50.0
    assert [row["id"] for row in failures(rows)] == ["u2", "u3", "u4"]
    assert failures(rows)[0]["reason"] == "no path"


def test_hypotheses_have_to_match_the_references():
    with pytest.raises(DataError, match=r"no reference.*'u9'"):
        score_rows(REFERENCES, [{"id": "u9", "words": []}])
    with pytest.raises(DataError, match="'u1' has two"):
        score_rows(REFERENCES, [{"id": "u1", "words": []}, {"id": "u1", "words": []}])


def test_speaker_table():
    rows = score_rows(REFERENCES, [{"id": "u1", "words": ["A", "X"]}, {"id": "u2", "words": ["D", "E", "E"]},
                                   {"id": "u3", "words": ["F"]}, {"id": "u4", "words": ["Z"]}])
    assert speaker_table(rows) == [
        {"speaker": "ann", "wer": 50.0, "sub": 1, "del": 1, "ins": 0, "words": 4},
        {"speaker": "bob", "wer": 50.0, "sub": 0, "del": 0, "ins": 1, "words": 2},
        {"speaker": "cid", "wer": None, "sub": 0, "del": 0, "ins": 1, "words": 0},
    ]


def make_rows(generator, num_speakers, rate_of_speaker, utterances=10, words=8):
    rows = []
    for speaker in range(num_speakers):
        for utterance in range(utterances):
            errors = int(generator.binomial(words, rate_of_speaker[speaker]))
            row = {"id": f"{speaker}-{utterance}", "speaker": str(speaker), "sub": errors, "del": 0, "ins": 0}
            rows.append({**row, "words": words})
    return rows


def test_results_json_has_the_agreed_form():
    rows = make_rows(np.random.default_rng(0), 10, np.linspace(0.05, 0.3, 10))
    result = results_json({"mono": {"clean": rows, "snr10": rows}}, seed=3)
    entry = result["mono"]["snr10"]
    assert list(entry) == ["wer", "ci95", "sub", "del", "ins", "words"]
    assert entry["ci95"][0] < entry["wer"] < entry["ci95"][1]
    assert json.loads(json.dumps(result)) == result
    assert result == results_json({"mono": {"clean": rows, "snr10": rows}}, seed=3)
    assert entry["wer"] == 100 * entry["sub"] / 800


def test_no_reference_words_is_an_error():
    with pytest.raises(DataError, match="no reference words"):
        wer_entry(score_rows({"u4": ("cid", "")}, []))


def test_bootstrap_of_two_speakers_by_hand():
    """Draws of (ann, bob): both ann 1/4, one each 1/2, both bob 1/4: the extremes are the speakers' own rates."""
    values = np.array([[1.0, 10.0], [3.0, 10.0]])
    low, high = interval95(values, lambda sums: 100 * sums[:, 0] / sums[:, 1], seed=1)
    assert (low, high) == (10.0, 30.0)
    sums = resampled_sums(values, seed=1)
    assert set(np.unique(sums[:, 0])) == {2.0, 4.0, 6.0}
    assert abs(np.mean(sums[:, 0] == 4.0) - 0.5) < 0.02


def test_bootstrap_draws_in_blocks_as_in_one(monkeypatch):
    values = np.random.default_rng(0).uniform(size=(7, 2))
    whole = resampled_sums(values, 1, 1000)
    monkeypatch.setattr("pyasr.decode.bootstrap._VALUES_AT_ONCE", 7 * 100)
    np.testing.assert_array_equal(whole, resampled_sums(values, 1, 1000))


def test_interval_covers_the_true_rate():
    """Speakers with rates from a distribution of mean 20 %: the interval has to hold 20 in about 95 of 100 studies."""
    generator = np.random.default_rng(4)
    studies, covered = 150, 0
    for _ in range(studies):
        rows = make_rows(generator, 40, generator.beta(2, 8, size=40))
        low, high = wer_interval(rows, seed=0, replicates=1000)
        covered += low <= 20.0 <= high
    assert 0.88 <= covered / studies <= 0.99


def test_interval_over_speakers_is_wider_than_over_utterances():
    """Errors that cluster in speakers are not seen by a bootstrap over utterances."""
    rows = make_rows(np.random.default_rng(2), 12, np.repeat([0.02, 0.5], 6))
    low, high = wer_interval(rows)
    by_utterance = [{**row, "speaker": row["id"]} for row in rows]
    narrow_low, narrow_high = wer_interval(by_utterance)
    assert high - low > 2 * (narrow_high - narrow_low)


def test_a_single_speaker_is_drawn_by_utterance():
    rows = make_rows(np.random.default_rng(2), 1, [0.3])
    low, high = wer_interval(rows)
    assert low < wer(total(rows)) < high


def test_aligned_text_is_readable():
    row = score_utterance("u", "s", ["GO", "TO", "BOSTON"], ["GO", "BOSTON", "NOW"])
    assert aligned_text(row) == "ref GO TO BOSTON *\nhyp GO *  BOSTON NOW\n       D         I"
