"""Each worker reads unique data: over the ids seen, whatever the number of workers and when it changes."""

from collections import Counter

import pytest

from pyasr.train.plan import BatchPlan
from pyasr.train.share import remaining, share


def plans():
    """Twelve batches of 3 transcribed cuts and seven of 5 untranscribed ones, interleaved."""
    transcribed = [BatchPlan("transcribed", 0, tuple(range(3 * i, 3 * i + 3))) for i in range(12)]
    untranscribed = [BatchPlan("untranscribed", 0, tuple(range(5 * i, 5 * i + 5))) for i in range(7)]
    return [p for i in range(12) for p in (transcribed[i : i + 1] + untranscribed[i : i + 1])]


def seen(batches):
    return Counter((plan.source, cut) for plan in batches for cut in plan.cuts)


def flat(groups):
    return [plan for group in groups for plan in group]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 8])
def test_every_cut_goes_to_one_worker_once(workers):
    groups, left_out = share(plans(), workers)
    assert not left_out and seen(flat(groups)) == seen(plans())
    assert all(len(group) == workers and len({plan.source for plan in group}) == 1 for group in groups)


def test_one_worker_takes_the_plan_as_it_is():
    assert flat(share(plans(), 1)[0]) == plans()


def test_too_few_utterances_for_all_are_left_out():
    few = [BatchPlan("transcribed", 0, (0, 1)), BatchPlan("transcribed", 0, (2,))]
    assert share(few, 4) == ([], few)
    groups, left_out = share(few, 3)
    assert [plan.cuts for plan in groups[0]] == [(0,), (1,), (2,)] and not left_out


@pytest.mark.parametrize("numbers", [[(4, 2), (3, 3)], [(8, 1), (1, 7), (5, 1)]])
def test_nothing_is_read_twice_or_missed_when_the_number_of_workers_changes(numbers):
    taken, done = [], []
    for workers, count in numbers:
        groups, _ = share(remaining(plans(), done), workers)
        taken += flat(groups[:count])
        done.append((workers, count))
    assert seen(taken + remaining(plans(), done)) == seen(plans())
    assert max(seen(taken).values()) == 1
