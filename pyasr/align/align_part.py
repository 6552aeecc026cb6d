"""Alignment of transcribed speech that a speaker-adapted system was not trained on."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import replace

import numpy as np

from pyasr.align.data import TrainingSet
from pyasr.align.options import AlignOptions, FmllrOptions
from pyasr.align.realign import SkipRows, Transforms, align_set
from pyasr.align.sat import fmllr_step
from pyasr.align.system import GmmSystem
from pyasr.align.train import EmState
from pyasr.base.skips import Skips


def align_part(
    data: TrainingSet, state: EmState, align: AlignOptions, fmllr: FmllrOptions, executor: Executor, what: str
) -> tuple[dict[str, np.ndarray], SkipRows]:
    """Transition ids at 10 ms, cut_id -> int32 (T,) in the order of the data, and rows of those skipped.

    state: the adapted system; its alignments and transforms are not used. A pass without adaptation, each
    speaker's transform from it, a second pass, transforms again, and the last pass. Speakers with less speech
    than fmllr.min_frames stay unadapted. DataError when more utterances than align.skip_limit do not align.
    """
    found = EmState(state.system, *_align(data, state.system, {}, align, executor, f"{what}: align, unadapted"))
    for number in (1, 2):
        if not found.alignments:
            break
        transforms = fmllr_step(data, found, fmllr, executor).transforms
        aligned = _align(data, state.system, transforms, align, executor, f"{what}: align, adapted {number}")
        found = EmState(state.system, *aligned, transforms)
    Skips("utterances", align.skip_limit, found.skipped).check(len(data.utterances))
    return found.alignments, found.skipped


def _align(
    data: TrainingSet,
    system: GmmSystem,
    transforms: Transforms,
    align: AlignOptions,
    executor: Executor,
    what: str,
) -> tuple[dict[str, np.ndarray], SkipRows]:
    """Speakers without a transform are aligned by the mixtures for unadapted features."""
    unadapted = system if system.unadapted is None else replace(system, gmm=system.unadapted)
    alignments: dict[str, np.ndarray] = {}
    skipped: SkipRows = []
    for adapted, its_system in ((True, system), (False, unadapted)):
        some = tuple(item for item in data.utterances if (item.speaker in transforms) == adapted)
        if some:
            part = replace(data, utterances=some)
            its_alignments, its_skipped = align_set(part, its_system, transforms, align, executor, what)
            alignments |= its_alignments
            skipped += its_skipped
    order = {item.cut_id: place for place, item in enumerate(data.utterances)}
    return (
        {cut_id: alignments[cut_id] for cut_id in order if cut_id in alignments},
        sorted(skipped, key=lambda row: order[row["id"]]),
    )
