"""Decoding with Gaussian systems, unadapted or adapted to the speakers."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.align.options import FmllrOptions
from pyasr.align.sat import speaker_transform
from pyasr.align.system import GmmSystem
from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.decode.model_dir import GmmModel
from pyasr.decode.part import Failure, Outcome, Scales, decode_cuts, write_hypotheses
from pyasr.decode.tune import Tuning, choose, middle_scales, scales_grid
from pyasr.features.archive import FeatureArchive
from pyasr.features.cmvn import speaker_cmvn

_ADAPTATION_JOBS = 32


@dataclass(frozen=True)
class GmmSource:
    """Likelihoods of a part of the corpus by a Gaussian system (a `pyasr.decode.part.LikelihoodSource`).

    archive_folder: MFCC. speakers: cut_id -> speaker. cmvn: speaker -> (2, 13). transforms: speaker -> fMLLR
    (D, D + 1); a speaker without one is not adapted.
    """

    system_folder: Path
    archive_folder: Path
    speakers: Mapping[str, str]
    cmvn: Mapping[str, np.ndarray]
    transforms: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, system_folder: Path, archive_folder: Path, speakers: Mapping[str, str]) -> GmmSource:
        """Unadapted; a speaker's mean and variance are over all utterances of this part that have features."""
        archive = FeatureArchive.open(archive_folder)
        present = {cut_id: archive[cut_id] for cut_id in speakers if cut_id in archive}
        return cls(system_folder, archive_folder, speakers, speaker_cmvn(present, speakers))

    def open(self) -> GmmLikelihoods:
        return GmmLikelihoods(self, GmmSystem.load(self.system_folder), FeatureArchive.open(self.archive_folder))


@dataclass(frozen=True)
class GmmLikelihoods:
    """An opened `GmmSource`."""

    source: GmmSource
    system: GmmSystem
    archive: FeatureArchive

    @property
    def tid_to_pdf(self) -> np.ndarray:
        return self.system.transitions.tid_to_pdf

    def frames(self, cut_id: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """MFCC (T, 13), cmvn (2, 13) and transform (D, D + 1) or None of an utterance."""
        if cut_id not in self.archive:
            raise DataError(f"{cut_id}: no features; the extraction left it out")
        speaker = self.source.speakers[cut_id]
        return np.asarray(self.archive[cut_id]), self.source.cmvn[speaker], self.source.transforms.get(speaker)

    def loglikes(self, cut_id: str) -> np.ndarray:
        return self.system.loglikes(*self.frames(cut_id))


def adapt(
    model: GmmModel, source: GmmSource, decoded: Mapping[str, Outcome], executor: Executor, what: str = "fMLLR"
) -> GmmSource:
    """The source with each speaker's fMLLR estimated from what was recognised, never from a reference.

    Speakers with too little recognised speech (options.fmllr.min_frames) stay unadapted.
    """
    by_speaker: dict[str, list[tuple[str, np.ndarray]]] = {}
    for cut_id, outcome in decoded.items():
        if not isinstance(outcome, Failure):
            by_speaker.setdefault(source.speakers[cut_id], []).append((cut_id, outcome.tids))
    jobs = split_jobs(list(by_speaker.items()), _ADAPTATION_JOBS)
    results = run_jobs(executor, functools.partial(_adapt_job, source, model.options.fmllr), jobs, what)
    return replace(source, transforms={speaker: matrix for result in results for speaker, matrix in result})


def _adapt_job(
    source: GmmSource, options: FmllrOptions, speakers: list[tuple[str, list[tuple[str, np.ndarray]]]]
) -> list[tuple[str, np.ndarray]]:
    likelihoods = source.open()
    transforms = []
    for speaker, aligned in speakers:
        utterances = [(*likelihoods.frames(cut_id)[:2], tids) for cut_id, tids in aligned]
        matrix = speaker_transform(likelihoods.system, utterances, source.transforms.get(speaker), options)
        if matrix is not None:
            transforms.append((speaker, matrix))
    return transforms


def prepare(model: GmmModel, archive_folder: Path, speakers: Mapping[str, str], executor: Executor) -> GmmSource:
    """The source from which a part is decoded for good.

    Adapted systems: a first pass without adaptation, transforms from its best paths, a second pass with them,
    transforms again. Both passes use the middle of the grid of scales, in every part and condition.
    """
    source = GmmSource.of(model.system_folder, archive_folder, speakers)
    if model.options.fmllr is None:
        return source
    for number in (1, 2):
        decoded = decode(model, source, middle_scales(model.options.search), executor, f"pass {number}")
        source = adapt(model, source, decoded, executor, f"fMLLR {number}")
    return source


def decode(
    model: GmmModel, source: GmmSource, scales: Scales, executor: Executor, what: str = "decode"
) -> dict[str, Outcome]:
    """Outcomes of all utterances of a source at one pair of scales."""
    return decode_cuts(source, list(source.speakers), model.graph, [scales], model.options.search, executor, what)[
        scales
    ]


def tune_model(
    model: GmmModel, archive_folder: Path, references: Mapping[str, tuple[str, str]], executor: Executor
) -> Tuning:
    """Choose the scales on the development part and write tuning.json.

    references: {cut_id: (speaker, text)} of dev.
    """
    speakers = {cut_id: speaker for cut_id, (speaker, _) in references.items()}
    source = prepare(model, archive_folder, speakers, executor)
    grid = scales_grid(model.options.search)
    decoded = decode_cuts(source, list(speakers), model.graph, grid, model.options.search, executor, "scales on dev")
    tuning = choose(decoded, references, model.words)
    tuning.save(model.tuning)
    return tuning


def decode_condition(
    model: GmmModel, archive_folder: Path, speakers: Mapping[str, str], condition: str, executor: Executor
) -> list[dict[str, Any]]:
    """Decode a test condition with the chosen scales, write hyp/CONDITION.jsonl and return its rows.

    speakers: {cut_id: speaker} of the test part.
    """
    source = prepare(model, archive_folder, speakers, executor)
    decoded = decode(model, source, model.scales, executor, condition)
    return write_hypotheses(model.hypotheses(condition), decoded, model.words)


def speakers_of(cuts: Iterable[Any]) -> dict[str, str]:
    """cut_id -> speaker of Lhotse cuts with one supervision each."""
    return {cut.id: cut.supervisions[0].speaker for cut in cuts}
