"""Alignment of utterances with a GMM: the job that runs on many processes, and the flat start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyasr.align.alignments import Alignments
from pyasr.align.data import Pronunciations, Utterance
from pyasr.align.frontend import FeatureSource
from pyasr.align.options import GmmOptions
from pyasr.align.system import GmmSystem
from pyasr.lang.alignment_graph import build_alignment_graph
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.segments import phone_windows
from pyasr.ops.viterbi import AlignmentGraph, viterbi_align


@dataclass(frozen=True)
class AlignJob:
    """Align `utterances`, whose features come from `source`, with `system`."""

    system: GmmSystem
    source: FeatureSource
    lexicon: Lexicon
    utterances: list[Utterance]
    options: GmmOptions


def align_job(job: AlignJob) -> tuple[Alignments, list[dict[str, str]]]:
    """Alignments by cut id, and rows {"id", "reason"} of the utterances that cannot be aligned."""
    archive = job.source.open()
    alignments: Alignments = {}
    skipped = []
    for utterance in job.utterances:
        features = job.source.features(archive, utterance.cut_id, utterance.speaker)
        pronunciations = utterance.pronunciations(job.lexicon, job.system.phones)
        found = align_utterance(job.system, features, pronunciations, job.options)
        if found is None:
            skipped.append({"id": utterance.cut_id, "reason": f"no alignment: {len(features)} frames are too few"})
        else:
            alignments[utterance.cut_id] = found[0]
    return alignments, skipped


def align_utterance(
    system: GmmSystem, features: np.ndarray, pronunciations: Pronunciations, options: GmmOptions
) -> tuple[np.ndarray, np.ndarray] | None:
    """Transition id int32 (T,) and word index int32 (T,) (-1 in silence) of each frame; None without a path.

    features: float32 (T, D). Silence is favoured by `options.boost_silence`.
    """
    graph = build_alignment_graph(
        pronunciations,
        system.transitions,
        system.context,
        system.phones.silence_id,
        options.silence_p,
        options.transition_scale,
    )
    if not len(features):
        return None
    pdfs, loglikes = _graph_loglikes(system, graph, features, options.boost_silence)
    columns = np.full(len(system.transitions.tid_to_pdf), -1, np.int32)
    used = np.unique(graph.arc_tid)
    columns[used] = np.searchsorted(pdfs, system.transitions.tid_to_pdf[used])
    (result,) = viterbi_align([graph], [loglikes], columns, options.acoustic_scale)
    return (graph.arc_tid[result.arcs], graph.arc_word[result.arcs]) if result.ok else None


def _graph_loglikes(
    system: GmmSystem, graph: AlignmentGraph, features: np.ndarray, boost_silence: float
) -> tuple[np.ndarray, np.ndarray]:
    """The pdfs a graph uses, ascending, and their log-likelihoods (T, P')."""
    tids = np.unique(graph.arc_tid)
    pdfs = np.unique(system.transitions.tid_to_pdf[tids])
    silent = system.transitions.tid_to_pdf[tids[system.transitions.tid_to_phone[tids] == system.phones.silence_id]]
    loglikes = system.gmm.loglikes(features, pdfs)
    loglikes[:, np.isin(pdfs, silent)] += np.float32(np.log(boost_silence))
    return pdfs, loglikes


def equal_alignment(system: GmmSystem, pronunciations: Pronunciations, num_frames: int) -> np.ndarray | None:
    """Flat start: the first pronunciations with silence at both ends, every HMM state equally long.

    int32 (T,) transition ids; None when there are fewer frames than states.
    """
    silence = system.phones.silence_id
    phones = [silence, *(phone for alternatives in pronunciations for phone in alternatives[0]), silence]
    windows = phone_windows(phones, system.context.width)
    entries = np.array(
        [tid for window in windows for tid in system.transitions.entry_tids(window, system.context)], np.int32
    )
    if num_frames < len(entries):
        return None
    state = np.arange(num_frames) * len(entries) // num_frames
    return entries[state] + (np.diff(state, prepend=-1) == 0)
