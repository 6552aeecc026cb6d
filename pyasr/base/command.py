"""How a command line ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from pyasr.base.errors import PyasrError


def run_command(app: Callable[..., Any], name: str) -> None:
    """Run a typer app. Exit codes: 0 done, 1 an error (a message, no traceback), 2 a wrong command line."""
    try:
        app(prog_name=name)
    except PyasrError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
