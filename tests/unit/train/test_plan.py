from collections import Counter

import pytest

from pyasr.train.options import PhaseOptions
from pyasr.train.plan import BatchPlan, batches_of_pass, sub_epoch

DURATIONS_S = [1.0 + 0.37 * (i % 11) for i in range(200)]


def test_a_pass_has_every_cut_once_in_batches_of_the_size_asked():
    batches = batches_of_pass(DURATIONS_S, 20.0, 1, "transcribed", 3)
    assert sorted(index for batch in batches for index in batch.cuts) == list(range(200))
    assert all(batch.source == "transcribed" and batch.epoch == 3 for batch in batches)
    assert all(max(DURATIONS_S[i] for i in b.cuts) * len(b.cuts) <= 20.0 for b in batches)
    padded = sum(max(DURATIONS_S[i] for i in batch.cuts) * len(batch.cuts) for batch in batches)
    assert padded < 1.25 * sum(DURATIONS_S)


def test_a_cut_longer_than_a_batch_is_a_batch():
    assert sorted(b.cuts for b in batches_of_pass([50.0, 1.0], 20.0, 1, "x", 0)) == [(0,), (1,)]


def test_order_depends_on_seed_source_and_pass_alone():
    make = lambda *key: batches_of_pass(DURATIONS_S, 20.0, *key)  # noqa: E731
    assert make(1, "a", 0) == make(1, "a", 0)
    orders = [[b.cuts for b in make(*key)] for key in ((1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1))]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])


def _passes(sizes):
    return {
        name: lambda epoch, name=name, size=size: [BatchPlan(name, epoch, (i,)) for i in range(size)]
        for name, size in sizes.items()
    }


def test_sources_are_spread_evenly():
    phase = PhaseOptions(transcribed=1.0, untranscribed=1.0)
    plan = [b.source[0] for b in sub_epoch(0, phase, _passes({"transcribed": 3, "untranscribed": 9}))]
    assert "".join(plan) == "uutuuutuuutu" or "".join(plan) == "utuuutuuutuu"
    assert Counter(plan) == {"t": 3, "u": 9}


def test_blocks_stay_together():
    phase = PhaseOptions(transcribed=1.0, untranscribed=1.0, block_batches=4)
    plan = "".join(b.source[0] for b in sub_epoch(0, phase, _passes({"transcribed": 8, "untranscribed": 16})))
    assert plan == "uuuuttttuuuuuuuuttttuuuu"


def test_fractions_of_a_pass_go_on_where_the_last_ended():
    phase = PhaseOptions(transcribed=0.4, untranscribed=1.5)
    passes = _passes({"transcribed": 10, "untranscribed": 4})
    seen = [batch for number in range(5) for batch in sub_epoch(number, phase, passes)]
    transcribed = [b for b in seen if b.source == "transcribed"]
    assert transcribed == [b for epoch in (0, 1) for b in passes["transcribed"](epoch)]
    untranscribed = [b for b in seen if b.source == "untranscribed"]
    assert untranscribed == [b for epoch in range(8) for b in passes["untranscribed"](epoch)][:30]


def test_one_source_alone_is_the_segregated_regimen():
    passes = _passes({"transcribed": 3, "untranscribed": 2})
    first = sub_epoch(0, PhaseOptions(transcribed=0.0, untranscribed=1.0), passes)
    second = sub_epoch(0, PhaseOptions(transcribed=1.0, untranscribed=0.0), passes)
    assert {b.source for b in first} == {"untranscribed"} and {b.source for b in second} == {"transcribed"}
    with pytest.raises(ValueError, match="a phase needs some"):
        PhaseOptions(transcribed=0.0)
