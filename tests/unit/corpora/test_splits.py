"""Choices of speakers: exact sums, balance, nesting, independence of input order."""

import random

from pyasr.corpora.splits import balanced_order, hashed_order, nested_share, rotation_fold, speakers_summing_to


def test_speakers_sum_exactly_where_they_can():
    counts = {f"s{index}": 13 for index in range(60)} | {"nine": 9, "other": 9, "twelve": 12}
    chosen = speakers_summing_to(counts, 100, "key")
    assert sum(counts[name] for name in chosen) == 100


def test_speakers_sum_as_near_as_they_can():
    assert sum({"a": 7, "b": 7}[name] for name in speakers_summing_to({"a": 7, "b": 7}, 10, "key")) == 7


def test_speakers_do_not_depend_on_the_order_of_the_input():
    names = [f"s{index}" for index in range(40)]
    counts = {name: 5 + index % 7 for index, name in enumerate(names)}
    shuffled = dict(random.Random(0).sample(sorted(counts.items()), len(counts)))
    assert speakers_summing_to(counts, 60, "key") == speakers_summing_to(shuffled, 60, "key")
    assert hashed_order(counts, "key") == hashed_order(shuffled, "key")
    assert hashed_order(counts, "key") != hashed_order(counts, "other key")


def test_shares_nest_and_hold_what_they_should():
    seconds = {f"cut{index}": 1.0 + index % 4 for index in range(200)}
    quarter, half, every = (nested_share(seconds, share, "key") for share in (0.25, 0.5, 1.0))
    assert quarter < half < every == set(seconds)
    for chosen, share in ((quarter, 0.25), (half, 0.5)):
        assert 0 <= sum(seconds[name] for name in chosen) - share * sum(seconds.values()) < 4.0
    assert len(nested_share(seconds, 1e-6, "key")) == 1 and nested_share({}, 0.5) == set()


def test_every_prefix_of_a_balanced_order_is_balanced():
    names = [f"f{index}" for index in range(10)] + [f"m{index}" for index in range(30)]
    order = balanced_order(names, lambda name: name[0], "key")
    assert sorted(order) == sorted(names)
    for length in range(1, 41):
        assert abs(sum(name[0] == "f" for name in order[:length]) - length / 4) <= 1


def test_a_rotation_tests_everybody_once_and_nests():
    strata = {f"{sex}{index}": f"{sex} {index % 2}" for sex in "fm" for index in range(21)}
    tested = []
    for fold in range(7):
        folds = {n: rotation_fold(strata, fold, 7, 4, n, lambda name: name[0]) for n in (3, 6, 12)}
        for one in folds.values():
            parts = [*one.test, *one.dev, *one.transcribed, *one.untranscribed]
            assert sorted(parts) == sorted(strata)
            assert one.test == folds[3].test and one.dev == folds[3].dev
        assert set(folds[3].transcribed) < set(folds[6].transcribed) < set(folds[12].transcribed)
        assert sum(name[0] == "f" for name in folds[3].test) == 3
        tested += folds[3].test
    assert sorted(tested) == sorted(strata)
