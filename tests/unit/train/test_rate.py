import pytest

from pyasr.train.options import OptimiserOptions
from pyasr.train.rate import PlateauRate

OPTIONS = OptimiserOptions(lr=1.0, warmup_steps=4, decay=0.5, patience=2, max_decays=1, min_improvement=0.01)


def test_warm_up():
    rate = PlateauRate(OPTIONS)
    seen = []
    for _ in range(6):
        seen.append(rate.lr)
        rate.step += 1
    assert seen == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert PlateauRate(OPTIONS.model_copy(update={"warmup_steps": 0})).lr == 1.0


def test_it_decays_when_dev_stops_falling_and_ends_when_that_does_not_help():
    rate = PlateauRate(OPTIONS, step=100)
    told = [(rate.observe(loss), rate.lr) for loss in (2.0, 1.0, 0.995, 1.1, 0.9, 0.95, 0.95)]
    # 0.995 is less than 1 % better; the second sub-epoch without improvement halves the rate; then the end.
    assert told == [
        (False, 1.0), (False, 1.0), (False, 1.0), (False, 0.5), (False, 0.5), (False, 0.5), (True, 0.5)
    ]  # fmt: skip


def test_a_loss_that_is_not_finite_is_no_improvement():
    rate = PlateauRate(OPTIONS, step=100)
    assert [rate.observe(float("nan")) for _ in range(4)] == [False, False, False, True]


@pytest.mark.parametrize("seen", range(7))
def test_a_state_goes_on_as_if_nothing_had_been(seen):
    losses = (2.0, 1.0, 0.995, 1.1, 0.9, 0.95, 0.95)
    rate = PlateauRate(OPTIONS, step=3)
    for loss in losses[:seen]:
        rate.observe(loss)
    again = PlateauRate.from_state(OPTIONS, rate.state())
    assert [(again.observe(x), again.lr) for x in losses[seen:]] == [(rate.observe(x), rate.lr) for x in losses[seen:]]
