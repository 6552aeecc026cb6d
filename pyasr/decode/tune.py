"""The choice of LM weight and word penalty, on the development part alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pyasr.base.artifact import read_json, write_json
from pyasr.base.errors import DataError
from pyasr.decode.options import DecodeOptions
from pyasr.decode.part import Outcome, Scales, hypothesis_row
from pyasr.decode.score import Counts, score_rows, total, wer
from pyasr.lang.words import WordTable


@dataclass(frozen=True)
class Tuning:
    """chosen: the scales for the test part. grid: the counts on dev at all scales, in the order tried."""

    chosen: Scales
    grid: dict[Scales, Counts]

    @property
    def dev_wer(self) -> float:
        """Word error rate on dev at the chosen scales, per cent."""
        return wer(self.grid[self.chosen])

    @property
    def at_edge(self) -> bool:
        """Whether the chosen LM weight is the smallest or largest tried: a wider grid may then be better."""
        weights = sorted({scales.lm_weight for scales in self.grid})
        return len(weights) > 2 and self.chosen.lm_weight in (weights[0], weights[-1])

    def save(self, path: str | Path) -> None:
        """Write tuning.json."""
        rows = [{**asdict(scales), "wer": round(wer(counts), 4), **counts} for scales, counts in self.grid.items()]
        write_json(path, {**asdict(self.chosen), "dev_wer": self.dev_wer, "at_edge": self.at_edge, "grid": rows})


def load_scales(path: str | Path) -> Scales:
    """The chosen scales of a tuning.json; DataError names the file when it is missing or damaged."""
    values = read_json(path)
    try:
        scales = Scales(float(values["lm_weight"]), float(values["word_penalty"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a tuning file ({error!r}); run the stage that writes it") from error
    if not scales.lm_weight > 0:
        raise DataError(f"{path}: lm_weight {scales.lm_weight} is not above 0; run the stage that writes it")
    return scales


def scales_grid(options: DecodeOptions) -> list[Scales]:
    """All pairs of options.lm_weights and options.word_penalties."""
    return [Scales(weight, penalty) for penalty in options.word_penalties for weight in options.lm_weights]


def middle_scales(options: DecodeOptions) -> Scales:
    """The (lower) middle LM weight with the penalty nearest to none: for passes whose words are not the result."""
    return Scales(_lower_middle(options.lm_weights), min(options.word_penalties, key=abs))


def choose(
    decoded: Mapping[Scales, Mapping[str, Outcome]], references: Mapping[str, tuple[str, str]], words: WordTable
) -> Tuning:
    """The scales with the fewest word errors on dev, or what cannot be told from them (see `best_scales`).

    decoded: of `decode_cuts`. references: {cut_id: (speaker, text)} of dev.
    """
    grid = {}
    for scales, outcomes in decoded.items():
        rows = [hypothesis_row(cut_id, outcome, words) for cut_id, outcome in outcomes.items()]
        grid[scales] = total(score_rows(references, rows))
    return Tuning(best_scales({scales: c["sub"] + c["del"] + c["ins"] for scales, c in grid.items()}), grid)


def best_scales(errors: Mapping[Scales, int]) -> Scales:
    """The middle of the plateau: scales whose errors are within one standard error of the fewest.

    A small dev part has a wide, flat minimum, and its lowest point is chance. The standard error of a count
    is its square root (the one-standard-error rule of Breiman et al. 1984). On the plateau the penalty nearest
    to none is taken, then the (lower) middle of its LM weights, far from both ends.
    """
    fewest = min(errors.values())
    tied = [scales for scales, count in errors.items() if count <= fewest + math.sqrt(fewest)]
    penalty = min((scales.word_penalty for scales in tied), key=lambda value: (abs(value), value))
    return Scales(_lower_middle([s.lm_weight for s in tied if s.word_penalty == penalty]), penalty)


def _lower_middle(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]
