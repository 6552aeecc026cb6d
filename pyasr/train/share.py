"""Which worker gets which batch: every utterance of a pass goes to one worker, once.

The batches of a sub-epoch are the same for any number of workers. N workers take them N at a time; those taken together
are of one source, because the learning rate of a step depends on it. So what is done of a source is always the first so
many of its batches, whatever the number of workers was, and another number goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pyasr.train.plan import BatchPlan, Place, Planned


@dataclass(frozen=True)
class Group:
    """A batch for each worker, in their order. place: of the source, once they are done. at: of the sub-epoch."""

    plans: tuple[BatchPlan, ...]
    place: Place
    at: float

    @property
    def source(self) -> str:
        return self.plans[0].source


class Groups:
    """The groups of a sub-epoch. left_out: utterances that no worker got, known at the end.

    What is left of a source at the end is cut into smaller batches until it is enough for all. Only if it has fewer
    utterances than there are workers, it is left out: of each pass other utterances, as batches are drawn anew.
    """

    def __init__(self, planned: Iterable[Planned], workers: int) -> None:
        self._planned, self._workers = planned, workers
        self.left_out = 0

    def __iter__(self) -> Iterator[Group]:
        waiting: dict[str, list[Planned]] = {}
        for each in self._planned:
            rest = waiting.setdefault(each.plan.source, [])
            rest.append(each)
            if len(rest) == self._workers:
                yield _group([one.plan for one in rest], each)
                rest.clear()
        # By name: which of them came first is not known to who begins in the middle.
        for _, rest in sorted(waiting.items()):
            utterances = sum(len(each.plan.cuts) for each in rest)
            if utterances < self._workers:
                self.left_out += utterances
            else:
                yield _group(_cut([each.plan for each in rest], self._workers), rest[-1])


def _group(plans: Sequence[BatchPlan], last: Planned) -> Group:
    return Group(tuple(plans), last.place, last.at)


def _cut(plans: Sequence[BatchPlan], count: int) -> list[BatchPlan]:
    """As many batches as `count`: the one with the most utterances is halved until there are."""
    pieces = list(plans)
    while len(pieces) < count:
        place = max(range(len(pieces)), key=lambda i: len(pieces[i].cuts))
        plan = pieces[place]
        middle = (len(plan.cuts) + 1) // 2
        halves = [BatchPlan(plan.source, plan.epoch, cuts) for cuts in (plan.cuts[:middle], plan.cuts[middle:])]
        pieces[place : place + 1] = halves
    return pieces
