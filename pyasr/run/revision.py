"""Which code made a result."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pyasr

# Not the tables and texts of results beside the recipes, nor claims: what their settings set is in each row's digest.
_CODE = ("pyasr", "csrc", ":(glob)recipes/**/*.toml", ":(exclude,glob)recipes/**/claims.toml")


@functools.cache
def revision() -> str:
    """The commit of the checkout that pyasr runs from, with "-dirty" for changed files; else "version X.Y.Z"."""
    root = Path(pyasr.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return f"version {pyasr.__version__}"
    try:
        commit = _git(root, "rev-parse", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *_CODE)
    except (OSError, subprocess.CalledProcessError):
        return f"version {pyasr.__version__}"
    return commit[:12] + ("-dirty" if dirty else "")


def same_code(made_by: str) -> bool:
    """Whether the code of revision `made_by` ("A+B": of each of them) is the code that runs now.

    A commit that changed only texts or results changes no code. What a "-dirty" checkout held is not known: False.
    """
    if made_by == revision():
        return not made_by.endswith("-dirty")
    return all(_unchanged_since(part) for part in made_by.split("+"))


def _unchanged_since(commit: str) -> bool:
    root = Path(pyasr.__file__).resolve().parent.parent
    if not (root / ".git").exists() or not all(letter in "0123456789abcdef" for letter in commit):
        return commit == revision()
    try:
        _git(root, "diff", "--quiet", commit, "--", *_CODE)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
