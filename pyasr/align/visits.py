"""What an alignment looks like in another topology: which HMM states are visited, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyasr.lang.phones import PhoneTable
from pyasr.lang.segments import phone_starts
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel


@dataclass(frozen=True)
class Visits:
    """windows: int32 (N, 4), rows (left, centre, right, state), 0 outside the utterance; a row a visit of an
    HMM state, in the order of time. frames: int64 (N,), how long each lasts. loops: float64 (N,), self-loops
    of each at the frame rate that was asked for."""

    windows: np.ndarray
    frames: np.ndarray
    loops: np.ndarray

    @property
    def frame_windows(self) -> np.ndarray:
        """int32 (T, 4): the row of every frame."""
        return np.repeat(self.windows, self.frames, axis=0)


def visits_of(
    tids: np.ndarray, transitions: TransitionModel, phones: PhoneTable, topology: Topology, stack: int = 1
) -> Visits:
    """The visits of an aligned utterance if its phones had the states of `topology`.

    tids: int32 (T,) of `transitions`. The frames of a phone are dealt evenly among its n states. When `stack`
    frames become one, a phone of D frames has max(n, round(D / stack)) of them; all but its n entries are
    loops, in equal parts.
    """
    starts = phone_starts(tids, transitions)
    durations = np.diff(np.append(starts, len(tids)))
    of_phone = transitions.tid_to_phone[tids[starts]]
    padded = np.concatenate([[0], of_phone, [0]])
    silence = phones.silence_id
    num_states = np.array([topology.num_states(phone_id, silence) for phone_id in of_phone.tolist()], np.int64)
    phone = np.repeat(np.arange(len(starts)), num_states)
    state = np.arange(len(phone)) - np.repeat(np.cumsum(num_states) - num_states, num_states)
    n, duration = num_states[phone], durations[phone]
    # Frame t of a phone belongs to state t n // D, so state s begins at frame ceil(s D / n).
    frames = -(-(state + 1) * duration // n) + (-state * duration // n)
    stacks = np.maximum(n, np.rint(duration / stack))
    windows = np.stack([padded[phone], padded[phone + 1], padded[phone + 2], state], axis=1)
    return Visits(windows.astype(np.int32), frames, (stacks - n) / n)
