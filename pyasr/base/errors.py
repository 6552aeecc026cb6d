"""Errors meant for the person at the keyboard.

A message says what failed, on which utterance or file, and what to do next. The command line prints it
without a traceback; anything that is not a `PyasrError` is a bug and keeps its traceback.
"""

from __future__ import annotations


class PyasrError(Exception):
    """Base of every error that pyasr raises on purpose."""


class ConfigError(PyasrError):
    """A recipe, an option or a command line that cannot be used as it is."""


class DataError(PyasrError):
    """Audio, text, a lexicon, a language model or an artifact that is missing, damaged or contradictory."""
