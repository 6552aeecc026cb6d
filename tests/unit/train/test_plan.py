from collections import Counter

import pytest

from pyasr.train.options import PhaseOptions
from pyasr.train.plan import BatchPlan, batches_of_pass, joined, stretches, sub_epoch

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


def _sources(sizes, windows=1):
    """Batches that are numbers; with windows each pass is cut into so many, planned apart."""

    def of(name, size):
        def batches_of(epoch, window):
            begin, end = (size * (window + edge) // windows for edge in (0, 1))
            return [BatchPlan(name, epoch, (i,)) for i in range(begin, end)]

        made = lambda begin, end, first=0: stretches(begin, end, windows, batches_of, first)  # noqa: E731
        return made if windows > 1 else lambda begin, end, first=0: joined(made(begin, end))

    return {name: of(name, size) for name, size in sizes.items()}


def _plans(number, phase, sources, start=None):
    return [planned.plan for planned in sub_epoch(number, phase, sources, start or {})]


def _passes_of(name, size, epochs):
    return [BatchPlan(name, epoch, (i,)) for epoch in range(epochs) for i in range(size)]


def test_sources_are_spread_evenly():
    phase = PhaseOptions(transcribed=1.0, untranscribed=1.0)
    plan = [b.source[0] for b in _plans(0, phase, _sources({"transcribed": 3, "untranscribed": 9}))]
    assert "".join(plan) == "uutuuutuuutu" or "".join(plan) == "utuuutuuutuu"
    assert Counter(plan) == {"t": 3, "u": 9}


def test_blocks_stay_together():
    phase = PhaseOptions(transcribed=1.0, untranscribed=1.0, block_batches=4)
    plan = "".join(b.source[0] for b in _plans(0, phase, _sources({"transcribed": 8, "untranscribed": 16})))
    assert plan == "uuuuttttuuuuuuuuttttuuuu"


@pytest.mark.parametrize("windows", [1, 2, 4])
def test_fractions_of_a_pass_go_on_where_the_last_ended(windows):
    phase = PhaseOptions(transcribed=0.4, untranscribed=1.5)
    sources = _sources({"transcribed": 10, "untranscribed": 4}, windows)
    seen = [batch for number in range(5) for batch in _plans(number, phase, sources)]
    assert [b for b in seen if b.source == "transcribed"] == _passes_of("transcribed", 10, 2)
    assert [b for b in seen if b.source == "untranscribed"] == _passes_of("untranscribed", 4, 8)[:30]


@pytest.mark.parametrize("windows", [1, 4])
@pytest.mark.parametrize("amounts", [(1.0, 1.0), (0.3, 1.7), (0.0, 2.0)])
def test_a_sub_epoch_goes_on_at_any_place(windows, amounts):
    phase = PhaseOptions(transcribed=amounts[0], untranscribed=amounts[1], block_batches=2)
    sources = _sources({"transcribed": 9, "untranscribed": 23}, windows)
    for number in range(3):
        whole, places = list(sub_epoch(number, phase, sources, {})), {}
        assert [planned.at for planned in whole] == sorted(planned.at for planned in whole)
        for done, planned in enumerate(whole):
            assert list(sub_epoch(number, phase, sources, places)) == whole[done:]
            places[planned.plan.source] = planned.place


def test_windows_are_planned_when_they_are_needed_and_never_before():
    asked = []

    def batches_of(epoch, window):
        asked.append((epoch, window))
        return [BatchPlan("untranscribed", epoch, (window, i)) for i in range(3)]

    def million(begin, end, first=0):
        return stretches(begin, end, 1_000_000, batches_of, first)

    phase = PhaseOptions(transcribed=0.0, untranscribed=0.01)
    batches = sub_epoch(150, phase, {"untranscribed": million}, {"untranscribed": (2_000, 2)})
    assert [next(batches).plan.cuts for _ in range(3)] == [(502_000, 2), (502_001, 0), (502_001, 1)]
    assert asked == [(1, 502_000), (1, 502_001)]


def test_one_source_alone_is_the_segregated_regimen():
    sources = _sources({"transcribed": 3, "untranscribed": 2})
    first = _plans(0, PhaseOptions(transcribed=0.0, untranscribed=1.0), sources)
    second = _plans(0, PhaseOptions(transcribed=1.0, untranscribed=0.0), sources)
    assert {b.source for b in first} == {"untranscribed"} and {b.source for b in second} == {"transcribed"}
    with pytest.raises(ValueError, match="a phase needs some"):
        PhaseOptions(transcribed=0.0)
