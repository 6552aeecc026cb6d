"""Speaker-adaptive training: triphones on features adapted to each speaker (as Kaldi's train_sat.sh)."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyasr.align.data import TrainingSet
from pyasr.align.fmllr import estimate_fmllr
from pyasr.align.mixtures import estimate
from pyasr.align.options import AlignOptions, FmllrOptions, SatOptions
from pyasr.align.realign import Transforms
from pyasr.align.system import GmmSystem
from pyasr.align.train import EmState, accumulate_set, run_em, variance_floor, with_alignments
from pyasr.align.tri import start_triphones
from pyasr.base.executor import run_jobs


def train_sat(
    data: TrainingSet,
    before: EmState,
    options: SatOptions,
    align: AlignOptions,
    work_dir: str | Path,
    executor: Executor,
    seed: int,
) -> EmState:
    """Train speaker-adapted triphones on the front end and from the alignments of `before` (LDA+MLLT).

    The system also gets the mixtures for unadapted features, by which a new speaker's first transform is found.
    """
    adapted = fmllr_step(data, before, options.fmllr, executor)
    start = start_triphones(data, adapted, before.system.frontend, options.tree, executor, "sat")

    def refine(iteration: int, state: EmState) -> EmState:
        return fmllr_step(data, state, options.fmllr, executor) if iteration in options.fmllr_iterations else state

    state = run_em(data, start, options, align, work_dir, executor, seed, "sat", refine)
    stats, _ = accumulate_set(data, state, executor, "sat unadapted", unadapted=True)
    unadapted, _ = estimate(state.system.gmm, stats, variance_floor(stats, options), options.mixture, remove=False)
    return replace(state, system=replace(state.system, unadapted=unadapted))


def fmllr_step(data: TrainingSet, state: EmState, options: FmllrOptions, executor: Executor) -> EmState:
    """The state with all speakers' transforms estimated anew; those with too little speech have none."""
    job = functools.partial(_fmllr_job, state.system, state.transforms, options)
    results = run_jobs(executor, job, with_alignments(data, state.alignments, by_speaker=True), "fMLLR")
    return replace(state, transforms={speaker: matrix for result in results for speaker, matrix in result.items()})


def _fmllr_job(
    system: GmmSystem, transforms: Transforms, options: FmllrOptions, job: tuple[TrainingSet, list[np.ndarray]]
) -> dict[str, np.ndarray]:
    data, alignments = job
    estimated = {}
    for speaker in data.speakers:
        utterances = [
            (*data.mfcc(item), tids) for item, tids in zip(data.utterances, alignments) if item.speaker == speaker
        ]
        matrix = speaker_transform(system, utterances, transforms.get(speaker), options)
        if matrix is not None:
            estimated[speaker] = matrix
    return estimated


def speaker_transform(
    system: GmmSystem,
    utterances: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    transform: np.ndarray | None,
    options: FmllrOptions,
) -> np.ndarray | None:
    """A speaker's fMLLR (D, D + 1) from utterances (MFCC (T, 13), the speaker's cmvn (2, 13), transition ids (T,)).

    transform: the one in use. Without one, posteriors come from the mixtures for unadapted features, if the
    system has them. None when there is too little speech.
    """
    transitions = system.transitions

    def rows() -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for mfcc, cmvn, tids in utterances:
            silence = transitions.tid_to_phone[tids] == system.phones.silence_id
            weights = np.where(silence, options.silence_weight, 1.0)
            yield system.frontend(mfcc, cmvn), transitions.tid_to_pdf[tids], weights

    posterior_gmm = system.unadapted if transform is None else None
    return estimate_fmllr(rows(), system.gmm, options, transform, posterior_gmm)
