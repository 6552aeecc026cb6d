"""Comparisons from a table, against figures made by hand."""

import pytest

from pyasr.base.errors import ConfigError, DataError
from pyasr.report.comparison import Results, describe_parts
from pyasr.report.comparison_text import caption, default_conditions, difference_table, markdown, wer_table
from pyasr.report.results_table import ResultRow


def row(system, speaker, errors, words=10, fold=0, seed=1, condition="clean", setting="default", **changes):
    values = dict(
        experiment="x", setting=setting, recipe="an4", fold=fold, seed=seed, system=system, condition=condition,
        speaker=speaker, substitutions=errors, deletions=0, insertions=0, words=words, settings={}, options="o",
        revision="r", command="c",
    )  # fmt: skip
    return ResultRow(**{**values, **changes})


BASE, STUDENT = ("supervised", "default"), ("student", "default")


def rotation():
    """Two folds, the first with two seeds. Means over seeds: supervised ann 3, bob 2, cid 6; student 1, 1, 3."""
    errors = {
        "supervised": [("ann", 0, 1, 4), ("ann", 0, 2, 2), ("bob", 0, 1, 2), ("bob", 0, 2, 2), ("cid", 1, 1, 6)],
        "student": [("ann", 0, 1, 1), ("ann", 0, 2, 1), ("bob", 0, 1, 2), ("bob", 0, 2, 0), ("cid", 1, 1, 3)],
    }
    return [
        row(system, speaker, count, words=20 if speaker == "cid" else 10, fold=fold, seed=seed)
        for system, rows in errors.items()
        for speaker, fold, seed, count in rows
    ]


def test_rates_are_pooled_over_folds_and_averaged_over_seeds():
    results = Results.of(rotation())
    assert results.pooled(BASE, ["clean"]).wer == pytest.approx(100 * 11 / 40)
    pooled = results.pooled(STUDENT, ["clean"])
    assert pooled.wer == pytest.approx(100 * 5 / 40)
    assert pooled.missing == () and pooled.expected == 3
    assert pooled.ci95 == (10.0, 15.0)  # a speaker at 10, one at 10, one at 15 per cent: all drawn thrice at times


def test_the_difference_is_of_the_means():
    found = Results.of(rotation()).difference(BASE, STUDENT, "clean")
    assert found.comparison.relative_reduction == pytest.approx(100 * 6 / 11)
    assert (found.comparison.speakers, found.folds, found.seeds) == (3, 2, 2)
    # Drawn thrice: ann 3 -> 1, bob 2 -> 1, cid 6 -> 3. The extremes are bob or cid alone, and ann alone (1 of 27 each).
    assert found.comparison.ci95 == pytest.approx((50.0, 100 * 2 / 3))
    assert found.comparison.holds and found.reason == ""


def noisy():
    errors = {"clean": (1, 1), "snr20": (4, 3), "snr5": (8, 4)}
    return [
        row(system, speaker, counts[number], condition=condition)
        for condition, counts in errors.items()
        for number, system in enumerate(("supervised", "student"))
        for speaker in ("ann", "bob")
    ]


def test_conditions_are_pooled():
    results = Results.of(noisy())
    assert results.conditions == ["clean", "snr20", "snr5"]
    assert default_conditions(results) == ["clean", "snr20", "snr5", "noisy", "all"]
    reduction = {
        name: results.difference(BASE, STUDENT, name).comparison.relative_reduction
        for name in default_conditions(results)
    }
    assert reduction == pytest.approx(
        {"clean": 0.0, "snr20": 25.0, "snr5": 50.0, "noisy": 100 * 5 / 12, "all": 100 * 5 / 13}
    )


def test_missing_rows_are_shown_as_missing():
    rows = [row for row in rotation() if (row.system, row.fold) != ("student", 1)]
    results = Results.of(rows)
    assert results.missing(STUDENT, ["clean"]) == ((1, 1, "clean"),)
    found = results.difference(BASE, STUDENT, "clean")
    assert found.comparison.relative_reduction == pytest.approx(60.0)  # ann 3 -> 1, bob 2 -> 1
    assert (found.folds, found.missing[STUDENT]) == (1, ((1, 1, "clean"),))
    (columns, cells), missing = wer_table(results, ["clean"])
    assert columns == ["system", "clean"]
    assert cells[0][1].startswith("27.50 [") and "runs" not in cells[0][1]
    assert cells[1][1].startswith("10.00 [") and cells[1][1].endswith("(2 of 3 runs)")
    assert missing == ["missing: student: fold 1 seed 1 (clean)"]
    (_, lines), _ = difference_table([found], False)
    assert lines[0][-2:] == ["1", "2 (in part)"]


def test_half_a_test_part_is_missing():
    """A rate over some of the speakers would stand beside one over all of them."""
    rows = [row for row in rotation() if (row.system, row.speaker, row.seed) != ("student", "bob", 2)]
    assert Results.of(rows).missing(STUDENT, ["clean"]) == ((0, 2, "clean"),)


def test_a_system_that_is_not_there_at_all():
    rows = [*rotation(), row("topline", "ann", 0, setting="other"), row("topline", "bob", 0, setting="other")]
    results = Results.of(rows)
    (columns, cells), _ = wer_table(results, ["clean"])
    assert columns[:2] == ["setting", "system"]
    assert [line[:2] for line in cells] == [["default", "supervised"], ["default", "student"], ["other", "topline"]]
    assert results.pairs("supervised", "student") == [(("supervised", "default"), ("student", "default"))]
    found = results.difference(BASE, ("topline", "default"), "clean")
    assert found.comparison is None
    (_, lines), reasons = difference_table([found], True)
    assert lines[0][:6] == ["supervised@default", "topline@default", "clean", *["missing"] * 3] and reasons == []


def test_a_difference_that_is_not_defined_says_why():
    results = Results.of(row(system, name, 0) for system in ("supervised", "student") for name in ("ann", "bob"))
    (_, lines), reasons = difference_table([results.difference(BASE, STUDENT, "clean")], False)
    assert lines[0][3:6] == ["-"] * 3
    assert reasons == [
        "student against supervised, clean: the baseline makes no word error: a relative difference is not defined"
    ]


def test_settings_are_compared_with_each_other_or_one_by_one():
    results = Results.of([
        row(system, speaker, 2, setting=setting)
        for system in ("supervised", "student") for setting in ("segregated", "interleaved") for speaker in ("a", "b")
    ])  # fmt: skip
    assert results.pairs("supervised", "student") == [
        (("supervised", "segregated"), ("student", "segregated")),
        (("supervised", "interleaved"), ("student", "interleaved")),
    ]
    assert results.pairs("student@segregated", "student@interleaved") == [
        (("student", "segregated"), ("student", "interleaved"))
    ]
    assert results.pairs("student@segregated", "student") == [(("student", "segregated"), ("student", "interleaved"))]
    with pytest.raises(ConfigError, match="--system student@mixed: no such setting; the table has segregated, "):
        results.pairs("student", "student@mixed")
    with pytest.raises(ConfigError, match="--base tri: no such system; the table has supervised, student"):
        results.pairs("tri", "student")


def test_an_experiment_is_chosen():
    rows = [row("tri", "ann", 1), row("tri", "ann", 1, experiment="y")]
    assert Results.of(rows, "y").experiment == "y"
    with pytest.raises(ConfigError, match="experiments x, y: choose one with --experiment"):
        Results.of(rows)
    with pytest.raises(ConfigError, match="--experiment z: not in the table, which holds x, y"):
        Results.of(rows, "z")
    with pytest.raises(DataError, match="no rows"):
        Results.of([])


def test_rows_of_different_options_are_told():
    notes = Results.of([row("tri", "ann", 1), row("tri", "bob", 1, fold=1, options="p", revision="s")]).notes()
    assert notes[0] == "revisions: r, s"
    assert "setting default were made with 2 different sets of options" in notes[1]


def test_what_the_figures_are_pooled_over():
    assert caption(Results.of(rotation())).startswith("x: 2 folds (0, 1), seeds 1, 2, 3 speakers.")
    official = Results.of([row("tri", "ann", 1, fold=None), row("tri", "bob", 1, fold=None)])
    assert caption(official).startswith("x: the official split, seeds 1, 2 speakers.")


def test_parts_in_words():
    parts = [(3, 1, "clean"), (3, 1, "snr5"), (4, 1, "clean"), (4, 1, "snr5"), (None, 2, "clean")]
    assert describe_parts(parts) == "fold 3 seed 1, fold 4 seed 1 (clean, snr5); seed 2 (clean)"


def test_markdown():
    assert markdown((["a", "b"], [["1", "x|y"]])) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"
