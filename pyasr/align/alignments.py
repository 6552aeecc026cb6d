"""Alignments on disk: the transition id of every frame of many utterances."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pyasr.base.artifact import load_arrays, save_arrays
from pyasr.base.errors import DataError


def save_alignments(path: str | Path, alignments: Mapping[str, np.ndarray]) -> None:
    """Write {cut_id: transition ids int32 (T,)}, in its order, as one .npz, atomically."""
    save_arrays(path, **pack(alignments))


def load_alignments(path: str | Path) -> dict[str, np.ndarray]:
    """Read {cut_id: transition ids int32 (T,)}; DataError when the file is missing or damaged."""
    try:
        return unpack(load_arrays(path))
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: not alignments ({error}); run the stage that writes it again") from error


def pack(alignments: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same as plain arrays: ids, lengths and all transition ids one after the other."""
    tids = [np.asarray(row, np.int32) for row in alignments.values()]
    return {
        "cut_ids": np.array(list(alignments), dtype=np.str_),
        "lengths": np.array([len(row) for row in tids], np.int64),
        "tids": np.concatenate([np.empty(0, np.int32), *tids]),
    }


def unpack(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `pack`; ValueError when the parts do not fit."""
    ids, lengths, tids = arrays["cut_ids"], arrays["lengths"], arrays["tids"]
    if len(ids) != len(lengths) or lengths.sum() != len(tids):
        raise ValueError("ids, lengths and transition ids do not belong together")
    return dict(zip(ids.tolist(), np.split(tids, np.cumsum(lengths)[:-1]) if len(ids) else []))
