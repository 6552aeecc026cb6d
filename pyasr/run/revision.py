"""Which code made a result."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pyasr


@functools.cache
def revision() -> str:
    """The commit of the checkout that pyasr runs from, with "-dirty" for changed files; else "version X.Y.Z"."""
    root = Path(pyasr.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return f"version {pyasr.__version__}"
    try:
        commit = _git(root, "rev-parse", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "pyasr", "csrc", "recipes")
    except (OSError, subprocess.CalledProcessError):
        return f"version {pyasr.__version__}"
    return commit[:12] + ("-dirty" if dirty else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
