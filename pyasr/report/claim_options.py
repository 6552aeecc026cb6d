"""How a claim is declared: what is said, and which systems of which settings are compared to see whether it holds.

    [[claim]]                                  # in an experiment file
    name = "a"
    title = "The student makes fewer errors than the supervised model"
    article = "10 to 22 % fewer, more of them in noise"
    tried = "what was changed, and what came of it"        # where it fails
    x_label = "transcribed speakers"           # draws WER over the x of the comparisons

    [[claim.comparison]]
    label = "15 speakers"
    base = "supervised@tx15"                   # SYSTEM@SETTING
    system = "student@tx15"
    published = [10.0, 22.0]
    x = 15
    also = { dev_loss = { expect = "not_worse", margin = 1.0 } }   # the same sides by a measure of measures.csv
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from pyasr.base.config import Options
from pyasr.report.claim_measures import UNITS
from pyasr.report.comparison import ALL, NOISY, Side
from pyasr.report.measures_table import MEASURES

_SAME = ("base", "system", "x", "x_tick", "series", "base_series")
"""What the comparisons of `also` have from the one that asks for them."""

SideName = Annotated[str, pydantic.Field(pattern=r"^[a-z_]+@[A-Za-z0-9][A-Za-z0-9_.+-]*$")]


class ComparisonOptions(Options):
    """A paired comparison of `system` with `base`, each SYSTEM@SETTING.

    measure: what is computed: from word errors, see `pyasr.report.claim_measures`; or what is compared, one of
    `pyasr.report.measures_table.MEASURES`, in per cent of the base's. reference: the third side of `more_reduction`.
    expect: what makes it hold, with 95 % certainty, or of measures in every run: "better": above zero; "not_worse":
    above -margin; "not_better": below margin; "shown": nothing is claimed. conditions, of word errors: names, and
    "noisy" or "all" for those of the names pooled; the last one decides. published: one figure or [low, high], in the
    measure's unit.
    x: where a figure over x shows both sides, and x_tick, if it is not called by its number. series, base_series: names
    of the lines of system and base; none: those of the systems.
    also: {measure: keys} of further comparisons of the same sides, which are shown unless they expect something.
    gap: why there is nothing to compare yet; then there are no sides.
    """

    label: str
    base: SideName | None = None
    system: SideName | None = None
    reference: SideName | None = None
    measure: Literal[(*UNITS, *MEASURES)] = "reduction"
    expect: Literal["better", "not_worse", "not_better", "shown"] = "better"
    margin: float = pydantic.Field(0.0, ge=0, description="in the measure's unit")
    conditions: tuple[str, ...] = pydantic.Field(("clean", "snr20", "snr10", "snr5", ALL), min_length=1)
    published: tuple[float, ...] = pydantic.Field((), max_length=2)
    x: float | None = None
    x_tick: str = ""
    series: str = ""
    base_series: str = ""
    also: dict[Literal[tuple(MEASURES)], dict[str, Any]] = pydantic.Field(default_factory=dict)
    gap: str = ""

    @pydantic.model_validator(mode="after")
    def _check(self) -> ComparisonOptions:
        if bool(self.gap) == bool(self.sides) or (self.base is None) != (self.system is None):
            raise ValueError(f"{self.label}: either base and system, or a gap, which says why there are none")
        if (self.measure == "more_reduction") != (self.reference is not None):
            raise ValueError(f"{self.label}: reference is the third side of measure = 'more_reduction'")
        if not self.singles:
            raise ValueError(f"{self.label}: conditions: name those that {' and '.join(self.conditions)} stand for")
        return self

    @property
    def singles(self) -> tuple[str, ...]:
        """The conditions that are not pooled ones."""
        return tuple(name for name in self.conditions if name not in (NOISY, ALL))

    def members(self, condition: str) -> tuple[str, ...]:
        """The conditions that a name stands for."""
        if condition not in (NOISY, ALL):
            return (condition,)
        return tuple(name for name in self.singles if condition == ALL or name != "clean")

    @property
    def sides(self) -> tuple[Side, ...]:
        """(system, setting) of reference, base and system, those that there are."""
        named = [name for name in (self.reference, self.base, self.system) if name]
        return tuple((system, setting) for system, _, setting in (name.partition("@") for name in named))

    @property
    def unit(self) -> str:
        return UNITS.get(self.measure, "%")


class ClaimOptions(Options):
    """One claim. article: what the article says. note: how it is tested here, and what differs from the article.

    each: keys that count for all of its comparisons which do not have them.
    """

    name: str = pydantic.Field(pattern=r"^[a-z0-9]+$")
    title: str
    article: str
    note: str = ""
    tried: str = ""
    x_label: str = ""
    x_log: bool = False
    each: dict[str, Any] = pydantic.Field(default_factory=dict)
    comparison: tuple[ComparisonOptions, ...] = pydantic.Field(min_length=1)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        each, own = values.get("each", {}), values.get("comparison")
        if not isinstance(each, dict) or not isinstance(own, list) or not all(isinstance(one, dict) for one in own):
            return values
        filled = [one if "gap" in one else {**each, **one} for one in own]
        filled += _further(filled)
        # What a validator returns is not JSON any more, where a list may stand for a tuple.
        as_tuples = [{key: tuple(x) if isinstance(x, list) else x for key, x in one.items()} for one in filled]
        return {**values, "comparison": tuple(as_tuples)}


def _further(comparisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `also` asks for, a measure after the other; of what is not well formed nothing: that is found elsewhere."""
    asked: dict[str, list[dict[str, Any]]] = {}
    for one in comparisons:
        also = one.get("also")
        for name, keys in also.items() if isinstance(also, dict) else ():
            if name in MEASURES and isinstance(keys, dict):
                same = {key: one[key] for key in _SAME if key in one}
                label = f"{one.get('label', '')}: {MEASURES[name].short}"
                asked.setdefault(name, []).append({"label": label, "expect": "shown", **same, **keys, "measure": name})
    return [further for of_measure in asked.values() for further in of_measure]
