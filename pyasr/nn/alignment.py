"""Alignment of transcripts with a network, at 10 ms: its posteriors of every stacking phase, interleaved."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.align.data import utterance_of
from pyasr.align.options import AlignOptions
from pyasr.align.realign import Hmm, SkipRows, align_utterance
from pyasr.align.senones import Senones
from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.base.skips import Skips
from pyasr.features.audio import load_samples
from pyasr.lang.lexicon import Lexicon
from pyasr.nn.network import Network

_CUTS_PER_JOB = 32


def align_cuts(
    cuts: Iterable[Any],
    network_folder: Path,
    senones_folder: Path,
    lexicon: Lexicon,
    options: AlignOptions,
    executor: Executor,
    what: str = "aligning",
) -> tuple[dict[str, np.ndarray], SkipRows]:
    """The senone of every 10 ms frame, cut_id -> int32 (T,) in the order of the cuts, and rows of those skipped.

    A frame's likelihoods are those of the stack that it is the middle of, the posteriors divided by the priors.
    The senones' transitions are those at 30 ms: in an alignment they hardly matter.
    DataError for a word outside the lexicon, and when more than options.skip_limit do not align.
    """
    cuts = list(cuts)
    job = functools.partial(_align_job, network_folder, senones_folder, lexicon, options)
    jobs = split_jobs(cuts, -(-len(cuts) // _CUTS_PER_JOB))
    aligned: dict[str, np.ndarray] = {}
    skips = Skips("utterances", options.skip_limit)
    for part, rows in run_jobs(executor, job, jobs, what, unit=f"x{_CUTS_PER_JOB} utt"):
        aligned.update(part)
        skips.extend(rows)
    skips.check(len(cuts))
    return aligned, skips.rows


def _align_job(
    network_folder: Path, senones_folder: Path, lexicon: Lexicon, options: AlignOptions, cuts: list[Any]
) -> tuple[dict[str, np.ndarray], SkipRows]:
    network, senones = Network.load(network_folder), Senones.load(senones_folder)
    hmm = Hmm(senones.transitions, senones.tree, senones.phones.silence_id)
    aligned, skipped = {}, []
    for cut in cuts:
        try:
            loglikes = frame_loglikes(network, load_samples(cut))
        except DataError as error:
            skipped.append({"id": cut.id, "reason": f"unreadable audio: {error}"})
            continue
        utterance = utterance_of(cut, lexicon, senones.phones)
        tids = align_utterance(utterance, hmm, functools.partial(np.take, loglikes, axis=1), options)
        if isinstance(tids, str):
            skipped.append({"id": cut.id, "reason": tids})
        else:
            aligned[cut.id] = senones.transitions.tid_to_pdf[tids].astype(np.int32)
    return aligned, skipped


def frame_loglikes(network: Network, samples: np.ndarray) -> np.ndarray:
    """Posteriors less priors, natural log, float32 (T, S) of every 10 ms frame of samples (n,).

    Frames at either end that are the middle of no stack have those of the nearest that is.
    """
    stack = network.frontend.options.stack
    rows = network.phase_log_posteriors(samples, stack) - network.log_priors
    if not len(rows):
        return rows
    num_frames = len(rows) + stack - 1
    return rows[(np.arange(num_frames) - stack // 2).clip(0, len(rows) - 1)]
