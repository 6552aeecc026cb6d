"""The libraries of the extra `export`, which nothing else needs."""

from __future__ import annotations

import importlib
from typing import Any

from pyasr.base.errors import ConfigError


def load(name: str) -> Any:
    """A module of the extra; ConfigError says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} is missing or broken ({error}); install it: pip install '.[export]'") from error
