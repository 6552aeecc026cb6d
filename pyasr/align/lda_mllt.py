"""Triphones on spliced frames, reduced by LDA and made diagonal by MLLT (as Kaldi's train_lda_mllt.sh)."""

from __future__ import annotations

import functools
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyasr.align.data import TrainingSet
from pyasr.align.frontend import Frontend
from pyasr.align.gmm import DiagGmm, GmmStats
from pyasr.align.options import AlignOptions, LdaOptions
from pyasr.align.realign import Transforms
from pyasr.align.rows import RowStats, weighted_outer
from pyasr.align.system import GmmSystem
from pyasr.align.train import EmState, job_frames, run_em, with_alignments
from pyasr.align.tri import start_triphones
from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs
from pyasr.ops.stats import accumulate_stats

_MLLT_ITERATIONS = 200  # cheap, and far enough


def train_lda_mllt(
    data: TrainingSet,
    before: EmState,
    options: LdaOptions,
    align: AlignOptions,
    work_dir: str | Path,
    executor: Executor,
    seed: int,
) -> EmState:
    """Train triphones on LDA+MLLT features from the alignments of `before`."""
    frontend = estimate_lda(data, before, options, executor)
    start = start_triphones(data, before, frontend, options.tree, executor, "lda")

    def refine(iteration: int, state: EmState) -> EmState:
        return mllt_step(data, state, executor) if iteration in options.mllt else state

    return run_em(data, start, options, align, work_dir, executor, seed, "lda", refine)


def estimate_lda(data: TrainingSet, state: EmState, options: LdaOptions, executor: Executor) -> Frontend:
    """Linear discriminant analysis of spliced frames; classes are the pdfs of `state`, without silence."""
    width = 2 * options.splice_frames + 1
    spliced = width * data.archive.dim
    if options.dim > spliced:
        raise DataError(f"gmm.lda.dim = {options.dim} is more than the {spliced} of {width} spliced frames")
    wide = replace(state.system, frontend=Frontend(options.splice_frames, np.eye(spliced)))
    results = run_jobs(executor, functools.partial(_lda_job, wide), with_alignments(data, state.alignments), "LDA")
    count, sums, second = (sum(part[i] for part in results) for i in range(3))
    return Frontend(options.splice_frames, lda_matrix(count, sums, second, options.dim))


def _lda_job(
    system: GmmSystem, job: tuple[TrainingSet, list[np.ndarray]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features, pdf_ids = job_frames(system, {}, *job)
    states = system.transitions.states
    silence = np.isin(pdf_ids, states[states[:, 0] == system.phones.silence_id, 2])
    features, pdf_ids = features[~silence], pdf_ids[~silence]
    count, sums, _ = accumulate_stats(features, pdf_ids, system.context.num_pdfs)
    wide = features.astype(np.float64)
    return count, sums, wide.T @ wide


def lda_matrix(count: np.ndarray, sums: np.ndarray, second: np.ndarray, dim: int) -> np.ndarray:
    """The projection (dim, E) to where classes lie furthest apart and the covariance within them is one.

    count: frames of each class (C,). sums: (C, E). second: sum of x x' over all frames (E, E).
    """
    total, mean = count.sum(), sums.sum(axis=0) / count.sum()
    seen = count > 0
    centres = sums[seen] / count[seen, None]
    within = (second - (centres * count[seen, None]).T @ centres) / total
    centred = centres - mean
    between = (centred * count[seen, None]).T @ centred / total
    try:
        whiten = np.linalg.inv(np.linalg.cholesky(within))
    except np.linalg.LinAlgError:
        raise DataError(
            "LDA: the features do not vary enough within the classes (constant features, or too little data)"
        ) from None
    _, vectors = np.linalg.eigh(whiten @ between @ whiten.T)
    return vectors[:, ::-1][:, :dim].T @ whiten


def mllt_step(data: TrainingSet, state: EmState, executor: Executor) -> EmState:
    """Multiply the front end by the MLLT that suits the present mixtures, and rotate their means with it."""
    system = state.system
    job = functools.partial(_mllt_job, system, state.transforms)
    results = run_jobs(executor, job, with_alignments(data, state.alignments), "MLLT")
    stats = results[0]
    for further in results[1:]:
        stats.add(further)
    rotation = stats.maximise(np.eye(system.gmm.dim), _MLLT_ITERATIONS)
    frontend = replace(system.frontend, matrix=rotation @ system.frontend.matrix)
    gmm = replace(system.gmm, means=system.gmm.means @ rotation.T)
    return replace(state, system=replace(system, frontend=frontend, gmm=gmm))


def _mllt_job(system: GmmSystem, transforms: Transforms, job: tuple[TrainingSet, list[np.ndarray]]) -> RowStats:
    features, pdf_ids = job_frames(system, transforms, *job)
    return mllt_stats(features, pdf_ids, system.gmm)


def mllt_stats(features: np.ndarray, pdf_ids: np.ndarray, gmm: DiagGmm) -> RowStats:
    """G_i = sum of gamma (x - mean) (x - mean)' / var_i over frames and components; features (T, D) float32."""
    inverse = 1.0 / gmm.variances
    precision = np.zeros(features.shape)
    stats = GmmStats.zeros(gmm.num_gauss, gmm.dim)
    wide = features.astype(np.float64)
    for owned, frames, posteriors, _ in gmm.posteriors(features, pdf_ids):
        precision[frames] = posteriors @ inverse[owned]
        stats.occupancy[owned] = posteriors.sum(axis=0)
        stats.sum[owned] = posteriors.T @ wide[frames]
    # sum (x - m)(x - m)' = sum xx' - s m' - m s' + n m m'
    cross = weighted_products(inverse, stats.sum - 0.5 * stats.occupancy[:, None] * gmm.means, gmm.means)
    quadratic = weighted_outer(precision, wide) - cross - cross.transpose(0, 2, 1)
    return RowStats(np.array([stats.occupancy.sum()]), np.zeros((gmm.dim, gmm.dim)), quadratic)


def weighted_products(weights: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """sum over m of weights[m, i] left_m right_m': three (M, D) float64 -> (D, D, D)."""
    return np.stack([(left * weights[:, i, None]).T @ right for i in range(weights.shape[1])])
