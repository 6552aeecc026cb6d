"""Deterministic choices of whole speakers.

Orders come from SHA-256 of the speaker's name, so they depend on no seed, no platform and no order of files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


def hashed_order(names: Iterable[str], *key: str | int) -> list[str]:
    """The names in an order fixed by `key` alone."""
    prefix = "".join(f"{part}\x1f" for part in key)
    return sorted(names, key=lambda name: (hashlib.sha256((prefix + name).encode()).hexdigest(), name))


def speakers_summing_to(utterances: Mapping[str, int], target: int, *key: str | int) -> list[str]:
    """Speakers whose utterances sum to `target` exactly, or as near to it as any set of speakers comes.

    Of all such sets, the first one in the hashed order of speakers (by subset sums: no search explodes).
    """
    order = hashed_order(utterances, *key)
    reachable = [{0}]  # reachable[i]: sums that the last i speakers of the order can make
    for name in reversed(order):
        reachable.append(reachable[-1] | {total + utterances[name] for total in reachable[-1]})
    rest = min(reachable[-1], key=lambda total: (abs(total - target), total))
    chosen = []
    for position, name in enumerate(order):
        after = reachable[len(order) - position - 1]
        if utterances[name] <= rest and rest - utterances[name] in after:
            chosen.append(name)
            rest -= utterances[name]
    return sorted(chosen)


def balanced_order(names: Iterable[str], group: Callable[[str], str], *key: str | int) -> list[str]:
    """A hashed order in which every prefix holds the groups in nearly their overall proportions."""
    groups: dict[str, list[str]] = {}
    for name in hashed_order(names, *key):
        groups.setdefault(group(name), []).append(name)
    placed = [
        ((index + 0.5) / len(members), label, name)
        for label, members in sorted(groups.items())
        for index, name in enumerate(members)
    ]
    return [name for _, _, name in sorted(placed)]


def nested_share(seconds: Mapping[str, float], share: float, *key: str | int) -> set[str]:
    """The first names of a hashed order that have `share` of all seconds together, or the least more; at least one.

    A smaller share is part of a larger one.
    """
    wanted, chosen, total = share * sum(seconds.values()), set(), 0.0
    for name in hashed_order(seconds, *key):
        if chosen and total >= wanted:
            break
        chosen.add(name)
        total += seconds[name]
    return chosen


@dataclass(frozen=True)
class Fold:
    """Speakers of one rotation fold; the four lists are disjoint and cover all speakers."""

    test: list[str]
    dev: list[str]
    transcribed: list[str]
    untranscribed: list[str]


def rotation_fold(
    strata: Mapping[str, str],
    fold: int,
    num_folds: int,
    num_dev: int,
    num_transcribed: int,
    group: Callable[[str], str],
) -> Fold:
    """Fold `fold` of a rotation in which every speaker is a test speaker exactly once.

    strata: speaker -> stratum; the test sets hold every stratum in nearly equal numbers. Within a fold, dev
    and transcribed speakers come from one fixed order balanced over `group`: dev first, so that a larger
    `num_transcribed` only adds speakers.
    """
    dealt = sorted(hashed_order(strata, "test"), key=lambda speaker: strata[speaker])
    test = dealt[fold::num_folds]
    rest = balanced_order([speaker for speaker in dealt if speaker not in set(test)], group, "fold", fold)
    end = num_dev + num_transcribed
    return Fold(sorted(test), sorted(rest[:num_dev]), sorted(rest[num_dev:end]), sorted(rest[end:]))


