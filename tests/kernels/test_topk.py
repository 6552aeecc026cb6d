"""pack_topk and unpack_topk against their twins, against exact posteriors, and on bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyasr.base.seeds import rng
from pyasr.ops import pack_topk, reference, unpack_topk
from pyasr.ops.topk import packed_row_bytes

SHAPES = [(0, 5, 3), (1, 1, 1), (1, 2, 2), (7, 20, 20), (97, 21, 20), (5, 64, 64), (33, 320, 20), (3, 4097, 7)]
# Half a code: of the tail's log odds, and of a gap (relative to 0.5 + gap).
TAIL_ERROR, GAP_ERROR = 26.0 / 255.0 / 2, math.expm1(0.01723302) / 2


def logits(rows, senones, spread, seed=0):
    """Rows as networks make them: the larger `spread`, the more peaked."""
    return torch.from_numpy(rng(seed, rows, senones).standard_normal((rows, senones)).astype(np.float32) * spread)


@pytest.mark.parametrize("rows, senones, k", SHAPES)
@pytest.mark.parametrize("spread", [0.0, 1.0, 6.0, 300.0])
def test_bytes_are_those_of_the_twin(rows, senones, k, spread):
    x = logits(rows, senones, spread)
    packed = pack_topk(x, k)
    assert packed.shape == (rows, packed_row_bytes(k, senones)) and packed.dtype == torch.uint8
    torch.testing.assert_close(packed, reference.pack_topk(x, k), rtol=0, atol=0)
    ids, logp = unpack_topk(packed, k, senones)
    twin_ids, twin_logp = reference.unpack_topk(packed, k, senones)
    assert ids.dtype == torch.int32 and torch.equal(ids, twin_ids)
    torch.testing.assert_close(logp, twin_logp, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("senones", [320, 3183, 60000])
@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0, 5.0, 20.0])
def test_error_budget_against_exact_posteriors(senones, spread):
    """Half a code for the tail, half a code for each distance from the largest; and what that is in divergence."""
    k, x = 20, logits(50, senones, spread, seed=1)
    exact = torch.log_softmax(x.double(), dim=1)
    ids, logp = unpack_topk(pack_topk(x, k), k, senones)
    best = exact.gather(1, ids.long())
    assert torch.equal(ids.long(), exact.argsort(dim=1, descending=True, stable=True)[:, :k])
    assert (logp[:, 1:] <= logp[:, :-1]).all()
    assert (logp.double().exp().sum(dim=1) < 1).all()

    def log_odds(lp):
        tail = -torch.expm1(lp.double().logsumexp(dim=1))
        return tail.log() - torch.log1p(-tail)

    within = log_odds(best) > -14.0  # smaller tails are stored as this
    difference = (log_odds(logp) - log_odds(best)).abs()[within]
    assert len(difference) == 0 or difference.max() < TAIL_ERROR + 1e-2
    distance, stored = best[:, :1] - best, (logp[:, :1] - logp).double()
    gaps = torch.diff(distance, dim=1, prepend=torch.zeros(len(x), 1))
    half_codes = (GAP_ERROR * (0.6 + gaps)).cummax(dim=1).values  # errors do not add up, but an overshoot may stay
    assert ((stored - distance).abs() <= half_codes + 1e-4)[distance < 39].all()
    tail, stored_tail = (1 - best.exp().sum(1)).clamp_min(0), 1 - logp.double().exp().sum(1)
    divergence = (best.exp() * (best - logp)).sum(1) + torch.xlogy(tail, tail / stored_tail)
    assert divergence.max() < 1e-3


@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_whatever_is_packed_sums_below_one_and_descends(rows, senones, k, seed):
    k = min(k, senones)
    draws = rng(seed, "property")
    x = torch.from_numpy((draws.standard_normal((rows, senones)) * 10 ** draws.uniform(-3, 4)).astype(np.float32))
    x[draws.random((rows, senones)) < 0.2] = -math.inf
    x[:, 0] = 0.0
    ids, logp = unpack_topk(pack_topk(x, k), k, senones)
    assert (logp.double().exp().sum(dim=1) < 1).all() and (logp[:, 1:] <= logp[:, :-1]).all()
    assert torch.isfinite(logp).all() and all(len(set(row)) == k for row in ids.tolist())


@given(st.binary(min_size=50, max_size=50))
@settings(max_examples=100, deadline=None)
def test_whatever_is_unpacked_is_a_distribution_or_an_error(content):
    packed = torch.tensor(list(content), dtype=torch.uint8)[None]
    try:
        ids, logp = unpack_topk(packed, 20, 3183)
    except ValueError as error:
        assert "not below 3183" in str(error)
        return
    assert (ids < 3183).all() and (logp.double().exp().sum(dim=1) < 1).all() and torch.isfinite(logp).all()


def test_ties_go_to_the_lower_id():
    ids, _ = unpack_topk(pack_topk(torch.tensor([[1.0, 3.0, 3.0, 0.0, 3.0, 1.0]]), 4), 4, 6)
    assert ids.tolist() == [[1, 2, 4, 0]]


def test_bfloat16_is_read_as_it_is():
    x = logits(9, 300, 3.0).bfloat16()
    assert torch.equal(pack_topk(x, 20), pack_topk(x.float(), 20))


def test_threads_change_nothing():
    x = logits(1025, 97, 3.0)
    assert torch.equal(pack_topk(x, 20, num_threads=1), pack_topk(x, 20, num_threads=4))


def test_rows_of_twenty_take_fifty_bytes():
    assert packed_row_bytes(20, 3183) == packed_row_bytes(20, 4096) == 50
    assert packed_row_bytes(20, 65535) == 60


@pytest.mark.parametrize("value, words", [(math.nan, "logit 2 of row 70 is nan"), (math.inf, "logit 2 of row 70 is inf")])
def test_values_that_are_no_logits_name_their_row(value, words):
    x = torch.zeros(100, 5)
    x[70, 2] = value
    with pytest.raises(ValueError, match=words):
        pack_topk(x, 3)
    with pytest.raises(ValueError, match="row 70"):
        reference.pack_topk(x, 3)


def test_other_bad_input():
    with pytest.raises(ValueError, match="all logits of row 1 are -infinity"):
        pack_topk(torch.tensor([[0.0, 0.0], [-math.inf, -math.inf]]), 1)
    with pytest.raises(ValueError, match=r"k = 3 is not in 1\.\.2"):
        pack_topk(torch.zeros(1, 2), 3)
    with pytest.raises(ValueError, match=r"k = 65 is not in 1\.\.64"):
        pack_topk(torch.zeros(1, 100), 65)
    with pytest.raises(ValueError, match="number of senones 65536"):
        pack_topk(torch.zeros(1, 65536), 3)
    with pytest.raises(TypeError, match=r"float64.* is needed"):
        pack_topk(torch.zeros(1, 5, dtype=torch.float64), 3)
    with pytest.raises(ValueError, match=r"\(N, S\) is needed"):
        pack_topk(torch.zeros(5), 3)
    with pytest.raises(ValueError, match="bytes of a packed row: 49 is not 50"):
        unpack_topk(torch.zeros(1, 49, dtype=torch.uint8), 20, 3183)
    with pytest.raises(ValueError, match="id 0 of row 0 is 4095, not below 3183"):
        unpack_topk(torch.full((1, 50), 255, dtype=torch.uint8), 20, 3183)
