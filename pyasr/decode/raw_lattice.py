"""What kaldi-decoder's search leaves, every token that survived, as the lattice that `pyasr.ops.lattice` takes."""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import kaldifst
import numpy as np

from pyasr.base.errors import DataError
from pyasr.ops.lattice import Lattice

_ARC = np.dtype(
    [("ilabel", "<i4"), ("olabel", "<i4"), ("graph", "<f4"), ("acoustic", "<f4"), ("nextstate", "<i4")]
)
_ROUNDING = 1e-9
_STATE = struct.Struct("<ffq")  # final graph and acoustic cost, number of arcs


@dataclass(frozen=True)
class RawLattice:
    """start: a state. final: float64 (n,), +inf where not final. source, dst, tid: int64 (A,), source ascending.

    graph_cost, acoustic_cost: float32 (A,). tid 0: the arc takes no frame.
    """

    start: int
    final: np.ndarray
    source: np.ndarray
    dst: np.ndarray
    tid: np.ndarray
    graph_cost: np.ndarray
    acoustic_cost: np.ndarray

    @classmethod
    def of(cls, fst: kaldifst.Lattice) -> RawLattice:
        """The arrays of a lattice of kaldi-decoder, by way of OpenFst's "vector" file format."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "raw.lattice"
            if not fst.write(str(path)):
                raise DataError(f"cannot write {path}; free space in the temporary folder or set TMPDIR")
            content = path.read_bytes()
        offset = 4
        for _ in range(2):  # the names of the kinds of transducer and arc
            (length,) = struct.unpack_from("<i", content, offset)
            offset += 4 + length
        _, _, _, start, num_states, _ = struct.unpack_from("<iiQqqq", content, offset)
        offset += struct.calcsize("<iiQqqq")
        final, counts, parts = np.empty(num_states), np.empty(num_states, np.int64), []
        for state in range(num_states):
            graph, acoustic, counts[state] = _STATE.unpack_from(content, offset)
            final[state] = graph + acoustic
            offset += _STATE.size
            parts.append(np.frombuffer(content, _ARC, counts[state], offset))
            offset += parts[-1].nbytes
        arcs = np.concatenate([np.empty(0, _ARC), *parts])
        return cls(
            start,
            final,
            np.repeat(np.arange(num_states), counts),
            arcs["nextstate"].astype(np.int64),
            arcs["ilabel"].astype(np.int64),
            arcs["graph"].copy(),
            arcs["acoustic"].copy(),
        )


def to_lattice(raw: RawLattice, tid_to_pdf: np.ndarray, max_arcs: int) -> Lattice:
    """States in the order of their times, arcs with senones; at most `max_arcs` arcs, those of the best paths.

    An arc is as good as the best path that it is on, so what is kept is again whole paths.
    tid_to_pdf: int32 (num_tids + 1,). DataError when no path leads to a final state.
    """
    raw, times, depths = _sorted(raw)
    levels = times * (int(depths.max(initial=0)) + 1) + depths
    kept = _best(_costs_with(raw, levels), max_arcs)
    on_path = np.zeros(len(times), bool)
    on_path[raw.source[kept]] = on_path[raw.dst[kept]] = True
    number = np.cumsum(on_path) - 1
    tid = raw.tid[kept]
    return Lattice(
        number[raw.source[kept]].astype(np.int32),
        number[raw.dst[kept]].astype(np.int32),
        np.where(tid > 0, tid_to_pdf[tid], -1).astype(np.int32),
        times[raw.source[kept]].astype(np.int32),
        raw.graph_cost[kept],
        raw.final[on_path].astype(np.float32),
    )


def _sorted(raw: RawLattice) -> tuple[RawLattice, np.ndarray, np.ndarray]:
    """The states that are reached, in the order of frames taken, then of arcs without a frame; and both, (n,)."""
    times, depths = _times(raw), np.zeros(len(raw.final), np.int64)
    free = np.flatnonzero(raw.tid == 0)
    for _ in range(len(free) + 1):
        before = depths.copy()
        np.maximum.at(depths, raw.dst[free], depths[raw.source[free]] + 1)
        if (depths == before).all():
            break
    else:
        raise DataError("damaged lattice: it has a cycle")
    order = np.lexsort((depths, times))[int((times < 0).sum()) :]
    number = np.full(len(times), -1)
    number[order] = np.arange(len(order))
    arcs = np.flatnonzero(times[raw.source] >= 0)
    arcs = arcs[np.argsort(number[raw.source[arcs]], kind="stable")]
    taken = (number[raw.source], number[raw.dst], raw.tid, raw.graph_cost, raw.acoustic_cost)
    return RawLattice(0, raw.final[order], *(column[arcs] for column in taken)), times[order], depths[order]


def _times(raw: RawLattice) -> np.ndarray:
    """int64 (n,): frames taken before each state, -1 where none leads there."""
    begin = np.searchsorted(raw.source, np.arange(len(raw.final) + 1))
    times = np.full(len(raw.final), -1, np.int64)
    frontier = np.array([raw.start] if raw.start >= 0 else [], np.int64)
    times[frontier] = 0
    while len(frontier):
        counts = begin[frontier + 1] - begin[frontier]
        arcs = np.repeat(begin[frontier + 1] - np.cumsum(counts), counts) + np.arange(counts.sum())
        arcs = arcs[times[raw.dst[arcs]] < 0]
        times[raw.dst[arcs]] = times[raw.source[arcs]] + (raw.tid[arcs] > 0)
        frontier = np.unique(raw.dst[arcs])
    return times


def _costs_with(raw: RawLattice, levels: np.ndarray) -> np.ndarray:
    """float64 (A,): of each arc the cost of the best path with it. levels: ascending (n,); arcs lead to higher ones."""
    costs = raw.graph_cost.astype(np.float64) + raw.acoustic_cost
    into, onward = np.full(len(levels), np.inf), raw.final.copy()
    into[:1] = 0.0
    begins = np.searchsorted(levels[raw.source], np.unique(levels))
    groups = [slice(begin, end) for begin, end in zip(begins, [*begins[1:], len(costs)])]
    for group in groups:
        np.minimum.at(into, raw.dst[group], into[raw.source[group]] + costs[group])
    for group in reversed(groups):
        np.minimum.at(onward, raw.source[group], costs[group] + onward[raw.dst[group]])
    return into[raw.source] + costs + onward[raw.dst]


def _best(costs: np.ndarray, max_arcs: int) -> np.ndarray:
    """Indices of the arcs that are kept, in their order; those of one path, equal but for rounding, stay together."""
    ranked = np.sort(costs[costs < np.inf])
    if not len(ranked):
        raise DataError("empty lattice: no path leads to a final state")
    steps = np.flatnonzero(np.diff(ranked[: max_arcs + 1]) > _ROUNDING * (1 + abs(ranked[0])))
    if len(ranked) <= max_arcs:
        return np.flatnonzero(costs < np.inf)
    if not len(steps):
        raise DataError(f"more than {max_arcs} arcs of equally good paths; allow more arcs a frame")
    return np.flatnonzero(costs <= ranked[steps[-1]])
