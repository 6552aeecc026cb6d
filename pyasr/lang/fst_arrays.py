"""Weighted transducers as NumPy arrays, so that graphs of millions of arcs are edited without Python loops.

The exchange with OpenFst goes through its "const" file format, read and written here; version 2 of it, as
kaldifst writes it: header, 20 bytes a state, 16 bytes an arc, little-endian, unaligned, without symbols.
"""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import kaldifst
import numpy as np

from pyasr.base.artifact import atomic_path
from pyasr.base.errors import DataError

_MAGIC = 2125659606
_VERSION = 2
_STATE = np.dtype([("final", "<f4"), ("pos", "<u4"), ("narcs", "<u4"), ("niepsilons", "<u4"), ("noepsilons", "<u4")])
_ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("weight", "<f4"), ("nextstate", "<i4")])
_EXPANDED = 1  # the only property we claim: states and arcs are all there; OpenFst works out the others


@dataclass
class FstArrays:
    """start: the start state. final: float32 (S,), +inf where not final. source: int32 (A,), ascending.

    ilabel, olabel, nextstate: int32 (A,). weight: float32 (A,), tropical costs.
    """

    start: int
    final: np.ndarray
    source: np.ndarray
    ilabel: np.ndarray
    olabel: np.ndarray
    weight: np.ndarray
    nextstate: np.ndarray

    @property
    def num_states(self) -> int:
        return len(self.final)

    @property
    def num_arcs(self) -> int:
        return len(self.source)

    @classmethod
    def from_fst(cls, fst: kaldifst.StdFst) -> FstArrays:
        """The arrays of any OpenFst transducer over the tropical semiring."""
        with tempfile.NamedTemporaryFile(suffix=".fst") as file:
            if not kaldifst.StdConstFst(fst).write(file.name):
                raise DataError(f"cannot write {file.name}; free space in the temporary folder or set TMPDIR")
            return cls.read(file.name)

    def to_fst(self) -> kaldifst.StdVectorFst:
        """A mutable OpenFst transducer with the same states and arcs."""
        with tempfile.NamedTemporaryFile(suffix=".fst") as file:
            self._write(Path(file.name))
            return kaldifst.StdVectorFst(kaldifst.StdFst.read(file.name))

    @classmethod
    def from_arcs(cls, start: int, final: np.ndarray, arcs: dict[str, np.ndarray]) -> FstArrays:
        """From arcs in any order: arrays source, ilabel, olabel, weight, nextstate. Stable within a state."""
        order = np.argsort(arcs["source"], kind="stable")
        ints = {
            name: np.ascontiguousarray(arcs[name][order], np.int32)
            for name in ("source", "ilabel", "olabel", "nextstate")
        }
        weight = np.ascontiguousarray(arcs["weight"][order], np.float32)
        return cls(start, np.ascontiguousarray(final, np.float32), weight=weight, **ints)

    @classmethod
    def read(cls, path: str | Path) -> FstArrays:
        """Read a const FST file; DataError names the file when it is missing, damaged or of another kind."""
        try:
            content = Path(path).read_bytes()
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such graph") from error
        try:
            start, num_states, num_arcs, offset = _read_header(content)
            states = np.frombuffer(content, _STATE, num_states, offset)
            arcs = np.frombuffer(content, _ARC, num_arcs, offset + states.nbytes)
        except (ValueError, struct.error) as error:
            raise DataError(f"{path}: not a whole const FST ({error})") from error
        fst = cls(
            start,
            states["final"].copy(),
            np.repeat(np.arange(num_states, dtype=np.int32), states["narcs"]),
            *(arcs[name].copy() for name in ("ilabel", "olabel", "weight", "nextstate")),
        )
        if len(fst.source) != num_arcs or (
            num_arcs and not (fst.nextstate.min() >= 0 and fst.nextstate.max() < num_states)
        ):
            raise DataError(f"{path}: damaged: its arcs do not fit its {num_states} states")
        return fst

    def write(self, path: str | Path) -> None:
        """Write a const FST file, atomically."""
        with atomic_path(path) as temporary:
            self._write(temporary)

    def _write(self, path: Path) -> None:
        narcs = np.bincount(self.source, minlength=self.num_states)
        states = np.zeros(self.num_states, _STATE)
        states["final"], states["narcs"] = self.final, narcs
        states["pos"] = np.concatenate([[0], np.cumsum(narcs)[:-1]]) if self.num_states else 0
        states["niepsilons"] = np.bincount(self.source[self.ilabel == 0], minlength=self.num_states)
        states["noepsilons"] = np.bincount(self.source[self.olabel == 0], minlength=self.num_states)
        arcs = np.empty(self.num_arcs, _ARC)
        for name in _ARC.names:
            arcs[name] = getattr(self, name)
        with open(path, "wb") as stream:
            stream.write(_header(self.start, self.num_states, self.num_arcs))
            stream.write(states.tobytes())
            stream.write(arcs.tobytes())


def _header(start: int, num_states: int, num_arcs: int) -> bytes:
    names = b"".join(struct.pack("<i", len(name)) + name for name in (b"const", b"standard"))
    return (
        struct.pack("<i", _MAGIC) + names + struct.pack("<iiQqqq", _VERSION, 0, _EXPANDED, start, num_states, num_arcs)
    )


def _read_header(content: bytes) -> tuple[int, int, int, int]:
    (magic,) = struct.unpack_from("<i", content)
    if magic != _MAGIC:
        raise ValueError("wrong magic number")
    offset, names = 4, []
    for _ in range(2):
        (length,) = struct.unpack_from("<i", content, offset)
        if not 0 <= length <= 64:
            raise ValueError("broken header")
        names.append(content[offset + 4 : offset + 4 + length])
        offset += 4 + length
    version, flags, _, start, num_states, num_arcs = struct.unpack_from("<iiQqqq", content, offset)
    if names != [b"const", b"standard"] or version != _VERSION or flags:
        raise ValueError(f"type {names}, version {version}, flags {flags}")
    offset += struct.calcsize("<iiQqqq")
    if (
        num_states < 0
        or num_arcs < 0
        or len(content) != offset + num_states * _STATE.itemsize + num_arcs * _ARC.itemsize
    ):
        raise ValueError(f"{len(content)} bytes for {num_states} states and {num_arcs} arcs")
    if not -1 <= start < max(num_states, 1):
        raise ValueError(f"start state {start} of {num_states}")
    return start, num_states, num_arcs, offset
