"""One run at a time in an experiment folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from pyasr.base.errors import ConfigError


@contextlib.contextmanager
def locked(exp: Path) -> Iterator[None]:
    """Hold EXP/.lock; ConfigError names the run that holds it. The kernel frees it when a holder is killed."""
    exp.mkdir(parents=True, exist_ok=True)
    with open(exp / ".lock", "a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise ConfigError(
                f"{exp} is in use by another run ({holder}); wait for it, or choose another folder with --exp"
            ) from error
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}")
        stream.flush()
        yield
