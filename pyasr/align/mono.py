"""Monophones from a flat start (as Kaldi's train_mono.sh)."""

from __future__ import annotations

import functools
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from pyasr.align.data import TrainingSet
from pyasr.align.frontend import Frontend
from pyasr.align.gmm import DiagGmm
from pyasr.align.options import AlignOptions, MonoOptions
from pyasr.align.realign import SkipRows, equal_alignment
from pyasr.align.system import GmmSystem
from pyasr.align.train import EmState, run_em
from pyasr.base.executor import run_jobs
from pyasr.base.skips import Skips
from pyasr.lang.context import MonophoneContext
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel


def train_mono(
    data: TrainingSet,
    phones: PhoneTable,
    topology: Topology,
    options: MonoOptions,
    align: AlignOptions,
    work_dir: str | Path,
    executor: Executor,
    seed: int,
) -> EmState:
    """Train monophones on deltas; the result holds the system, its alignments, what was skipped and the log."""
    context = MonophoneContext(phones, topology)
    transitions = TransitionModel.build(phones, topology, context)
    frontend = Frontend()
    mean, variance = _global_gaussian(data, frontend, executor)
    gmm = DiagGmm.single(np.tile(mean, (context.num_pdfs, 1)), np.tile(variance, (context.num_pdfs, 1)))
    system = GmmSystem(phones, topology, context, transitions, frontend, gmm)
    alignments, skipped = _equal_alignments(data, system)
    Skips("utterances", align.skip_limit, skipped).check(len(data.utterances))
    start = EmState(system, alignments, skipped)
    return run_em(data, start, options, align, work_dir, executor, seed, "mono")


def _global_gaussian(data: TrainingSet, frontend: Frontend, executor: Executor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (D,) of all frames."""
    sums = run_jobs(executor, functools.partial(_moments_job, frontend), data.jobs(), "mono: mean and variance")
    count = sum(part[0] for part in sums)
    mean = sum(part[1] for part in sums) / count
    return mean, sum(part[2] for part in sums) / count - mean**2


def _moments_job(frontend: Frontend, data: TrainingSet) -> tuple[int, np.ndarray, np.ndarray]:
    rows = np.concatenate([frontend(*data.mfcc(utterance)) for utterance in data.utterances]).astype(np.float64)
    return len(rows), rows.sum(axis=0), (rows**2).sum(axis=0)


def _equal_alignments(data: TrainingSet, system: GmmSystem) -> tuple[dict[str, np.ndarray], SkipRows]:
    alignments, skipped = {}, []
    for utterance in data.utterances:
        num_frames = data.archive.num_frames(utterance.cut_id)
        tids = equal_alignment(utterance, num_frames, system.transitions, system)
        if isinstance(tids, str):
            skipped.append({"id": utterance.cut_id, "reason": tids})
        else:
            alignments[utterance.cut_id] = tids
    return alignments, skipped
