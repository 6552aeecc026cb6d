"""Each worker reads unique data: over the ids seen, whatever the number of workers and when it changes."""

from collections import Counter

import pytest

from pyasr.train.plan import BatchPlan, Planned
from pyasr.train.share import Groups


def planned(done=()):
    """Twelve batches of 3 transcribed cuts and seven of 5 untranscribed ones, interleaved, without some."""
    made = []
    for source, count, cuts in (("transcribed", 12, 3), ("untranscribed", 7, 5)):
        for i in range(dict(done).get(source, 0), count):
            plan = BatchPlan(source, 0, tuple(range(cuts * i, cuts * i + cuts)))
            made.append(Planned(plan, (0, i + 1), (i + 0.5) / count))
    return sorted(made, key=lambda each: each.at)


def plans():
    return [each.plan for each in planned()]


def seen(batches):
    return Counter((plan.source, cut) for plan in batches for cut in plan.cuts)


def flat(groups):
    return [plan for group in groups for plan in group.plans]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 8])
def test_every_cut_goes_to_one_worker_once(workers):
    made = Groups(planned(), workers)
    groups = list(made)
    assert made.left_out == 0 and seen(flat(groups)) == seen(plans())
    assert all(len(group.plans) == workers and len({p.source for p in group.plans}) == 1 for group in groups)


def test_one_worker_takes_the_plan_as_it_is():
    assert flat(Groups(planned(), 1)) == plans()


def test_too_few_utterances_for_all_are_left_out():
    few = [
        Planned(BatchPlan("transcribed", 0, cuts), (0, i + 1), 0.5 * i) for i, cuts in enumerate([("a", "b"), ("c",)])
    ]
    made = Groups(few, 4)
    assert list(made) == [] and made.left_out == 3
    (group,) = Groups(few, 3)
    assert [plan.cuts for plan in group.plans] == [("a",), ("b",), ("c",)] and group.place == (0, 2)


@pytest.mark.parametrize("numbers", [[(4, 2), (3, 3)], [(8, 1), (1, 7), (5, 1)], [(3, 7), (2, 1)], [(2, 99)]])
def test_nothing_is_read_twice_or_missed_when_the_number_of_workers_changes(numbers):
    taken, done = [], {}
    for workers, count in numbers:
        groups = list(Groups(planned(done), workers))[:count]
        taken += flat(groups)
        done.update({group.source: group.place[1] for group in groups})
    rest = [each.plan for each in planned(done)]
    assert seen(taken + rest) == seen(plans())
    assert max(seen(taken).values()) == 1


@pytest.mark.parametrize("workers", [1, 3, 4])
def test_who_begins_in_the_middle_has_the_same_groups(workers):
    whole, done = list(Groups(planned(), workers)), {}
    for number, group in enumerate(whole):
        assert list(Groups(planned(done), workers)) == whole[number:]
        done[group.source] = group.place[1]
