"""Claims against tables made by hand: every verdict, what is missing, and what is said of it."""

import os
import re
import runpy
import urllib.parse
from pathlib import Path

import numpy as np
import pytest

from pyasr.base.config import validate
from pyasr.base.errors import ConfigError, DataError
from pyasr.report.claim_figures import levels
from pyasr.report.claim_measures import measure
from pyasr.report.claim_options import ClaimOptions
from pyasr.report.claims import FAILS, HOLDS, INCOMPLETE, SHOWN, UNDECIDED, Declared, judge, notes
from pyasr.report.claims_page import render_claims
from pyasr.report.claims_text import claim_sentence, claims_markdown, comparison_sentence, rerun_commands, table_rows
from pyasr.report.measures_table import MeasureRow
from pyasr.report.results_table import ResultRow

SPEAKERS = [f"s{number:02}" for number in range(12)]
SETTINGS = {
    "plain": Declared("grid", "grid.toml", ((0, 1), (1, 1)), "o"),
    "wide": Declared("grid", "grid.toml", ((0, 1), (1, 1)), "o"),
    "one": Declared("other", "other.toml", ((0, 1),), "o"),
}


def rows(system, setting, errors, conditions=("clean", "snr10"), folds=(0, 1), experiment="grid", **changes):
    """Errors in 20 words of each speaker: a number, or a function of the speaker's place and the condition."""
    made = []
    for fold in folds:
        for condition in conditions:
            for place, speaker in enumerate(SPEAKERS[fold * 6 : fold * 6 + 6]):
                count = errors(place, condition) if callable(errors) else errors
                values = dict(
                    experiment=experiment, setting=setting, recipe="an4", fold=fold, seed=1, system=system,
                    condition=condition, speaker=speaker, substitutions=count, deletions=0, insertions=0, words=20,
                    settings={}, options="o", revision="r", command="c",
                )  # fmt: skip
                made.append(ResultRow(**{**values, **changes}))
    return made


def claim(*comparisons, **keys):
    given = {"base": "supervised@plain", "system": "student@plain", "conditions": ["clean", "snr10", "all"]}
    each = [
        {"label": f"number {number}", **({} if "gap" in one else given), **one}
        for number, one in enumerate(comparisons or [{}], 1)
    ]
    values = {"name": "a", "title": "It is so", "article": "It is <so>.", "comparison": each, **keys}
    return validate(ClaimOptions, values, "test")


def judged(table, *comparisons, measures=(), **keys):
    return judge([claim(*comparisons, **keys)], table, measures, SETTINGS, ())[0]


BASE = rows("supervised", "plain", lambda place, condition: 6 + place % 2)


@pytest.mark.parametrize(
    ("student", "expect", "verdict"),
    [
        (4, {}, HOLDS),
        (9, {}, FAILS),
        (lambda place, condition: 6 + (place + 1) % 2, {}, UNDECIDED),
        (lambda place, condition: 6 + place % 2, {"expect": "not_worse", "measure": "points", "margin": 1.0}, HOLDS),
        (9, {"expect": "not_worse", "measure": "points", "margin": 1.0}, FAILS),
        (lambda place, condition: 6 + (place + 1) % 2, {"expect": "not_worse", "measure": "points"}, UNDECIDED),
        (9, {"expect": "not_better", "margin": 1.0}, HOLDS),
        (4, {"expect": "not_better", "margin": 1.0}, FAILS),
        (4, {"expect": "shown"}, SHOWN),
    ],
)
def test_the_interval_decides(student, expect, verdict):
    found = judged(BASE + rows("student", "plain", student), expect)
    assert found.verdict == verdict == found.compared[0].outcomes[-1].verdict
    assert found.compared[0].outcomes[-1].folds == 2


def test_figures_are_those_of_the_table():
    (found,) = judged(BASE + rows("student", "plain", 4), {"published": [10.0, 22.0]}).compared
    pooled = found.outcomes[-1].measured
    assert pooled.sides == (32.5, 20.0) and pooled.estimate == pytest.approx(100 * 2.5 / 6.5) and pooled.speakers == 12
    said = comparison_sentence(found)
    assert said.startswith("38.5 % fewer errors [") and "over all conditions (WER 32.5 to 20.0 %, 12 speakers)" in said
    assert "the article has 10 to 22 %, less than here" in said
    assert [row[1] for row in table_rows(found)] == ["clean speech", "10 dB", "all conditions"]
    worse = comparison_sentence(judged(BASE + rows("student", "plain", 9)).compared[0])
    assert worse.startswith("38.5 % more errors [")


def test_missing_rows_leave_a_claim_open_and_are_named():
    student = rows("student", "plain", 4, folds=(0,)) + rows("student", "plain", 4, ("clean",), (1,))
    found = judged(BASE + student)
    assert found.verdict == INCOMPLETE and claim_sentence(found) == "Incomplete: 1 of 1 comparisons lack rows."
    clean, _, pooled = found.compared[0].outcomes
    assert clean.verdict == HOLDS and pooled.measured.speakers == 12  # one fold in part: what both have
    assert "no rows of student@plain (fold 1: snr10)" in comparison_sentence(found.compared[0])
    # The rows of one speaker are missing: nothing is computed from half a test part.
    assert judged(BASE + rows("student", "plain", 4)[:-1]).verdict == INCOMPLETE


def test_nothing_at_all_is_one_row():
    found = judged(BASE[:0] + rows("mono", "plain", 4))
    assert found.verdict == INCOMPLETE and found.compared[0].is_empty
    assert table_rows(found.compared[0]) == [["number 1", "", "missing", "missing", "missing", "", "incomplete"]]
    assert comparison_sentence(found.compared[0]) == "no rows of plain (fold 0, fold 1)"


def test_a_gap_says_why():
    found = judged(BASE + rows("student", "plain", 4), {}, {"gap": "there is no such speech"})
    assert found.verdict == INCOMPLETE and found.compared[1].is_empty
    said = claim_sentence(found)
    assert said.startswith("Incomplete: holds for number 1 (38.5 % [") and said.endswith("]); 1 cannot be run yet.")
    assert claim_sentence(judged(BASE + rows("student", "plain", 9))).startswith("Fails for number 1 (-38.5 % [")
    assert comparison_sentence(found.compared[1]) == "there is no such speech"


def test_what_fails_weighs_more_than_what_is_missing():
    table = BASE + rows("student", "plain", 9)
    assert judged(table, {}, {"system": "student@wide"}).verdict == FAILS
    assert judged(table, {"expect": "shown"}).verdict == SHOWN


def test_sides_of_two_experiments_are_compared_in_the_runs_of_both():
    table = BASE + rows("student", "one", 4, folds=(0,), experiment="other")
    (found,) = judged(table, {"system": "student@one"}).compared
    assert found.verdict == HOLDS and found.outcomes[-1].measured.speakers == 6
    stranger = rows("student", "one", 4, folds=(0,), experiment="grid")  # of that name, but not of that experiment
    assert judged(BASE + stranger, {"system": "student@one"}).verdict == INCOMPLETE
    assert rerun_commands(judged(table, {"system": "student@one"}), SETTINGS) == [
        "python -m pyasr.run experiment grid.toml --corpus-dir AN4 --noise-dir NOISE --setting plain",
        "python -m pyasr.run experiment other.toml --corpus-dir AN4 --noise-dir NOISE --setting one",
    ]


def test_folds_can_be_chosen():
    table = BASE + rows("student", "plain", 4, folds=(0,))
    assert judge([claim()], table, (), SETTINGS, (0,))[0].verdict == HOLDS
    with pytest.raises(ConfigError, match="claim a: number 1: no run that the settings of all its sides"):
        judge([claim()], table, (), SETTINGS, (5,))


def test_older_rows_are_noted():
    assert notes(BASE, SETTINGS) == []
    (said,) = notes(rows("mono", "plain", 4, options="older") + BASE, SETTINGS)
    assert said.startswith("rows of plain were made with other options")


def counts(errors, words=20):
    return [
        {"speaker": name, "sub": count, "del": 0, "ins": 0, "words": words} for name, count in zip(SPEAKERS, errors)
    ]


def test_measures_by_hand():
    reference, base, system = counts([10, 10, 8]), counts([8, 8, 6]), counts([7, 7, 5])
    more = measure("more_reduction", [reference, base, system])
    assert more.estimate == pytest.approx(50.0) and more.ends[0] == pytest.approx(50.0)  # 9 fewer instead of 6
    assert measure("points", [base, system]).estimate == pytest.approx(100 * 3 / 60)
    noisy = [counts([20, 20, 20], 60), counts([15, 15, 15], 60)]
    noise = measure("more_in_noise", [reference, base, *noisy])
    assert noise.estimate == pytest.approx(25.0 - 100 * 6 / 28)
    assert noise.sides == pytest.approx((140 / 3, 110 / 3, 100 / 3, 25))


def test_a_base_that_reduces_nothing_bounds_no_ratio():
    reference, base, system = counts([10, 10, 10]), counts([12, 9, 8]), counts([7, 7, 7])
    assert measure("more_reduction", [reference, base, system]).ends[1] == np.inf
    with pytest.raises(DataError, match="more_reduction is not defined"):
        measure("more_reduction", [reference, reference, system])
    with pytest.raises(DataError, match="not paired"):
        measure("reduction", [reference, system[:2]])
    with pytest.raises(DataError, match="the speakers in noise"):
        measure("more_in_noise", [reference, base, reference[:2], base[:2]])


def test_more_in_noise_takes_all_of_a_run_or_nothing():
    table = BASE + rows("student", "plain", lambda place, condition: 5 if condition == "clean" else 2)
    chosen = {"measure": "more_in_noise", "conditions": ["clean", "snr10"]}
    (found,) = judged(table, chosen).compared
    assert found.verdict == HOLDS and "points more reduction in noise [" in comparison_sentence(found)
    without = [row for row in table if (row.fold, row.condition) != (1, "snr10")]
    assert judged(without, chosen).compared[0].outcomes[0].measured.speakers == 6


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        ({"system": "student@none"}, "claim a: number 1: no setting none; there are plain, wide, one"),
        ({"system": "student"}, "comparison.0.system"),
        ({"gap": "why", "base": "supervised@plain"}, "either base and system, or a gap"),
        ({"measure": "more_reduction"}, "reference is the third side"),
        ({"conditions": ["all"]}, "name those that all stand for"),
        ({"expct": "better"}, "did you mean 'comparison.0.expect'"),
        ({"measure": "loss"}, "comparison.0.measure"),
        ({"also": {"loss": {}}}, "comparison.0.also"),
        ({"also": {"dev_loss": 1.0}}, "comparison.0.also.dev_loss"),
        ({"also": {"dev_loss": {"margn": 1.0}}}, "did you mean 'comparison.1.margin'"),
        ({"measure": "kept", "reference": "mono@plain"}, "reference is the third side"),
    ],
)
def test_mistakes_are_named(comparison, message):
    with pytest.raises(ConfigError) as caught:
        judged(BASE, comparison)
    assert message in str(caught.value)


def test_keys_for_each_comparison():
    found = claim({}, {"margin": 2.0}, {"gap": "why"}, each={"margin": 1.0, "published": [5.0]})
    assert [one.margin for one in found.comparison] == [1.0, 2.0, 0.0]
    assert [one.published for one in found.comparison] == [(5.0,), (5.0,), ()]


def values(system, setting, of_folds, measure="dev_loss", **changes):
    """A row of a measure for each fold."""
    keys = dict(experiment="grid", setting=setting, recipe="an4", seed=1, system=system, options="o", revision="r")
    return [MeasureRow(measure=measure, fold=fold, value=value, **{**keys, **changes})
            for fold, value in enumerate(of_folds)]  # fmt: skip


LOSS = {"measure": "dev_loss", "expect": "not_worse", "margin": 1.0}


@pytest.mark.parametrize(
    ("student", "keys", "verdict"),
    [
        ([1.009, 2.01], {}, HOLDS),
        ([1.02, 2.05], {}, FAILS),
        ([1.009, 2.05], {}, UNDECIDED),
        ([0.9, 1.9], {"expect": "better"}, HOLDS),
        ([0.9, 2.1], {"expect": "better"}, UNDECIDED),
        ([0.995, 1.99], {"expect": "not_better"}, HOLDS),
        ([0.5, 1.0], {"expect": "not_better"}, FAILS),
        ([0.5, 3.0], {"expect": "shown"}, SHOWN),
    ],
)
def test_every_run_decides_of_a_measure(student, keys, verdict):
    measures = values("supervised", "plain", [1.0, 2.0]) + values("student", "plain", student)
    (found,) = judged((), {**LOSS, **keys}, measures=measures).compared
    assert found.verdict == verdict
    assert [outcome.condition for outcome in found.outcomes] == ["fold 0", "fold 1", "mean of 2"]
    mean = found.outcomes[-1].measured
    assert mean.estimate == pytest.approx(100 * (3 - sum(student)) / 3) and mean.sides == (1.5, sum(student) / 2)
    assert mean.ends == pytest.approx(sorted((100 - 100 * student[0], 100 - 50 * student[1])))


def test_a_measure_is_said_with_all_its_runs():
    measures = values("supervised", "plain", [1.0, 2.0]) + values("student", "plain", [1.01, 2.0])
    (found,) = judged((), LOSS, measures=measures).compared
    assert comparison_sentence(found) == "0.3 % higher loss on dev, 0.0 to 1.0 in 2 runs (mean 1.5 to 1.505)"
    assert [row[1:5] for row in table_rows(found)] == [
        ["fold 0", "1", "1.01", "-1.0 %"],
        ["fold 1", "2", "2", "0.0 %"],
        ["mean of 2", "1.5", "1.505", "-0.3 % (-1.0 to 0.0)"],
    ]
    accuracy = values("supervised", "plain", [50.0, 50.0], "dev_frame_accuracy")
    accuracy += values("student", "plain", [55.0, 60.0], "dev_frame_accuracy")
    said = comparison_sentence(judged((), {"measure": "dev_frame_accuracy"}, measures=accuracy).compared[0])
    assert said == "15.0 % higher frame accuracy on dev, 10.0 to 20.0 in 2 runs (mean 50 to 57.5)"
    said = comparison_sentence(
        judged((), {"measure": "dev_frame_accuracy", "published": [12.0]}, measures=accuracy).compared[0]
    )
    assert said.endswith("; the article has 12 %, which is among the runs")


def test_one_run_of_a_measure_decides_nothing():
    measures = values("supervised", "plain", [1.0]) + values("student", "one", [0.5], experiment="other")
    found = judged((), {**LOSS, "system": "student@one"}, measures=measures)
    assert found.verdict == UNDECIDED and len(found.compared[0].outcomes) == 1
    said = comparison_sentence(found.compared[0])
    assert said == "50.0 % lower loss on dev in fold 0 (1 to 0.5); one run decides nothing"
    assert claim_sentence(found) == "Not decided for number 1 (50.0 %)."


def test_missing_measures_leave_a_claim_open_and_are_named():
    base = values("supervised", "plain", [1.0, 1.0])
    found = judged((), LOSS, measures=base + values("student", "plain", [0.5])).compared[0]
    assert found.verdict == INCOMPLETE and found.outcomes[-1].measured.runs == 1
    assert comparison_sentence(found).endswith("no loss on dev of student@plain (fold 1)")
    other = values("student", "plain", [0.5, 0.5], "kept") + values("student", "plain", [1.0, 1.0], experiment="x")
    nothing = judged(BASE, LOSS, measures=base + other).compared[0]
    assert nothing.is_empty and comparison_sentence(nothing) == "no loss on dev of student@plain (fold 0, fold 1)"
    zero = values("supervised", "plain", [0.0, 1.0]) + values("student", "plain", [0.5, 0.5])
    undefined = judged((), LOSS, measures=zero).compared[0]
    assert undefined.verdict == INCOMPLETE and "of the base is 0: nothing is relative" in comparison_sentence(undefined)
    (said,) = notes(values("student", "plain", [1.0], options="older"), SETTINGS)
    assert said.startswith("rows of plain were made with other options")


def test_further_comparisons_by_measures_come_after_the_others():
    also = {"dev_loss": {"expect": "not_worse", "margin": 1.0}, "kept": {"label": "mass"}}
    each = {"measure": "points", "margin": 3.0, "also": also}
    found = claim({"x": 1}, {"also": {"kept": {}}}, {"gap": "why"}, each=each)
    assert [(one.label, one.measure, one.expect, one.margin, one.x) for one in found.comparison] == [
        ("number 1", "points", "better", 3.0, 1), ("number 2", "points", "better", 3.0, None),
        ("number 3", "reduction", "better", 0.0, None), ("number 1: loss on dev", "dev_loss", "not_worse", 1.0, 1),
        ("mass", "kept", "shown", 0.0, 1), ("number 2: probability kept of a frame", "kept", "shown", 0.0, None),
    ]  # fmt: skip


def all_kinds():
    """A claim of every verdict, with figures over x; and its table."""
    table = BASE + rows("student", "plain", lambda place, condition: 4 + place % 3) + rows("mono", "plain", 9)
    table += rows("student", "wide", 3, folds=(0,))
    similar = {"expect": "not_worse", "measure": "points", "margin": 1.0, "base": "student@plain"}
    claims = [
        claim({"x": 15, "published": [10.0, 22.0], "also": {"dev_loss": {}, "kept": {}}},
              {"x": 30, "x_tick": "all", "system": "topline@plain", "also": {"dev_loss": LOSS}}, x_label="speakers"),
        claim({}, name="b"),
        claim({"system": "mono@plain"}, name="c", tried="More <leaves>; no."),
        claim({**similar, "system": "student@wide"}, name="d"),
        claim({"base": "student@plain", "system": "student@plain"}, name="e"),
        claim({"expect": "shown"}, {"gap": "no <time>"}, name="f"),
        claim({}, name="g", note="Long: " + "word " * 40),
    ]
    measures = [row for system in ("supervised", "student", "topline") for row in values(system, "plain", [1.0, 1.1])]
    return judge(claims, table, measures, SETTINGS, ())


def test_the_text_holds_verdicts_figures_and_what_was_tried():
    found = all_kinds()
    assert [one.verdict for one in found] == [INCOMPLETE, HOLDS, FAILS, INCOMPLETE, UNDECIDED, INCOMPLETE, HOLDS]
    text = claims_markdown("Claims", found, SETTINGS, "made", ["rows are old"])
    for words in ("Note: rows are old.", "What was tried: More <leaves>; no.", "| holds |", "| fails |", "missing"):
        assert words in text, words
    assert claims_markdown("Claims", all_kinds(), SETTINGS, "made", ["rows are old"]) == text


def test_the_figure_over_x_has_a_panel_a_measure():
    text = urllib.parse.unquote(levels(all_kinds()[0]))
    for words in ("word error rate, per cent", "loss on dev, nats a frame", "probability kept of a frame", ">all<"):
        assert words in text, words
    assert levels(all_kinds()[1]) is None


@pytest.fixture(scope="module")
def page():
    return render_claims("Claims", all_kinds(), SETTINGS, {"revisions": "r" * 60}, "made", ["old"])


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(page):
    assert "More &lt;leaves&gt;; no." in page and "<leaves>" not in page and "no &lt;time&gt;" in page
    assert page.count('src="data:image/svg+xml') == page.count("<img") >= 7
    assert not re.search(r'<(script|link|iframe)|(src|href)="(?!data:|#)|url\(', page)


def test_equal_claims_make_equal_pages():
    once, again = (render_claims("Claims", all_kinds()[1:2], SETTINGS, {}, "made", []) for _ in range(2))
    assert once == again


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Where screenshots are kept: PYASR_ARTIFACTS (git ignores artifacts/), else pytest's own folder of the run."""
    folder = Path(os.environ.get("PYASR_ARTIFACTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    # Test modules import none of each other.
    helper = runpy.run_path(str(Path(__file__).with_name("browser.py")))
    path = helper["find_browser"]()
    if path is None:
        pytest.skip("no Chromium is installed (apt-get install chromium); PYASR_CHROMIUM names one")
    with helper["Browser"](path, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_a_phone_and_a_screen(browser, page, shots, tmp_path, width):
    (tmp_path / "claims.html").write_text(page)
    browser.open(tmp_path / "claims.html", width)
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    too_wide = "one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll, pre')"
    boxes = browser.evaluate(
        f"Array.from(document.querySelectorAll('body *')).filter(one => {too_wide}).map(one => one.outerHTML)"
    )
    assert boxes == []
    assert browser.evaluate("Array.from(document.images).every(one => one.complete && one.naturalWidth > 0)")
    assert browser.errors == []
    picture = shots / f"claims-{width}.png"
    browser.screenshot(picture, width)
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    print(f"screenshot: {picture}")
