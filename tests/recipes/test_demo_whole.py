"""The demo recipe as it is, to thresholds. Some minutes: run by .ci/full alone."""

import importlib.util
import json

import pytest

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        importlib.util.find_spec("espeakng_loader") is None, reason="needs the extra demo: pip install '.[demo]'"
    ),
]


def test_the_demo_ends_with_a_student_that_beats_supervised(recipe, tmp_path):
    recipe(tmp_path)
    results = json.loads((tmp_path / "exp" / "demo" / "results.json").read_text())
    wer = {system: {name: found["wer"] for name, found in of.items()} for system, of in results["wer"].items()}
    assert wer.keys() >= {"mono", "tri", "tri_sat", "teacher", "supervised", "student", "topline"}
    assert wer["student"]["snr10"] < wer["supervised"]["snr10"]
    assert 3 <= wer["tri"]["snr10"] <= 40, "room for later systems"
    assert wer["tri_sat"]["clean"] < wer["tri"]["snr10"]
    assert results["stages"]["tri"]["phone_start_error_ms"] <= 15
    assert max(stage["peak_memory_mb"] for stage in results["stages"].values()) < 4000
