"""Features of many cuts in parallel."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.base.artifact import atomic_dir
from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.base.skips import Skips
from pyasr.features.archive import seal, write_part
from pyasr.features.audio import load_samples
from pyasr.features.mfcc import compute_mfcc
from pyasr.features.noise import NoiseSpec, speech_power
from pyasr.features.options import FRAME_SHIFT_S, FeatureOptions

_CUTS_PER_JOB = 64


@dataclass
class ExtractSummary:
    """What an extraction made and what it left out."""

    cuts: int = 0
    frames: int = 0
    skips: Skips = field(default_factory=Skips)

    @property
    def hours(self) -> float:
        return self.frames * FRAME_SHIFT_S / 3600.0


def extract_mfcc(
    cuts: Iterable[Any],
    out_dir: str | Path,
    options: FeatureOptions,
    executor: Executor,
    noise: NoiseSpec | None = None,
    what: str = "MFCC",
) -> ExtractSummary:
    """Write the MFCC of all cuts, in their order, to a FeatureArchive at `out_dir`, atomically.

    noise: added to the audio first. Cuts that cannot be read, are too short or silent under noise are
    skipped and listed; DataError when more than options.skip_limit are, or when a noise file is bad.
    """
    jobs = list(enumerate(_partition(cuts)))
    summary = ExtractSummary(skips=Skips("utterances", options.skip_limit))
    with atomic_dir(out_dir) as temporary:
        job = functools.partial(_extract_job, temporary, options, noise)
        results = run_jobs(executor, job, jobs, what, unit=f"x{_CUTS_PER_JOB} utt")
        for part, skipped in results:
            summary.cuts += len(part["cuts"])
            summary.frames += part["frames"]
            summary.skips.extend(skipped)
        summary.skips.check(summary.cuts + summary.skips.count)
        seal(temporary, [part for part, _ in results])
    return summary


def _partition(cuts: Iterable[Any]) -> list[list[Any]]:
    cuts = list(cuts)
    return split_jobs(cuts, -(-len(cuts) // _CUTS_PER_JOB))


def _extract_job(
    folder: Path, options: FeatureOptions, noise: NoiseSpec | None, job: tuple[int, list[Any]]
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    number, cuts = job
    skipped: list[dict[str, str]] = []

    def rows() -> Iterable[tuple[str, np.ndarray]]:
        for cut in cuts:
            features = _features_or_reason(cut, options, noise)
            if isinstance(features, str):
                skipped.append({"id": cut.id, "reason": features})
            else:
                yield cut.id, features

    return write_part(folder, number, rows()), skipped


def _features_or_reason(cut: Any, options: FeatureOptions, noise: NoiseSpec | None) -> np.ndarray | str:
    """(T, D) features, or why there are none; the part of a reason after ':' is detail (see Skips)."""
    try:
        samples = load_samples(cut)
    except DataError as error:
        return f"unreadable audio: {error}"
    if noise is not None:
        if not speech_power(samples) > 0.0:
            return "silent audio: noise cannot be added at a ratio to it"
        samples = noise.add(samples, cut.id)
    features = compute_mfcc(samples, options.mfcc)
    return features if len(features) else f"too short: {len(samples)} samples give no frame"
