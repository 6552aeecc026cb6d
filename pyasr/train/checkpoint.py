"""Checkpoints of training: written whole or not at all, tied to what they belong to, never unpickled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from pyasr.base.artifact import atomic_path
from pyasr.base.errors import DataError


def save_checkpoint(path: str | Path, key: str, state: dict[str, Any]) -> None:
    """Write tensors and plain values, atomically. key: digest of what the training is made from."""
    with atomic_path(path) as temporary:
        torch.save({"key": key, **state}, temporary)


def load_checkpoint(path: str | Path, key: str) -> dict[str, Any] | None:
    """Read a checkpoint; None when there is none, or one of another training. DataError when it is damaged."""
    path = Path(path)
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state if state["key"] == key else None
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(f"{path}: damaged checkpoint ({error}); delete it to train from the beginning") from error
