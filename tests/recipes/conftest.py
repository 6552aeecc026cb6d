"""One run of the tiny demo recipe, which several tests look at."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TINY = Path(__file__).resolve().parent / "tiny.toml"


def run_recipe(folder, *arguments):
    """`python -m pyasr.run` as a user calls it; its output, or a failed test with what it said."""
    command = [sys.executable, "-m", "pyasr.run", "--executor", "processes:2", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def recipe():
    return run_recipe


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """(folder with exp/, what the run said)."""
    if importlib.util.find_spec("espeakng_loader") is None:
        pytest.skip("needs the extra demo: pip install '.[demo]'")
    folder = tmp_path_factory.mktemp("demo")
    return folder, run_recipe(folder, "--recipe", TINY, "--exp", "exp")
