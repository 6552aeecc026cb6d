"""Skipped items: counted, listed with their reasons, and bounded by a limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pyasr.base.errors import DataError


@dataclass
class Skips:
    """What a stage left out.

    what: what is being left out, in the plural, for messages ("utterances").
    limit: the largest fraction of all items that may be skipped before the stage fails.
    """

    what: str = "utterances"
    limit: float = 0.05
    rows: list[dict[str, str]] = field(default_factory=list)

    def add(self, item_id: str, reason: str) -> None:
        self.rows.append({"id": item_id, "reason": reason})

    def extend(self, rows: Iterable[dict[str, str]]) -> None:
        """Take over rows that a job collected in another process."""
        self.rows.extend(rows)

    @property
    def count(self) -> int:
        return len(self.rows)

    def by_reason(self) -> dict[str, int]:
        """Counts by reason, most frequent first; the part of a reason after ':' is detail and not counted apart."""
        return dict(Counter(row["reason"].split(":")[0] for row in self.rows).most_common())

    def check(self, total: int) -> None:
        """DataError when more than `limit` of `total` items were skipped, naming the first five."""
        if self.count > self.limit * total:
            shown = "; ".join(f"{row['id']} ({row['reason']})" for row in self.rows[:5])
            raise DataError(
                f"{self.count} of {total} {self.what} skipped, more than the limit of {100 * self.limit:g} %: {shown}"
                + ("; ..." if self.count > 5 else "")
            )
