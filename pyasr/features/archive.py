"""Feature matrices on disk: raw float32 parts and one index, memory-mapped when read.

    index.json       {"version": 1, "dim": D, "parts": [{"file", "frames", "sha256", "cuts": [[cut_id, T]]}]}
    part-00000.f32   little-endian float32, the (T, D) matrices of its cuts one after the other
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.base.artifact import atomic_dir, digest_file, read_json, write_json
from pyasr.base.errors import DataError

_VERSION = 1
_DTYPE = np.dtype("<f4")
_INDEX = "index.json"


class FeatureArchive(Mapping):
    """cut_id -> (T, D) float32, read-only views of memory-mapped files, in the order they were written.

    Opening checks the index and the sizes; the digest of a part is checked when it is first read.
    An archive that is sent to another process is opened there again.
    """

    def __init__(self, folder: Path, dim: int, parts: list[dict[str, Any]]) -> None:
        self.folder = folder
        self.dim = dim
        self._parts = parts
        self._mapped: dict[int, np.ndarray] = {}
        self._rows: dict[str, tuple[int, int, int]] = {}
        for number, part in enumerate(parts):
            begin = 0
            for cut_id, length in part["cuts"]:
                if cut_id in self._rows:
                    raise DataError(f"{folder}: {cut_id} is there twice; extract again")
                self._rows[cut_id] = (number, begin, begin + length)
                begin += length

    @classmethod
    def open(cls, folder: str | Path) -> FeatureArchive:
        """Open an archive; DataError when its index or the size of a part is not as it was written."""
        folder = Path(folder)
        index = read_json(folder / _INDEX)
        try:
            version, dim, parts = index["version"], int(index["dim"]), index["parts"]
            if version != _VERSION:
                raise DataError(f"{folder / _INDEX}: format {version!r}, expected {_VERSION}; extract again")
            for part in parts:
                _check_part(folder, dim, part)
            return cls(folder, dim, parts)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder / _INDEX}: damaged ({error!r}); extract again") from error

    @classmethod
    def write(cls, folder: str | Path, rows: Iterable[tuple[str, np.ndarray]]) -> FeatureArchive:
        """Write (cut_id, (T, D) float32) rows as one part, atomically, and open the archive."""
        with atomic_dir(folder) as temporary:
            seal(temporary, [write_part(temporary, 0, rows)])
        return cls.open(folder)

    def __getitem__(self, cut_id: str) -> np.ndarray:
        number, begin, end = self._rows[cut_id]
        if number not in self._mapped:
            self._mapped[number] = self._map(self._parts[number])
        return self._mapped[number][begin:end]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, cut_id: object) -> bool:
        return cut_id in self._rows

    def num_frames(self, cut_id: str) -> int:
        """T of a cut, without reading it."""
        _, begin, end = self._rows[cut_id]
        return end - begin

    @property
    def total_frames(self) -> int:
        return sum(part["frames"] for part in self._parts)

    def __reduce__(self) -> Any:
        return FeatureArchive.open, (self.folder,)

    def _map(self, part: dict[str, Any]) -> np.ndarray:
        file = self.folder / part["file"]
        if digest_file(file) != part["sha256"]:
            raise DataError(f"{file}: content differs from what was written; extract again")
        shape = (part["frames"], self.dim)
        return np.memmap(file, _DTYPE, "r", shape=shape) if part["frames"] else np.empty(shape, _DTYPE)


def _check_part(folder: Path, dim: int, part: dict[str, Any]) -> None:
    file = folder / part["file"]
    lengths = [length for _, length in part["cuts"]]
    frames = sum(lengths)
    if frames != part["frames"] or min(lengths, default=0) < 0 or not isinstance(part["sha256"], str):
        raise DataError(f"{folder / _INDEX}: {part['file']} does not match its cuts; extract again")
    if not file.is_file():
        raise DataError(f"{file}: missing; extract again")
    size, expected = file.stat().st_size, frames * dim * _DTYPE.itemsize
    if size != expected:
        raise DataError(f"{file}: {size} bytes instead of {expected}; extract again")


def write_part(folder: Path, number: int, rows: Iterable[tuple[str, np.ndarray]]) -> dict[str, Any]:
    """Write one part into a folder that is being made; return its entry of the index, with "dim".

    Used by parallel extraction: each job writes its part, the parent then calls `seal`.
    """
    name = f"part-{number:05d}.f32"
    sha, cuts, dim = hashlib.sha256(), [], 0
    with open(folder / name, "wb") as stream:
        for cut_id, matrix in rows:
            if matrix.ndim != 2 or (cuts and matrix.shape[1] != dim):
                raise ValueError(f"{cut_id}: features of shape {matrix.shape}, expected (T, {dim or 'D'})")
            if not np.isfinite(matrix).all():
                raise DataError(f"{cut_id}: features hold values that are not finite numbers")
            dim = matrix.shape[1]
            data = np.ascontiguousarray(matrix, _DTYPE).tobytes()
            stream.write(data)
            sha.update(data)
            cuts.append([cut_id, len(matrix)])
    frames = sum(length for _, length in cuts)
    return {"file": name, "frames": frames, "sha256": sha.hexdigest(), "cuts": cuts, "dim": dim}


def seal(folder: Path, parts: list[dict[str, Any]]) -> None:
    """Write the index of the `parts` that `write_part` made in `folder`: now it is an archive."""
    dims = {part["dim"] for part in parts if part["cuts"]}
    if len(dims) > 1:
        raise ValueError(f"{folder}: features of sizes {sorted(dims)}")
    cut_ids = [cut_id for part in parts for cut_id, _ in part["cuts"]]
    if len(set(cut_ids)) != len(cut_ids):
        twice = next(cut_id for cut_id in cut_ids if cut_ids.count(cut_id) > 1)
        raise DataError(f"{twice}: two utterances have this id")
    entries = [{key: part[key] for key in ("file", "frames", "sha256", "cuts")} for part in parts]
    write_json(folder / _INDEX, {"version": _VERSION, "dim": dims.pop() if dims else 0, "parts": entries})
