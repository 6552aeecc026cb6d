"""Comparisons against figures made by hand."""

import numpy as np
import pytest

from pyasr.base.errors import DataError
from pyasr.decode.compare import compare


def row(speaker, sub, words=10, **more):
    return {"speaker": speaker, "sub": sub, "del": 0, "ins": 0, "words": words, **more}


def test_relative_reduction_by_hand():
    """Two speakers, 10 words each: 4 + 2 errors against 3 + 0. Draws: both ann 25 %, one each 50 %, both bob 100 %."""
    found = compare([row("ann", 4), row("bob", 2)], [row("ann", 3), row("bob", 0)])
    assert (found.baseline_wer, found.other_wer) == (30.0, 15.0)
    assert found.relative_reduction == 50.0
    assert found.ci95 == (25.0, 100.0)
    assert found.speakers == 2 and found.holds


def test_rows_are_pooled_by_speaker_over_conditions_and_seeds():
    baseline = [row("ann", 1, condition="clean"), row("ann", 3, condition="snr5"), row("bob", 2, 20)]
    other = [row("bob", 0, 20), row("ann", 3, 20)]
    assert compare(baseline, other).relative_reduction == 50.0


def test_equal_systems_do_not_differ():
    rows = [row("ann", 4), row("bob", 2)]
    found = compare(rows, rows)
    assert found.relative_reduction == 0.0 and found.ci95 == (0.0, 0.0) and not found.holds


def test_a_worse_system_holds_below_zero():
    found = compare([row("ann", 2), row("bob", 2)], [row("ann", 3), row("bob", 4)])
    assert found.relative_reduction == -75.0 and found.ci95 == (-100.0, -50.0) and found.holds


def test_pairing_sees_a_small_but_steady_difference():
    """Speakers differ by far more than the systems do; paired, the difference is sure all the same."""
    errors = np.random.default_rng(0).integers(10, 60, size=30)
    baseline = [row(str(i), int(e), 100) for i, e in enumerate(errors)]
    other = [row(str(i), int(e) - 2, 100) for i, e in enumerate(errors)]
    found = compare(baseline, other)
    assert found.holds and 3 < found.relative_reduction < 9


def test_draws_without_baseline_errors():
    found = compare([row("ann", 0), row("bob", 4)], [row("ann", 1), row("bob", 1)])
    assert found.relative_reduction == 50.0
    assert found.ci95 == (-np.inf, 75.0) and not found.holds


def test_what_is_not_paired_is_refused():
    with pytest.raises(DataError, match="'bob'"):
        compare([row("ann", 1)], [row("ann", 1), row("bob", 1)])
    with pytest.raises(DataError, match=r"'bob' has 10 words .* 11"):
        compare([row("ann", 1), row("bob", 1)], [row("ann", 1), row("bob", 1, 11)])
    with pytest.raises(DataError, match="two speakers"):
        compare([row("ann", 1)], [row("ann", 1)])
    with pytest.raises(DataError, match="no word error"):
        compare([row("ann", 0), row("bob", 0)], [row("ann", 1), row("bob", 0)])
