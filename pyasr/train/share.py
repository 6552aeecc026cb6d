"""Which worker gets which batch: every utterance of a pass goes to one worker, once.

The batches of a sub-epoch are the same list for any number of workers. N workers take them N at a time; those taken
together are of one source, because the learning rate of a step depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyasr.train.plan import BatchPlan

Group = tuple[BatchPlan, ...]


def share(plans: Sequence[BatchPlan], workers: int) -> tuple[list[Group], list[BatchPlan]]:
    """(groups of as many batches as there are workers, what is left out).

    What is left of a source at the end is cut into smaller batches until it is enough for all. Only if it has fewer
    utterances than there are workers, it is left out: of each pass other utterances, as batches are drawn anew.
    """
    groups: list[Group] = []
    waiting: dict[str, list[BatchPlan]] = {}
    for plan in plans:
        rest = waiting.setdefault(plan.source, [])
        rest.append(plan)
        if len(rest) == workers:
            groups.append(tuple(rest))
            rest.clear()
    left_out: list[BatchPlan] = []
    for rest in waiting.values():
        if sum(len(plan.cuts) for plan in rest) < workers:
            left_out += rest
        else:
            groups.append(_cut(rest, workers))
    return groups, left_out


def remaining(plans: Sequence[BatchPlan], done: Sequence[Sequence[int]]) -> list[BatchPlan]:
    """The batches of a sub-epoch that are still to come.

    done: (number of workers, groups that they have taken), for each number of workers that was at it, in order.
    """
    left = list(plans)
    for workers, taken in done:
        groups, left_out = share(left, workers)
        left = [plan for group in groups[taken:] for plan in group] + left_out
    return left


def _cut(plans: Sequence[BatchPlan], count: int) -> Group:
    """As many batches as `count`: the one with the most utterances is halved until there are."""
    pieces = list(plans)
    while len(pieces) < count:
        place = max(range(len(pieces)), key=lambda i: len(pieces[i].cuts))
        plan = pieces[place]
        middle = (len(plan.cuts) + 1) // 2
        halves = [BatchPlan(plan.source, plan.epoch, cuts) for cuts in (plan.cuts[:middle], plan.cuts[middle:])]
        pieces[place : place + 1] = halves
    return tuple(pieces)
