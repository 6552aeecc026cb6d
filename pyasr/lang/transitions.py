"""Transition ids: what the arcs of graphs carry, so that phones, states and times survive a search.

A row (phone, state, pdf) of `states`, with index i, has two transition ids: 2 i + 1 on the arc that enters
the state (its first frame) and 2 i + 2 on the self-loop (each further frame). A visit of a state is left
exactly once, so the probability of leaving is charged on entry and the weights of paths are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pyasr.base.errors import DataError
from pyasr.lang.context import ContextMap, central
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology

_MIN_P = 0.01  # floor of both probabilities when they are re-estimated, as in Kaldi


@dataclass(frozen=True)
class TransitionModel:
    """states: int32 (N, 3), rows (phone_id, state, pdf_id), sorted and unique. loop_p: float64 (N,)."""

    states: np.ndarray
    loop_p: np.ndarray

    def __post_init__(self) -> None:
        states, loop_p = self.states, self.loop_p
        if states.ndim != 2 or states.shape[1] != 3 or loop_p.shape != (len(states),):
            raise DataError(f"transition model: states {states.shape} and loop_p {loop_p.shape} do not belong together")
        if not ((loop_p > 0) & (loop_p < 1)).all():
            raise DataError("transition model: a self-loop probability is not between 0 and 1")

    @classmethod
    def build(
        cls, phones: PhoneTable, topology: Topology, context: ContextMap, loop_p: float = 0.75
    ) -> TransitionModel:
        """All rows that `context` can give; every self-loop begins with `loop_p`."""
        rows = [
            (phone_id, state, pdf_id)
            for phone_id in phones.ids
            for state in range(topology.num_states(phone_id, phones.silence_id))
            for pdf_id in context.all_pdfs(phone_id, state)
        ]
        states = np.array(sorted(set(rows)), np.int32)
        return cls(states, np.full(len(states), loop_p))

    @property
    def num_tids(self) -> int:
        return 2 * len(self.states)

    @property
    def num_pdfs(self) -> int:
        return int(self.states[:, 2].max()) + 1

    def _per_tid(self, column: int) -> np.ndarray:
        return np.concatenate([[-1], np.repeat(self.states[:, column], 2)]).astype(np.int32)

    @cached_property
    def tid_to_phone(self) -> np.ndarray:
        """int32 (num_tids + 1,); entry 0 is -1."""
        return self._per_tid(0)

    @cached_property
    def tid_to_state(self) -> np.ndarray:
        """int32 (num_tids + 1,): HMM state within the phone; entry 0 is -1."""
        return self._per_tid(1)

    @cached_property
    def tid_to_pdf(self) -> np.ndarray:
        """int32 (num_tids + 1,); entry 0 is -1."""
        return self._per_tid(2)

    @staticmethod
    def is_entry(tids: np.ndarray) -> np.ndarray:
        """bool, True where a state is entered, False on its self-loop."""
        return np.asarray(tids) % 2 == 1

    def tid_cost(self, scale: float = 1.0) -> np.ndarray:
        """float32 (num_tids + 1,): -log P(leave) on entry, -log P(loop) on the loop, times `scale`; entry 0 is 0."""
        costs = -np.log(np.stack([1.0 - self.loop_p, self.loop_p], axis=1)).reshape(-1)
        return np.concatenate([[0.0], scale * costs]).astype(np.float32)

    @cached_property
    def _index(self) -> dict[tuple[int, int, int], int]:
        return {(int(p), int(s), int(pdf)): i for i, (p, s, pdf) in enumerate(self.states)}

    def entry_tid(self, phone_id: int, state: int, pdf_id: int) -> int:
        """The id that enters a state; its self-loop is the next one. DataError when there is no such state."""
        try:
            return 2 * self._index[phone_id, state, pdf_id] + 1
        except KeyError:
            raise DataError(
                f"no transition for phone {phone_id}, state {state}, pdf {pdf_id}: tree and transitions do not match"
            ) from None

    def entry_tids(self, window: tuple[int, ...], context: ContextMap) -> list[int]:
        """Entry transition ids of the states of the central phone of `window`, in order."""
        phone_id = central(window)
        return [self.entry_tid(phone_id, state, pdf) for state, pdf in enumerate(context.pdfs(window))]

    def update(self, tid_counts: np.ndarray) -> TransitionModel:
        """Maximum-likelihood self-loop probabilities from the counts of each tid, floored; unseen states keep theirs.

        tid_counts: float64 (num_tids + 1,). A state visited n times with m further frames has P(loop) = m / (n + m).
        """
        visits, loops = tid_counts[1::2], tid_counts[2::2]
        total = visits + loops
        estimate = np.divide(loops, total, out=self.loop_p.copy(), where=total > 0)
        return TransitionModel(self.states, np.clip(estimate, _MIN_P, 1.0 - _MIN_P))

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"states": self.states, "loop_p": self.loop_p}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> TransitionModel:
        return cls(arrays["states"].astype(np.int32), arrays["loop_p"].astype(np.float64))
