"""Lattices of transcribed speech: what a model confuses, and the reference, for sequence training.

    lattices.json   {"version", "metadata"}: whose lattices these are
    NUMBER.lattices the utterances of job NUMBER, see `pyasr.targets.lattice_file`
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pyasr.base.artifact import digest, plain, read_json, write_json
from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.base.skips import Skips
from pyasr.decode.backends import LATTICE_SEARCHERS, AnyLatticeSearcher, check_backend
from pyasr.decode.part import Scales
from pyasr.ops.lattice import Lattice
from pyasr.targets.lattice_file import (
    ReferredLattice,
    pack,
    read_index,
    read_lattice,
    write_lattices,
)
from pyasr.targets.options import LatticeOptions

_VERSION = 1
_CUTS_PER_JOB = 32


class Utterances(Protocol):
    """Of each utterance what a lattice is made from. tid_to_pdf: int32 (num_tids + 1,)."""

    @property
    def tid_to_pdf(self) -> np.ndarray: ...

    def utterance(self, cut_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihoods float32 (T, S), natural log, and the senones of the alignment int32 (T,).

        DataError names the utterance when there are none."""
        ...


class UtteranceSource(Protocol):
    """Where they come from: small, so that it travels to workers, which open it there."""

    def open(self) -> Utterances: ...


def make_lattices(
    folder: str | Path,
    source: UtteranceSource,
    cut_ids: Sequence[str],
    graph: str | Path,
    scales: Scales,
    options: LatticeOptions,
    metadata: dict[str, Any],
    executor: Executor,
    what: str = "lattices",
) -> Skips:
    """Write the lattices of utterances to a folder; a killed run of the same goes on where it was.

    metadata: whose lattices these are: equal only for what gives equal lattices.
    Left out are utterances without audio or a complete path, of another number of frames than their reference, and
    those whose reference is mostly outside of their lattice: returned, and DataError when they are too many.
    ConfigError when options.backend is missing.
    """
    check_backend(options.backend)
    folder = Path(folder)
    metadata = plain({**metadata, "scales": [scales.lm_weight, scales.word_penalty], "options": options})
    key = digest([_VERSION, metadata, list(cut_ids)])
    write_json(folder / "lattices.json", {"version": _VERSION, "metadata": metadata})
    jobs = split_jobs(list(enumerate(cut_ids)), -(-len(cut_ids) // _CUTS_PER_JOB))
    paths = [_path(folder, number) for number in range(len(jobs))]
    for stale in set(folder.glob("*.lattices")) - set(paths):
        stale.unlink()
    left = [
        (path, [cut_id for _, cut_id in job]) for path, job in zip(paths, jobs) if not _is_made(path, key)
    ]
    job = functools.partial(_lattice_job, source, str(graph), scales, options, key)
    run_jobs(executor, job, left, what, unit=f"x{_CUTS_PER_JOB} utt")
    skips = Skips("utterances", options.skip_limit)
    for path in paths:
        skips.extend(read_index(path).skipped)
    skips.check(len(cut_ids))
    return skips


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.lattices"


def _is_made(path: Path, key: str) -> bool:
    """Whether an earlier run of the same wrote this file, and wrote it well."""
    try:
        return path.exists() and read_index(path).key == key
    except DataError:
        return False


def _lattice_job(
    source: UtteranceSource, graph: str, scales: Scales, options: LatticeOptions, key: str, job: tuple[Path, list[str]]
) -> None:
    path, cut_ids = job
    opened = source.open()
    searcher = LATTICE_SEARCHERS[options.backend].read(
        graph, opened.tid_to_pdf, options.beam, options.lattice_beam, options.max_density, scales.word_penalty
    )
    packed, skips, sizes = {}, Skips(), Counter(frames=0, arcs=0, lost=0)
    for cut_id in cut_ids:
        try:
            made = _make(opened, searcher, scales.acoustic_scale, cut_id)
            lost, frames = int((~in_lattice(made.lattice, made.reference)).sum()), len(made.reference)
            if lost > options.max_lost * frames:
                raise DataError(f"reference outside its lattice: in {lost} of {frames} frames")
            packed[cut_id] = pack(made)
            sizes.update(frames=frames, arcs=len(made.lattice.arc_src), lost=lost)
        except (DataError, ValueError) as error:
            skips.add(cut_id, str(error).removeprefix(f"{cut_id}: "))
    write_lattices(path, key, packed, skips.rows, sizes)


def _make(opened: Utterances, searcher: AnyLatticeSearcher, acoustic_scale: float, cut_id: str) -> ReferredLattice:
    loglikes, reference = opened.utterance(cut_id)
    if len(reference) != len(loglikes):
        raise DataError(f"mismatch in time: {len(loglikes)} frames, {len(reference)} in the alignment")
    return ReferredLattice(searcher.lattice(loglikes, acoustic_scale, cut_id), reference.astype(np.int32))


def in_lattice(lattice: Lattice, reference: np.ndarray) -> np.ndarray:
    """bool (T,): whether an arc of the frame has the senone of the reference, int (T,)."""
    takes_frame = lattice.arc_senone >= 0
    times, senones = lattice.arc_time[takes_frame], lattice.arc_senone[takes_frame]
    found = np.zeros(len(reference), bool)
    found[times[senones == reference[times]]] = True
    return found


@dataclass(frozen=True)
class LatticeSet:
    """Lattices on disk. files: cut_id -> (its file, where in it). skipped: id and reason of those left out.

    metadata: what they were made with. sizes: {"frames", "arcs", "lost"}, see `lattice_file.FileIndex`.
    May be passed to other processes: files are opened where they are read.
    """

    folder: Path
    files: dict[str, tuple[Path, tuple[int, int, int]]]
    skipped: list[dict[str, str]]
    metadata: dict[str, Any]
    sizes: Mapping[str, int]

    @classmethod
    def open(cls, folder: str | Path) -> LatticeSet:
        """The lattices that `make_lattices` wrote. DataError names what is missing, damaged or does not belong."""
        folder = Path(folder)
        content = read_json(folder / "lattices.json")
        if not isinstance(content, dict) or content.get("version") != _VERSION or "metadata" not in content:
            raise DataError(f"{folder}/lattices.json: not of lattices of version {_VERSION}; make them again")
        indices = {path: read_index(path) for path in sorted(folder.glob("*.lattices"))}
        if len({index.key for index in indices.values()}) != 1:
            raise DataError(f"{folder}: no lattices, or not all of one making; make them again")
        files = {cut_id: (path, entry) for path, index in indices.items() for cut_id, entry in index.cuts.items()}
        skipped = [row for index in indices.values() for row in index.skipped]
        sizes: Counter[str] = Counter()
        for index in indices.values():
            sizes.update(index.sizes)
        return cls(folder, files, skipped, content["metadata"], sizes)

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __contains__(self, cut_id: object) -> bool:
        return cut_id in self.files

    def read(self, cut_id: str) -> ReferredLattice:
        """DataError names the utterance: when it has no lattice here, or a damaged one."""
        if cut_id not in self.files:
            raise DataError(f"{cut_id}: no lattice in {self.folder}; make the lattices again")
        path, entry = self.files[cut_id]
        try:
            return read_lattice(path, entry)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}); make the lattices again") from error
        except DataError as error:
            raise DataError(f"{cut_id}: {error}; delete {path} and make the lattices again") from error
