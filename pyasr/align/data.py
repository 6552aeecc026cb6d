"""What Gaussian training learns from: transcribed utterances, their features and speakers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from pyasr.base.errors import DataError
from pyasr.base.executor import split_jobs
from pyasr.features.archive import FeatureArchive
from pyasr.features.cmvn import speaker_cmvn
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable

_UTTERANCES_PER_JOB = 64
_MAX_JOBS = 64  # a job holds the frames of its utterances and returns statistics of the whole model


@dataclass(frozen=True)
class Utterance:
    """pronunciations: for each word of the transcript its alternatives, as phone ids."""

    cut_id: str
    speaker: str
    pronunciations: tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True)
class TrainingSet:
    """archive: MFCC by cut id. utterances: in a fixed order. cmvn: speaker -> mean and
    standard deviation of the MFCC, float64 (2, 13)."""

    archive: FeatureArchive
    utterances: tuple[Utterance, ...]
    cmvn: dict[str, np.ndarray]

    @classmethod
    def from_cuts(
        cls, cuts: Iterable[Any], archive: FeatureArchive, lexicon: Lexicon, phones: PhoneTable
    ) -> TrainingSet:
        """The transcribed cuts that have features, with the pronunciations of their words.

        DataError names the utterance when a word has no pronunciation, or when nothing is left.
        """
        utterances = tuple(utterance_of(cut, lexicon, phones) for cut in cuts if cut.id in archive)
        if not utterances:
            raise DataError(f"{archive.folder}: has features of none of the transcribed utterances; extract again")
        speakers = {utterance.cut_id: utterance.speaker for utterance in utterances}
        cmvn = speaker_cmvn({cut_id: archive[cut_id] for cut_id in speakers}, speakers)
        return cls(archive, utterances, cmvn)

    def jobs(self) -> list[TrainingSet]:
        """Contiguous parts; how many depends on the number of utterances alone, so results do, too."""
        num_jobs = min(_MAX_JOBS, -(-len(self.utterances) // _UTTERANCES_PER_JOB))
        return [self._part(part) for part in split_jobs(self.utterances, num_jobs)]

    def speaker_jobs(self) -> list[TrainingSet]:
        """Parts that each hold all utterances of their speakers, speakers in order of appearance."""
        by_speaker: dict[str, list[Utterance]] = {}
        for utterance in self.utterances:
            by_speaker.setdefault(utterance.speaker, []).append(utterance)
        groups = split_jobs(list(by_speaker.values()), _MAX_JOBS)
        return [self._part([item for group in groups_of_job for item in group]) for groups_of_job in groups]

    def _part(self, utterances: list[Utterance]) -> TrainingSet:
        speakers = {utterance.speaker for utterance in utterances}
        cmvn = {speaker: stats for speaker, stats in self.cmvn.items() if speaker in speakers}
        return replace(self, utterances=tuple(utterances), cmvn=cmvn)

    def mfcc(self, utterance: Utterance) -> tuple[np.ndarray, np.ndarray]:
        """MFCC (T, 13) float32 of an utterance and its speaker's cmvn (2, 13)."""
        return np.asarray(self.archive[utterance.cut_id]), self.cmvn[utterance.speaker]

    @cached_property
    def speakers(self) -> tuple[str, ...]:
        """In order of appearance."""
        return tuple(dict.fromkeys(utterance.speaker for utterance in self.utterances))


def utterance_of(cut: Any, lexicon: Lexicon, phones: PhoneTable) -> Utterance:
    """A transcribed cut; DataError names it when a word has no pronunciation."""
    supervision = cut.supervisions[0]
    try:
        pronunciations = tuple(
            tuple(tuple(phones.id(phone) for phone in phones_of) for phones_of in lexicon.pronunciations(word))
            for word in (supervision.text or "").split()
        )
    except DataError as error:
        raise DataError(f"utterance {cut.id}: {error}") from error
    return Utterance(cut.id, supervision.speaker, pronunciations)
