"""What the page says about word errors, counted by hand."""

from __future__ import annotations

import sys

import pytest

from pyasr.decode.score import score_utterance
from pyasr.report import format
from pyasr.report.words import aligned, confusions, speaker_rates, worst

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def row(utterance_id: str, speaker: str, ref: str, hyp: str) -> dict:
    return score_utterance(utterance_id, speaker, ref.split(), hyp.split())


ROWS = [
    row("u1", "s1", "GO TO SIX", "GO TO SIX"),
    row("u2", "s1", "GO TO SIX", "GO SEVEN"),
    row("u3", "s1", "A B C", "X Y Z"),
    row("u4", "s1", "A B C", "X Y C"),
    row("u5", "s2", "ENTER SIX", "ENTER ENTER SEVEN"),  # either of the last two words may be the inserted one
]


def test_aligned() -> None:
    shown = aligned(ROWS[4])
    assert (shown.id, shown.speaker, shown.errors, shown.words) == ("u5", "s2", 2, 2)
    assert sorted(kind for _, _, kind in shown.cells) == ["ins", "ok", "sub"]
    assert ("ENTER", "ENTER", "ok") in shown.cells


def test_aligned_without_stored_alignment() -> None:
    plain = {key: value for key, value in ROWS[1].items() if key != "aligned"}
    assert aligned(plain).cells == aligned(ROWS[1]).cells


def test_worst_spreads_over_speakers() -> None:
    assert [utterance.id for utterance in worst(ROWS, 4)] == ["u3", "u2", "u5"]  # two of s1 at most; u1 has none
    assert [utterance.id for utterance in worst(ROWS, 1)] == ["u3"]
    assert worst(ROWS[:1], 3) == []


def test_confusions() -> None:
    found = confusions(ROWS)
    assert found["sub"][:2] == [("A → X", 2), ("B → Y", 2)]
    # Which of two neighbours is the missing or the added one, an alignment may choose.
    assert found["del"] in ([("TO", 1)], [("SIX", 1)]) and found["ins"] in ([("ENTER", 1)], [("SEVEN", 1)])
    assert sum(count for _, count in found["sub"]) == 7


def test_speaker_rates() -> None:
    other = [row("u1", "s1", "GO TO SIX", "GO"), row("u9", "s3", "", "")]
    table = speaker_rates({"a": {"clean": ROWS}, "b": {"clean": other}, "c": {"snr5": ROWS}}, "clean")
    assert table["systems"] == ["a", "b"]
    rates = {item["speaker"]: item for item in table["rows"]}
    assert rates["s1"]["wer"] == {"a": pytest.approx(100 * 7 / 12), "b": pytest.approx(200 / 3)}
    assert rates["s2"]["wer"] == {"a": pytest.approx(100.0), "b": None}
    assert rates["s3"]["wer"] == {"a": None, "b": None} and rates["s1"]["words"] == 12
    assert [item["speaker"] for item in table["rows"]] == ["s1", "s2", "s3"]


def test_toml_is_toml() -> None:
    options = {
        "seed": 1,
        "gmm.tri.tree.max_leaves": 500,
        "gmm.tri.realign": [10, 20],
        "corpus.kind": 'a"\\b',
        "corpus.fold": None,
        "decode.beam": 13.0,
        "test.snr_db": [],
        "corpus.check": True,
        "noise_dir": "/a b/ü",
    }
    parsed = tomllib.loads(format.toml(options))
    for name, value in options.items():
        at = parsed
        for key in name.split(".")[:-1]:
            at = at[key]
        assert at.get(name.split(".")[-1]) == value


@pytest.mark.parametrize(
    "seconds, text", [(0, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 01 s"), (3599.7, "1 h 00 min"), (3725, "1 h 02 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert format.duration(seconds) == text


def test_values() -> None:
    assert format.value({"a": 12345, "b": [1.5, "x"], "c": {}}) == "a 12,345, b 1.5; x, c none"
    assert format.value(True) == "True" and format.value(-96.34567) == "-96.35"
    assert format.memory(640.2) == "640 MB" and format.memory(1530) == "1.5 GB"
