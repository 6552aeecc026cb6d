"""Bootstrap over speakers.

The utterances of a speaker are not independent: one who is hard to recognise is so everywhere. Whole speakers
are therefore drawn with replacement, as many as there are, and the rate is formed from the sums over the drawn
speakers (Bisani and Ney 2004, with the speaker as the unit). With few speakers, ten say, the percentile interval
is somewhat too narrow: its true coverage is nearer 90 than 95 per cent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pyasr.base.seeds import rng

REPLICATES = 10_000
_VALUES_AT_ONCE = 4_000_000


def resampled_sums(values: np.ndarray, seed: int, replicates: int = REPLICATES) -> np.ndarray:
    """Sums of `values` over units drawn with replacement.

    values: (U, C) one row a unit (a speaker), one column a quantity. Returns float64 (replicates, C). The draws
    depend on (seed, U, replicates) alone, so systems scored on the same speakers share them.
    """
    values = np.asarray(values, dtype=np.float64)
    num_units = len(values)
    generator = rng(seed, "bootstrap-over-speakers")
    chances = np.full(num_units, 1.0 / num_units)
    # How often each unit is drawn is all that matters: the sums are then one matrix product.
    block = max(1, _VALUES_AT_ONCE // num_units)
    sizes = [min(block, replicates - begin) for begin in range(0, replicates, block)]
    return np.concatenate([generator.multinomial(num_units, chances, size=size) @ values for size in sizes])


def interval95(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int, replicates: int = REPLICATES
) -> tuple[float, float]:
    """2.5 and 97.5 percentiles of `statistic` over bootstrap replicates.

    values: (U, C) per unit; statistic: (replicates, C) sums -> (replicates,). Replicates in which the statistic is
    undefined (NaN) are left out. Percentiles are observed values (no interpolation), so infinite ones are possible.
    """
    drawn = statistic(resampled_sums(values, seed, replicates))
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)
