"""Fixtures for everybody: the folders of real speech, which not every machine has."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def an4_dir() -> Path:
    """The AN4 corpus: set PYASR_AN4_DIR to run the tests that need it."""
    return _folder("PYASR_AN4_DIR")


@pytest.fixture(scope="session")
def noise_dir() -> Path:
    """Recorded noise with train/ and test/: set PYASR_NOISE_DIR to run the tests that need it."""
    return _folder("PYASR_NOISE_DIR")


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    if not Path(value).is_dir():
        pytest.fail(f"{variable}={value} is not a folder")
    return Path(value).resolve()
