"""The phone inventory and its ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pyasr.base.artifact import read_json, write_json
from pyasr.base.errors import DataError

SILENCE = "SIL"
EPSILON_ID = 0


@dataclass(frozen=True)
class PhoneTable:
    """Phones in the order of their ids: 1..P; 0 is epsilon; disambiguation symbols follow from P + 1."""

    names: tuple[str, ...]

    @classmethod
    def from_pronunciations(cls, pronunciations: Iterable[tuple[str, ...]]) -> PhoneTable:
        """Silence first, then all phones in alphabetical order."""
        found = {phone for phones in pronunciations for phone in phones}
        return cls((SILENCE, *sorted(found - {SILENCE})))

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

    def disambiguation_id(self, index: int) -> int:
        """Id of the symbol #index; #0 marks the back-off arcs of the grammar."""
        return self.num_phones + 1 + index

    def save(self, path: str | Path) -> None:
        write_json(path, list(self.names))

    @classmethod
    def load(cls, path: str | Path) -> PhoneTable:
        names = read_json(path)
        if not isinstance(names, list) or SILENCE not in names or len(set(names)) != len(names):
            raise DataError(f"{path}: not a phone table (a list of distinct names with {SILENCE})")
        return cls(tuple(names))
