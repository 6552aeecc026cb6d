"""A teacher's posteriors of untranscribed speech, stored."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.base.skips import Skips
from pyasr.features.audio import load_samples
from pyasr.features.stack import stack_frames
from pyasr.nn.network import Network
from pyasr.ops import pack_topk
from pyasr.targets.store import PosteriorStore

_CUTS_PER_JOB = 32


@dataclass
class LabelSummary:
    """Of one call. rows: of posteriors stored. mean_best: mean largest posterior. skips: cuts left out."""

    cuts: int = 0
    rows: int = 0
    mean_best: float = 0.0
    skips: Skips = field(default_factory=Skips)


def label_cuts(
    cuts: Iterable[Any], network_folder: Path, store_folder: Path, phases: int, skip_limit: float, executor: Executor
) -> LabelSummary:
    """Store the k best posteriors of all cuts that the store lacks; a killed run goes on where it was.

    phases: 1 stores the frames of stacking phase 0; as many as frames are stacked stores all of them, row
    j * phases + p being stack j of phase p. DataError when more than skip_limit of the cuts cannot be labelled.
    """
    store = PosteriorStore.open(store_folder)
    cuts = list(cuts)
    missing = set(store.missing([cut.id for cut in cuts]))
    wanted = [cut for cut in cuts if cut.id in missing]
    job = functools.partial(_label_job, network_folder, store_folder, phases)
    jobs = split_jobs(wanted, -(-len(wanted) // _CUTS_PER_JOB))
    results = run_jobs(executor, job, jobs, "labelling", unit=f"x{_CUTS_PER_JOB} utt")
    summary = LabelSummary(skips=Skips("utterances", skip_limit))
    for rows, best, num_cuts, skipped in results:
        summary.cuts += num_cuts
        summary.rows += rows
        summary.mean_best += best
        summary.skips.extend(skipped)
    summary.mean_best /= max(summary.rows, 1)
    summary.skips.check(len(cuts))
    return summary


def _label_job(
    network_folder: Path, store_folder: Path, phases: int, cuts: list[Any]
) -> tuple[int, float, int, list[dict[str, str]]]:
    """Rows stored, sum of their largest posteriors, cuts stored, skip rows."""
    network, store = Network.load(network_folder), PosteriorStore.open(store_folder)
    rows, best, done, skipped = 0, 0.0, 0, []
    with store.writer() as writer:
        for cut in cuts:
            try:
                logp = phase_log_posteriors(network, load_samples(cut), phases)
            except DataError as error:
                skipped.append({"id": cut.id, "reason": f"unreadable audio: {error}"})
                continue
            writer.put(cut.id, pack_topk(torch.from_numpy(logp), store.k))
            rows, best, done = rows + len(logp), best + float(np.exp(logp.max(axis=1)).sum()), done + 1
    return rows, best, done, skipped


def phase_log_posteriors(network: Network, samples: np.ndarray, phases: int) -> np.ndarray:
    """Log-posteriors float32 (R, S) of samples (n,) in the order of the store's rows, see `label_cuts`."""
    frames, stack = network.frontend.frames(samples), network.frontend.options.stack
    if phases == 1:
        return network.log_posteriors_of(stack_frames(frames, stack))
    num_rows = max(0, len(frames) - stack + 1)
    logp = np.empty((num_rows, network.model.num_senones), np.float32)
    for phase in range(min(phases, num_rows)):
        logp[phase::phases] = network.log_posteriors_of(stack_frames(frames, stack, phase))
    return logp
