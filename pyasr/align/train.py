"""Expectation maximisation of Gaussian systems: the one loop under mono, tri, LDA+MLLT and SAT.

After every iteration the whole state is written to the work folder; a run that was killed goes on from
there and ends in the same bits. Jobs are a fixed partition and are summed in order.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.align import alignments as ragged
from pyasr.align.data import TrainingSet
from pyasr.align.gmm import GmmStats
from pyasr.align.mixtures import estimate, grow
from pyasr.align.options import AlignOptions, EmOptions
from pyasr.align.realign import SkipRows, Transforms, align_set
from pyasr.align.system import GmmSystem
from pyasr.base.artifact import digest, load_arrays, save_arrays, write_jsonl
from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs
from pyasr.base.seeds import rng
from pyasr.base.skips import Skips


@dataclass(frozen=True)
class EmState:
    """All that an iteration hands to the next.

    iteration: how many are done. transforms: speaker -> fMLLR. alignments: cut_id -> transition ids, without
    the utterances of `skipped`. log: one row an iteration.
    """

    system: GmmSystem
    alignments: dict[str, np.ndarray]
    skipped: SkipRows = field(default_factory=list)
    transforms: Mapping[str, np.ndarray] = field(default_factory=dict)
    iteration: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path, key: str) -> None:
        meta = {
            "key": key,
            "system": self.system.description(),
            "skipped": self.skipped,
            "iteration": self.iteration,
            "log": self.log,
        }
        arrays = {f"system.{name}": array for name, array in self.system.to_arrays().items()}
        arrays |= {f"alignments.{name}": array for name, array in ragged.pack(self.alignments).items()}
        save_arrays(path, meta=_to_bytes(meta), **arrays, **pack_transforms(self.transforms))

    @classmethod
    def load(cls, path: Path, key: str) -> EmState | None:
        """The saved state, or None when there is none for this `key`."""
        if not path.exists():
            return None
        arrays = load_arrays(path)
        meta = json.loads(arrays["meta"].tobytes())
        if meta["key"] != key:
            return None
        groups = {
            prefix: {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
            for prefix in ("system.", "alignments.")
        }
        return cls(
            GmmSystem.from_parts(meta["system"], groups["system."]),
            ragged.unpack(groups["alignments."]),
            meta["skipped"],
            unpack_transforms(arrays),
            meta["iteration"],
            meta["log"],
        )

    def save_result(self, folder: str | Path) -> None:
        """Write what later stages read into `folder`: the system, alignments.npz, transforms.npz, log and skips."""
        folder = Path(folder)
        self.system.save(folder / "system")
        ragged.save_alignments(folder / "alignments.npz", self.alignments)
        save_arrays(folder / "transforms.npz", **pack_transforms(self.transforms))
        write_jsonl(folder / "log.jsonl", self.log)
        write_jsonl(folder / "skipped.jsonl", self.skipped)

    @classmethod
    def load_result(cls, folder: str | Path) -> EmState:
        """Read the system, alignments and transforms that `save_result` wrote."""
        folder = Path(folder)
        return cls(
            GmmSystem.load(folder / "system"),
            ragged.load_alignments(folder / "alignments.npz"),
            transforms=unpack_transforms(load_arrays(folder / "transforms.npz")),
        )


def _to_bytes(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def pack_transforms(transforms: Transforms) -> dict[str, np.ndarray]:
    """speakers (S,) and their transforms (S, D, D + 1), as arrays."""
    return {
        "transform_speakers": np.array(list(transforms), dtype=np.str_),
        "transforms": np.stack(list(transforms.values())) if transforms else np.empty((0, 0, 0)),
    }


def unpack_transforms(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `pack_transforms`."""
    return dict(zip(arrays["transform_speakers"].tolist(), arrays["transforms"]))


Refine = Callable[[int, EmState], EmState]


def run_em(
    data: TrainingSet,
    start: EmState,
    options: EmOptions,
    align: AlignOptions,
    work_dir: str | Path,
    executor: Executor,
    seed: int,
    what: str,
    refine: Refine | None = None,
) -> EmState:
    """Train from `start`; ends with an alignment by the final system.

    refine: called before the statistics of every iteration with its number; returns the state, changed or
    not (MLLT and fMLLR are estimated there). DataError when too many utterances do not align.
    """
    path = Path(work_dir) / "checkpoint.npz"
    key = _key(data, start, options, align, seed)
    state = EmState.load(path, key) or start
    for iteration in range(state.iteration + 1, options.iterations + 1):
        if iteration in options.realign:
            state = realign(data, state, align, executor, f"{what} {iteration}/{options.iterations} align")
        if refine is not None:
            state = refine(iteration, state)
        state = _iterate(data, state, start.system.gmm.num_gauss, options, executor, rng(seed, what, iteration), what)
        state.save(path, key)
    return realign(data, state, align, executor, f"{what} final align")


def _key(data: TrainingSet, start: EmState, options: EmOptions, align: AlignOptions, seed: int) -> str:
    """Identifies a training: a checkpoint of another one is not continued."""
    arrays = {**start.system.to_arrays(), **ragged.pack(start.alignments)}
    content = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}
    utterances = [(item.cut_id, item.speaker, item.pronunciations) for item in data.utterances]
    cmvn = {speaker: stats.tolist() for speaker, stats in data.cmvn.items()}
    return digest([options, align, seed, content, utterances, cmvn])


def realign(data: TrainingSet, state: EmState, align: AlignOptions, executor: Executor, what: str) -> EmState:
    """The state with new alignments by its system."""
    alignments, skipped = align_set(data, state.system, state.transforms, align, executor, what)
    Skips("utterances", align.skip_limit, skipped).check(len(data.utterances))
    return replace(state, alignments=alignments, skipped=skipped)


def _iterate(
    data: TrainingSet,
    state: EmState,
    first_gauss: int,
    options: EmOptions,
    executor: Executor,
    random: np.random.Generator,
    what: str,
) -> EmState:
    iteration = state.iteration + 1
    stats, loglike = accumulate_set(data, state, executor, f"{what} {iteration}/{options.iterations}")
    system, gmm = state.system, state.system.gmm
    frames = sum(len(tids) for tids in state.alignments.values())
    row = {
        "iteration": iteration,
        "loglike_per_frame": loglike / frames,
        "num_gauss": gmm.num_gauss,
        "frames": frames,
        "skipped": len(state.skipped),
    }
    new, _ = estimate(gmm, stats, variance_floor(stats, options), options.mixture)
    if iteration <= options.growth_iterations:
        target = first_gauss + (options.num_gauss - first_gauss) * iteration // options.growth_iterations
        new = grow(new, gmm.pdf_sums(stats.occupancy), target, options.mixture, random)
    transitions = system.transitions.update(tid_counts(state.alignments, system.transitions.num_tids))
    system = replace(system, gmm=new, transitions=transitions)
    return replace(state, system=system, iteration=iteration, log=[*state.log, row])


def variance_floor(stats: GmmStats, options: EmOptions) -> np.ndarray:
    """(D,): the given fraction of the variance of all frames."""
    total = stats.occupancy.sum()
    variance = stats.sumsq.sum(axis=0) / total - (stats.sum.sum(axis=0) / total) ** 2
    return options.mixture.variance_floor * variance


def tid_counts(alignments: Mapping[str, np.ndarray], num_tids: int) -> np.ndarray:
    """How often each transition id was taken: float64 (num_tids + 1,)."""
    counts = np.zeros(num_tids + 1)
    for tids in alignments.values():
        counts += np.bincount(tids, minlength=num_tids + 1)
    return counts


def with_alignments(data: TrainingSet, alignments: Mapping[str, np.ndarray], by_speaker: bool = False) -> list[Any]:
    """Jobs (part of the data, alignments of its utterances), leaving out utterances that have none."""
    jobs = []
    for part in data.speaker_jobs() if by_speaker else data.jobs():
        aligned = [item for item in part.utterances if item.cut_id in alignments]
        if aligned:
            part = replace(part, utterances=tuple(aligned))
            jobs.append((part, [alignments[item.cut_id] for item in aligned]))
    if not jobs:
        raise DataError("no utterance is aligned")
    return jobs


def accumulate_set(
    data: TrainingSet, state: EmState, executor: Executor, what: str, unadapted: bool = False
) -> tuple[GmmStats, float]:
    """Statistics and log-likelihood of all aligned frames, summed in the order of the jobs.

    unadapted: statistics of the features without speaker transforms, by the posteriors of those with.
    """
    job = functools.partial(_accumulate_job, state.system, state.transforms, unadapted)
    results = run_jobs(executor, job, with_alignments(data, state.alignments), what)
    stats, loglike = results[0]
    for further, its_loglike in results[1:]:
        stats.add(further)
        loglike += its_loglike
    return stats, loglike


def _accumulate_job(
    system: GmmSystem, transforms: Transforms, unadapted: bool, job: tuple[TrainingSet, list[np.ndarray]]
) -> tuple[GmmStats, float]:
    features, pdf_ids = job_frames(system, transforms, *job)
    return system.gmm.accumulate(features, pdf_ids, job_frames(system, {}, *job)[0] if unadapted else None)


def job_frames(
    system: GmmSystem, transforms: Transforms, data: TrainingSet, alignments: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """All frames of a job one utterance after the other: features float32 (T, D), pdf ids int32 (T,)."""
    rows = [system.frontend(*data.mfcc(item), transforms.get(item.speaker)) for item in data.utterances]
    return np.concatenate(rows), system.transitions.tid_to_pdf[np.concatenate(alignments)]

