import pytest

from pyasr.decode.part import Scales
from pyasr.train.dev_wer import neighbours


@pytest.mark.parametrize(
    ("chosen", "expected"), [(2.0, [1.5, 2.0, 3.0]), (1.0, [1.0, 1.5]), (3.0, [2.0, 3.0]), (2.5, [2.0, 2.5, 3.0])]
)
def test_the_weights_beside_the_chosen_one(chosen, expected):
    assert neighbours(Scales(chosen, 0.5), (3.0, 1.0, 2.0, 1.5)) == [Scales(weight, 0.5) for weight in expected]


def test_one_weight_is_enough():
    assert neighbours(Scales(2.0), (2.0,)) == [Scales(2.0)]
