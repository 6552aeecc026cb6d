"""Viterbi alignment of a training set with a Gaussian system, over an executor."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from pyasr.align.data import TrainingSet, Utterance
from pyasr.align.options import AlignOptions
from pyasr.align.system import GmmSystem
from pyasr.base.executor import run_jobs
from pyasr.lang.alignment_graph import build_alignment_graph
from pyasr.lang.context import ContextMap
from pyasr.lang.transitions import TransitionModel
from pyasr.ops.viterbi import AlignmentGraph, viterbi_align

Transforms = Mapping[str, np.ndarray]
"""speaker -> fMLLR transform (D, D + 1) float64; speakers that are missing are not adapted."""

SkipRows = list[dict[str, str]]


@dataclass(frozen=True)
class Hmm:
    """What turns a transcript into a graph: the HMMs of phones in context."""

    transitions: TransitionModel
    context: ContextMap
    silence_id: int


def align_utterance(
    utterance: Utterance, hmm: Hmm, loglikes_of: Callable[[np.ndarray], np.ndarray], options: AlignOptions
) -> np.ndarray | str:
    """Transition ids int32 (T,) of the best path, or the reason why there is none.

    loglikes_of: given the pdfs int64 (P,) of the transcript, their log-likelihoods float32 (T, P), natural log.
    """
    transitions = hmm.transitions
    graph = build_alignment_graph(
        utterance.pronunciations,
        transitions,
        hmm.context,
        hmm.silence_id,
        options.silence_p,
        options.transition_scale,
    )
    pdfs = np.unique(transitions.tid_to_pdf[graph.arc_tid])
    loglikes = loglikes_of(pdfs)
    if options.boost_silence != 1.0:
        states = transitions.states
        silence = np.isin(pdfs, states[states[:, 0] == hmm.silence_id, 2])
        loglikes[:, silence] += np.float32(math.log(options.boost_silence))
    columns = np.searchsorted(pdfs, transitions.tid_to_pdf).clip(0, len(pdfs) - 1).astype(np.int32)
    for beam in (options.beam, options.retry_beam):
        (result,) = viterbi_align([graph], [loglikes], columns, options.acoustic_scale, beam)
        if result.ok:
            return graph.arc_tid[result.arcs]
    shortest = shortest_path_frames(graph)
    if shortest > len(loglikes):
        return f"too short for its transcript: {len(loglikes)} frames, at least {shortest} needed"
    return f"no path within beam {options.retry_beam:g}: transcript and audio may not match"


def shortest_path_frames(graph: AlignmentGraph) -> float:
    """The number of arcs on the shortest path of a graph (inf when the final states cannot be reached)."""
    final = graph.final_cost < np.inf
    reached = np.zeros(len(final), bool)
    reached[0] = True
    source = np.repeat(np.arange(len(final)), np.diff(graph.arc_begin))
    frames = 0
    while not (reached & final).any():
        new = reached.copy()
        new[graph.arc_dst[reached[source]]] = True
        if (new == reached).all():
            return math.inf
        reached, frames = new, frames + 1
    return frames


def align_set(
    data: TrainingSet,
    system: GmmSystem,
    transforms: Transforms,
    options: AlignOptions,
    executor: Executor,
    what: str = "aligning",
) -> tuple[dict[str, np.ndarray], SkipRows]:
    """Align all utterances -> {cut_id: transition ids int32 (T,)} in their order, rows of those skipped."""
    job = functools.partial(_align_job, system, options, transforms)
    alignments: dict[str, np.ndarray] = {}
    skipped: SkipRows = []
    for part, rows in run_jobs(executor, job, data.jobs(), what):
        alignments.update(part)
        skipped.extend(rows)
    return alignments, skipped


def _align_job(
    system: GmmSystem, options: AlignOptions, transforms: Transforms, data: TrainingSet
) -> tuple[dict[str, np.ndarray], SkipRows]:
    alignments, skipped = {}, []
    hmm = Hmm(system.transitions, system.context, system.phones.silence_id)
    for utterance in data.utterances:
        features = system.frontend(*data.mfcc(utterance), transforms.get(utterance.speaker))
        tids = align_utterance(utterance, hmm, functools.partial(system.gmm.loglikes, features), options)
        if isinstance(tids, str):
            skipped.append({"id": utterance.cut_id, "reason": tids})
        else:
            alignments[utterance.cut_id] = tids
    return alignments, skipped


def equal_alignment(
    utterance: Utterance, num_frames: int, transitions: TransitionModel, system: GmmSystem
) -> np.ndarray | str:
    """A flat start: the states of the first pronunciations, silence at both ends, each for the same time.

    Monophones only. Returns int32 (T,), or the reason why there is none.
    """
    spoken = [phone for alternatives in utterance.pronunciations for phone in alternatives[0]]
    silence = system.phones.silence_id
    for phones in ([silence, *spoken, silence], spoken):
        entries = [tid for phone in phones for tid in transitions.entry_tids((phone,), system.context)]
        if 0 < len(entries) <= num_frames:
            state = np.arange(num_frames) * len(entries) // num_frames
            loops = np.diff(state, prepend=-1) == 0
            return (np.array(entries, np.int32)[state] + loops).astype(np.int32)
    return f"too short for its transcript: {num_frames} frames, at least {len(entries)} needed"
