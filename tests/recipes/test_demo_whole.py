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


def test_the_demo_leaves_room_for_later_systems(recipe, tmp_path):
    recipe(tmp_path)
    results = json.loads((tmp_path / "exp" / "demo" / "results.json").read_text())
    assert 3 <= results["wer"]["tri"]["snr10"]["wer"] <= 40
    assert results["wer"]["tri_sat"]["clean"]["wer"] < results["wer"]["tri"]["snr10"]["wer"]
    assert results["stages"]["tri"]["phone_start_error_ms"] <= 15
    assert max(stage["peak_memory_mb"] for stage in results["stages"].values()) < 4000
