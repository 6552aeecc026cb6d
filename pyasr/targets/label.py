"""Posteriors of untranscribed speech, labelled into a store: what is there is not made again.

What a batch holds is a function of all cuts, not of those that are missing, so that the sums inside a matrix product,
and with them the bits of what is stored, do not depend on when a labelling was killed.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyasr.base.artifact import digest_file
from pyasr.base.errors import DataError
from pyasr.base.executor import SerialExecutor, iterate_jobs, run_jobs, split_jobs
from pyasr.base.skips import Skips
from pyasr.corpora.manifest import iterate_cuts
from pyasr.corpora.shards import manifest_names, part_of
from pyasr.features.audio import load_samples
from pyasr.nn.network import Network
from pyasr.targets.labeller import Labeller
from pyasr.targets.store import PosteriorStore, StoreWriter

_CUTS_PER_JOB = 32
_CUTS_PER_GPU_JOB = 2000
GPU_BATCH_S = 400.0
"""Seconds of speech, padding and phases included, of a batch on a GPU."""
_BATCHES_AHEAD = 4
_READERS = 2

SkipRow = dict[str, str]


def store_metadata(network: Network, folder: Path, phases: int, temperature: float) -> dict[str, Any]:
    """What a store says of where its posteriors come from. folder: that the network was loaded from."""
    of_network = {"phases": phases, "senones": network.senones, "teacher": digest_file(folder / "weights.pt")}
    return of_network if temperature == 1.0 else {**of_network, "temperature": temperature}


def label_cuts(
    cuts: Iterable[Any],
    part: str,
    network_folder: Path,
    store_folder: Path,
    phases: int,
    skip_limit: float,
    executor: Executor,
    temperature: float = 1.0,
) -> Skips:
    """Store the k best posteriors of all cuts that a part of the store lacks, by the processes of an executor, or in
    batches on the GPU that this one has.

    phases, temperature: see `Labeller`. Returns the cuts left out; DataError when they are more than skip_limit.
    """
    executor, cuts_per_job = _workers(executor)
    cuts = list(cuts)
    missing = set(PosteriorStore.open(store_folder, part).missing([cut.id for cut in cuts]))
    job = functools.partial(_label_job, part, network_folder, store_folder, phases, temperature)
    jobs = [job for job in split_jobs(cuts, -(-len(cuts) // cuts_per_job)) if any(cut.id in missing for cut in job)]
    skips = Skips("utterances", skip_limit)
    for skipped in run_jobs(executor, job, jobs, "labelling", unit=f"x{cuts_per_job} utt"):
        skips.extend(skipped)
    skips.check(len(cuts))
    return skips


def _label_job(
    part: str, network_folder: Path, store_folder: Path, phases: int, temperature: float, cuts: list[Any]
) -> list[SkipRow]:
    return _label(network_folder, PosteriorStore.open(store_folder, part), phases, temperature, cuts)


def label_manifests(
    folder: Path,
    network_folder: Path,
    store_folder: Path,
    phases: int,
    skip_limit: float,
    executor: Executor,
    temperature: float = 1.0,
) -> Skips:
    """As `label_cuts`, for the manifests of a folder: each is a job, and has a part of the store."""
    executor, _ = _workers(executor)
    paths = [folder / name for name in manifest_names(folder)]
    job = functools.partial(_label_manifest, network_folder, store_folder, phases, temperature)
    skips, total = Skips("utterances", skip_limit), 0
    for skipped, count in iterate_jobs(executor, job, paths, "labelling", unit="manifest"):
        skips.extend(skipped)
        total += count
    skips.check(total)
    return skips


def _label_manifest(
    network_folder: Path, store_folder: Path, phases: int, temperature: float, path: Path
) -> tuple[list[SkipRow], int]:
    store, cuts = PosteriorStore.open(store_folder, part_of(path.name)), list(iterate_cuts(path))
    return _label(network_folder, store, phases, temperature, cuts), len(cuts)


def _workers(executor: Executor) -> tuple[Executor, int]:
    """Who labels, and how many cuts at a time: a GPU has one process, with much to choose batches from."""
    return (SerialExecutor(), _CUTS_PER_GPU_JOB) if torch.cuda.is_available() else (executor, _CUTS_PER_JOB)


def _label(
    network_folder: Path, store: PosteriorStore, phases: int, temperature: float, cuts: list[Any]
) -> list[SkipRow]:
    network = Network.load(network_folder)
    device, batch_s = ("cuda", GPU_BATCH_S) if torch.cuda.is_available() else ("cpu", 0.0)
    network.model.to(device)
    return label_part(Labeller(network, store.k, phases, temperature), store, cuts, batch_s)


def label_part(
    labeller: Labeller,
    store: PosteriorStore,
    cuts: Sequence[Any],
    batch_s: float,
    done: Callable[[float, float], None] = lambda hours, of_hours: None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[SkipRow]:
    """Store what the store lacks of the cuts; returns the skip rows of those whose audio cannot be read.

    batch_s: seconds of speech of a batch, padding and phases included; 0: one cut at a time. done: told the hours of
    speech of each batch, and of all that there are to do. stopped: asked before each batch; what was labelled by then
    is sealed. Audio is read ahead, and packing and writing run beside the network.
    """
    missing = set(store.missing([cut.id for cut in cuts]))
    batches = [b for b in batches_of(cuts, batch_s / labeller.phases) if any(cut.id in missing for cut in b)]
    of_hours = sum(map(_hours, batches))
    skipped: list[SkipRow] = []
    with store.writer() as writer, ThreadPoolExecutor(_READERS) as readers, ThreadPoolExecutor(1) as packer:
        packing: collections.deque[Future] = collections.deque()
        for batch, loaded in zip(batches, _ahead(readers, _load, batches)):
            if stopped():
                break
            readable = [(cut, samples) for cut, samples in zip(batch, loaded) if not isinstance(samples, DataError)]
            skipped += [
                {"id": cut.id, "reason": f"unreadable audio: {error}"}
                for cut, error in zip(batch, loaded)
                if isinstance(error, DataError)
            ]
            logits = labeller.logits([samples for _, samples in readable])
            wanted = [(cut.id, x) for (cut, _), x in zip(readable, logits) if cut.id in missing]
            packing.append(packer.submit(_put, labeller, writer, wanted))
            while len(packing) > _BATCHES_AHEAD:
                packing.popleft().result()
            done(_hours(batch), of_hours)
        for future in packing:
            future.result()
    return skipped


def _hours(cuts: Sequence[Any]) -> float:
    return sum(cut.duration for cut in cuts) / 3600


def batches_of(cuts: Sequence[Any], batch_s: float) -> list[list[Any]]:
    """Cuts of similar length together, the longest first, at most batch_s seconds with padding (but at least a cut)."""
    if batch_s <= 0:
        return [[cut] for cut in cuts]
    batches: list[list[Any]] = []
    for cut in sorted(cuts, key=lambda cut: (-cut.duration, cut.id)):
        if not batches or batches[-1][0].duration * (len(batches[-1]) + 1) > batch_s:
            batches.append([])
        batches[-1].append(cut)
    return batches


def _load(batch: list[Any]) -> list[np.ndarray | DataError]:
    loaded: list[np.ndarray | DataError] = []
    for cut in batch:
        try:
            loaded.append(load_samples(cut))
        except DataError as error:
            loaded.append(error)
    return loaded


def _put(labeller: Labeller, writer: StoreWriter, wanted: list[tuple[str, Any]]) -> None:
    for cut_id, logits in wanted:
        writer.put(cut_id, labeller.pack(logits))


def _ahead(executor: Executor, fn: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """fn of each item in order, begun a few items before it is asked for."""
    futures: collections.deque[Future] = collections.deque()
    for item in items:
        futures.append(executor.submit(fn, item))
        if len(futures) > _BATCHES_AHEAD:
            yield futures.popleft().result()
    for future in futures:
        yield future.result()
