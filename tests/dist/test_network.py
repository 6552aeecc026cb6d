"""Exchanges between hosts: network namespaces with links of 100 Mbit/s, a gloo process in each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyasr.nn.model import AcousticModel
from pyasr.nn.options import NetworkOptions

pytestmark = pytest.mark.full
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "network.py"
UNITS = 32


def measure(folder, *arguments):
    command = [sys.executable, SCRIPT, "--hosts", "2", "--mbit", "100", "--json", folder / "rows.json", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
    if "skipped:" in ended.stdout:
        pytest.skip(ended.stdout.strip())
    return ended


def namespaces():
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout


def test_two_hosts_send_what_each_method_has_to_at_the_rate_of_their_link(tmp_path):
    ended = measure(tmp_path, "--layers", "1", "--units", f"{UNITS}")
    assert ended.returncode == 0, ended.stderr
    found = {row["method"]: row for row in json.loads((tmp_path / "rows.json").read_text()) if "method" in row}
    dense = 4 * AcousticModel(192, 3183, NetworkOptions(preset="student", layers=1, units=UNITS)).num_parameters
    # Headers are a twentieth; acknowledgements of what comes in about a hundredth.
    assert found["fp32"]["bytes"] == pytest.approx(1.06 * dense, rel=0.05)
    assert found["bf16"]["bytes"] == pytest.approx(1.06 * dense / 2, rel=0.05)
    assert found["bmuf"]["bytes"] == pytest.approx(found["fp32"]["bytes"], rel=0.05)
    assert found["gtc"]["density"] < 2e-3 and found["gtc"]["bytes"] < found["fp32"]["bytes"] / 50
    for method in ("fp32", "bf16", "bmuf"):
        assert found[method]["seconds"] > 0.9 * found[method]["bytes"] / 12.5e6, method
    assert found["gtc"]["seconds"] < found["fp32"]["seconds"] / 2
    assert "pyasr-host" not in namespaces()


def test_hosts_that_fail_are_removed(tmp_path):
    ended = measure(tmp_path, "--layers", "0")
    assert ended.returncode and "hosts [0, 1] of 2 at 100.0 Mbit/s failed" in ended.stderr
    assert "pyasr-host" not in namespaces()


def test_without_permission_it_says_so_and_measures_nothing(tmp_path):
    """Without the tools on the path: a user without rights gets no further either."""
    command = [sys.executable, SCRIPT, "--json", tmp_path / "rows.json"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), "PATH": str(tmp_path)}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert ended.returncode == 0 and "skipped: no ip and no tc here" in ended.stdout, ended.stderr
    assert json.loads((tmp_path / "rows.json").read_text()) == []
