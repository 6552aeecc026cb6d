"""How a phone in its context maps to the pdfs of its HMM states."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology


class ContextMap(Protocol):
    """A window of phones to pdf ids, one a state of the central phone.

    width: 1 (the phone alone) or 3 (left, centre, right; 0 outside the utterance).
    """

    @property
    def width(self) -> int: ...

    @property
    def num_pdfs(self) -> int: ...

    def pdfs(self, window: tuple[int, ...]) -> tuple[int, ...]:
        """Pdf id of each state of the central phone of `window`."""
        ...

    def all_pdfs(self, phone_id: int, state: int) -> list[int]:
        """Every pdf that a state of a phone can have in some context, ascending."""
        ...


@dataclass(frozen=True)
class MonophoneContext:
    """One pdf for each state of each phone, numbered in order; phones of one base share theirs."""

    phones: PhoneTable
    topology: Topology

    @property
    def width(self) -> int:
        return 1

    @property
    def num_pdfs(self) -> int:
        return sum(self._num_states(group[0]) for group in self.phones.groups)

    def _num_states(self, phone_id: int) -> int:
        return self.topology.num_states(phone_id, self.phones.silence_id)

    @cached_property
    def _first_pdf(self) -> dict[int, int]:
        first, next_pdf = {}, 0
        for group in self.phones.groups:
            first |= dict.fromkeys(group, next_pdf)
            next_pdf += self._num_states(group[0])
        return first

    def pdfs(self, window: tuple[int, ...]) -> tuple[int, ...]:
        (phone_id,) = window
        first = self._first_pdf[phone_id]
        return tuple(range(first, first + self._num_states(phone_id)))

    def all_pdfs(self, phone_id: int, state: int) -> list[int]:
        return [self._first_pdf[phone_id] + state]


def central(window: tuple[int, ...]) -> int:
    """The phone a window is about."""
    return window[len(window) // 2]
