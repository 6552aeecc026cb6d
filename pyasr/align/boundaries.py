"""How far aligned phone starts lie from true ones, where a corpus knows the truth (the demo is synthesised)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import kaldialign
import numpy as np

from pyasr.features.options import FRAME_SHIFT_S
from pyasr.lang.phones import SILENCE, PhoneTable
from pyasr.lang.segments import phone_segments
from pyasr.lang.transitions import TransitionModel

_GAP = "*"
Phone = tuple[str, float]
"""(name, start in seconds)"""


def start_distances_s(
    alignments: Mapping[str, np.ndarray],
    transitions: TransitionModel,
    phones: PhoneTable,
    truth: Mapping[str, Sequence[Phone]],
) -> np.ndarray:
    """Absolute distances float64 (n,), seconds, between aligned and true starts of phones, silence left out.

    alignments: cut_id -> transition ids int32 (T,) at 10 ms; a frame t begins at t times 10 ms. truth: cut_id ->
    phones in order. Where another pronunciation was aligned than was spoken, phones are paired by the least
    number of edits, and only pairs of equal names count.
    """
    distances = []
    for cut_id, tids in alignments.items():
        if cut_id not in truth:
            continue
        found = [
            (phones.base(phone_id), start * FRAME_SHIFT_S)
            for phone_id, start, _ in phone_segments(tids, transitions)
            if phone_id != phones.silence_id
        ]
        true = [(name, start_s) for name, start_s in truth[cut_id] if name != SILENCE]
        distances += [abs(a - b) for a, b in _pairs(found, true)]
    return np.array(distances, np.float64)


def _pairs(found: Sequence[Phone], true: Sequence[Phone]) -> list[tuple[float, float]]:
    i = j = 0
    pairs = []
    for a, b in kaldialign.align([name for name, _ in found], [name for name, _ in true], _GAP):
        if a == b:
            pairs.append((found[i][1], true[j][1]))
        i += a != _GAP
        j += b != _GAP
    return pairs
