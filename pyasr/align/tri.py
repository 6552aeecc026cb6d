"""Triphones on deltas (as Kaldi's train_deltas.sh), and the start that all triphone systems share."""

from __future__ import annotations

import functools
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyasr.align.data import TrainingSet
from pyasr.align.frontend import Frontend
from pyasr.align.gmm import DiagGmm
from pyasr.align.options import AlignOptions, TreeOptions, TriOptions
from pyasr.align.questions import make_questions
from pyasr.align.realign import Transforms
from pyasr.align.system import GmmSystem
from pyasr.align.train import EmState, job_frames, run_em, with_alignments
from pyasr.align.tree import build_tree
from pyasr.align.tree_stats import TreeStats, collect, floor_of, merge
from pyasr.base.executor import iterate_jobs
from pyasr.lang.segments import convert_alignment
from pyasr.lang.transitions import TransitionModel


def train_tri(
    data: TrainingSet,
    before: EmState,
    options: TriOptions,
    align: AlignOptions,
    work_dir: str | Path,
    executor: Executor,
    seed: int,
) -> EmState:
    """Train triphones on deltas from the alignments of `before` (monophones)."""
    start = start_triphones(data, before, Frontend(), options.tree, executor, "tri")
    return run_em(data, start, options, align, work_dir, executor, seed, "tri")


def start_triphones(
    data: TrainingSet, before: EmState, frontend: Frontend, options: TreeOptions, executor: Executor, what: str
) -> EmState:
    """A tree grown on the features of `frontend`, one Gaussian a leaf, and the alignments in its ids.

    Alignments and speakers' transforms are those of `before`.
    """
    old = before.system
    stats = tree_stats(data, before, frontend, executor, f"{what}: tree statistics")
    tree, leaf_stats = build_tree(stats, make_questions(stats, old.phones), old.phones, old.topology, options)
    transitions = TransitionModel.build(old.phones, old.topology, tree)
    system = GmmSystem(old.phones, old.topology, tree, transitions, frontend, _gaussians(leaf_stats))
    alignments = {
        cut_id: convert_alignment(tids, old.transitions, transitions, tree)
        for cut_id, tids in before.alignments.items()
    }
    return EmState(system, alignments, before.skipped, before.transforms)


def tree_stats(
    data: TrainingSet, state: EmState, frontend: Frontend, executor: Executor, what: str
) -> TreeStats:
    """Statistics of all contexts seen in the alignments of `state`, on the features of `frontend`."""
    job = functools.partial(_tree_stats_job, replace(state.system, frontend=frontend), state.transforms)
    return merge(iterate_jobs(executor, job, with_alignments(data, state.alignments), what))


def _tree_stats_job(
    system: GmmSystem, transforms: Transforms, job: tuple[TrainingSet, list[np.ndarray]]
) -> TreeStats:
    features, _ = job_frames(system, transforms, *job)
    return collect(features, job[1], system.transitions)


def _gaussians(leaf_stats: np.ndarray) -> DiagGmm:
    """One Gaussian a leaf; a leaf without frames gets that of all frames. leaf_stats: (P, 1 + 2 D)."""
    total = leaf_stats.sum(axis=0)
    dim = (len(total) - 1) // 2
    stats = np.where(leaf_stats[:, :1] >= 1.0, leaf_stats, total)
    means = stats[:, 1 : dim + 1] / stats[:, :1]
    variances = stats[:, dim + 1 :] / stats[:, :1] - means**2
    return DiagGmm.single(means, np.maximum(variances, 10 * floor_of(total)))
