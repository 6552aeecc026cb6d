"""A teacher's posteriors of untranscribed speech, stored."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import torch

from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.base.skips import Skips
from pyasr.features.audio import load_samples
from pyasr.nn.network import Network
from pyasr.ops import pack_topk
from pyasr.targets.store import PosteriorStore

_CUTS_PER_JOB = 32


def label_cuts(
    cuts: Iterable[Any], network_folder: Path, store_folder: Path, phases: int, skip_limit: float, executor: Executor
) -> Skips:
    """Store the k best posteriors of all cuts that the store lacks; a killed run goes on where it was.

    phases: 1 stores the frames of stacking phase 0; as many as frames are stacked stores all of them, row
    j * phases + p being stack j of phase p. Returns the cuts left out; DataError when they are more than
    skip_limit.
    """
    cuts = list(cuts)
    wanted = set(PosteriorStore.open(store_folder).missing([cut.id for cut in cuts]))
    job = functools.partial(_label_job, network_folder, store_folder, phases)
    jobs = split_jobs([cut for cut in cuts if cut.id in wanted], -(-len(wanted) // _CUTS_PER_JOB))
    skips = Skips("utterances", skip_limit)
    for skipped in run_jobs(executor, job, jobs, "labelling", unit=f"x{_CUTS_PER_JOB} utt"):
        skips.extend(skipped)
    skips.check(len(cuts))
    return skips


def _label_job(network_folder: Path, store_folder: Path, phases: int, cuts: list[Any]) -> list[dict[str, str]]:
    """Store the posteriors of some cuts; returns the skip rows of the others."""
    network, store = Network.load(network_folder), PosteriorStore.open(store_folder)
    skipped = []
    with store.writer() as writer:
        for cut in cuts:
            try:
                samples = load_samples(cut)
            except DataError as error:
                skipped.append({"id": cut.id, "reason": f"unreadable audio: {error}"})
                continue
            writer.put(cut.id, pack_topk(torch.from_numpy(network.phase_log_posteriors(samples, phases)), store.k))
    return skipped
