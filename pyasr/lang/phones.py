"""The phone inventory and its ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pyasr.base.artifact import read_json, write_json
from pyasr.base.errors import DataError

SILENCE = "SIL"
EPSILON_ID = 0
BEGIN, INSIDE, END, SINGLE = WORD_POSITIONS = ("_B", "_I", "_E", "_S")
"""Where in a word a phone stands: at its begin, inside, at its end, or alone."""


def mark_positions(pronunciation: tuple[str, ...]) -> tuple[str, ...]:
    """("K", "AE", "T") -> ("K_B", "AE_I", "T_E"); one phone alone becomes ("AY_S",). Silence keeps its name."""
    inner = [INSIDE] * (len(pronunciation) - 2)
    places = [BEGIN, *inner, END] if len(pronunciation) > 1 else [SINGLE]
    return tuple(phone if phone == SILENCE else phone + place for phone, place in zip(pronunciation, places))


@dataclass(frozen=True)
class PhoneTable:
    """Phones in the order of their ids: 1..P; 0 is epsilon; disambiguation symbols follow from P + 1.

    With `word_positions` a name ends in one of WORD_POSITIONS, and phones that differ in nothing else have
    the same base: monophones share their pdfs, triphones the roots of their trees.
    """

    names: tuple[str, ...]
    word_positions: bool = False

    @classmethod
    def from_pronunciations(
        cls, pronunciations: Iterable[tuple[str, ...]], word_positions: bool = False
    ) -> PhoneTable:
        """Silence first, then all phones in alphabetical order."""
        found = {phone for phones in pronunciations for phone in phones}
        return cls((SILENCE, *sorted(found - {SILENCE})), word_positions)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names, 1)}

    @property
    def num_phones(self) -> int:
        return len(self.names)

    @property
    def ids(self) -> range:
        return range(1, self.num_phones + 1)

    @property
    def silence_id(self) -> int:
        return self._ids[SILENCE]

    def id(self, name: str) -> int:
        """Id of a phone; DataError when there is no such phone."""
        try:
            return self._ids[name]
        except KeyError:
            raise DataError(f"phone {name!r} is not in the phone table ({', '.join(self.names)})") from None

    def name(self, phone_id: int) -> str:
        return self.names[phone_id - 1]

    def base(self, phone_id: int) -> str:
        """The name of a phone without its position in the word."""
        name = self.name(phone_id)
        return name[:-2] if self.position(phone_id) else name

    def position(self, phone_id: int) -> str:
        """One of WORD_POSITIONS; "" for silence and where positions are not told apart."""
        name = self.name(phone_id)
        return name[-2:] if self.word_positions and name != SILENCE else ""

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The ids of the phones of each base, in the order of the first of them."""
        groups: dict[str, list[int]] = {}
        for phone_id in self.ids:
            groups.setdefault(self.base(phone_id), []).append(phone_id)
        return tuple(map(tuple, groups.values()))

    def disambiguation_id(self, index: int) -> int:
        """Id of the symbol #index; #0 marks the back-off arcs of the grammar."""
        return self.num_phones + 1 + index

    def save(self, path: str | Path) -> None:
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> PhoneTable:
        try:
            return cls.from_dict(read_json(path))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not a phone table ({error})") from error

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"names": list(self.names), "word_positions": self.word_positions}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PhoneTable:
        """The inverse of `to_dict`; KeyError, TypeError or ValueError for what is no phone table."""
        table = cls(tuple(values["names"]), bool(values["word_positions"]))
        if SILENCE not in table.names or len(set(table.names)) != len(table.names):
            raise ValueError(f"names must be distinct and hold {SILENCE}")
        if table.word_positions and not all(n == SILENCE or n[-2:] in WORD_POSITIONS for n in table.names):
            raise ValueError(f"names must end in one of {', '.join(WORD_POSITIONS)}")
        return table
