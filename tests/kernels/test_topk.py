"""Packed posteriors: against the slow twin, against float64, and whatever the input is."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pyasr.ops
from pyasr.base.errors import DataError
from pyasr.ops import reference
from pyasr.ops.topk import (
    check_packed,
    check_unpacked,
    pack_topk,
    packed_row_bytes,
    summarise_topk,
    unpack_topk,
)

TAIL_MIN = 1 / (1 + 511**2)
LAST_GAP = 4 * math.log(256)


def make_logits(kind, num_rows, num_senones, seed=0):
    """Rows as softmax layers give them; `between` and `peaked` fall off with the rank as trained networks' do."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(num_rows, num_senones))
    if kind in ("flat", "random"):
        logits = noise * {"flat": 0.3, "random": 3.0}[kind]
    else:
        rank = np.argsort(rng.random((num_rows, num_senones)), axis=1)
        logits = 1.5 * noise - {"between": 2.0, "peaked": 4.0}[kind] * np.log1p(rank)
    return torch.from_numpy(logits.astype(np.float32))


def exact(logits, k):
    """ids, logp float64 (N, k) and tail float64 (N,)."""
    x = logits.double().numpy()
    order = np.argsort(-x, axis=1, kind="stable")
    highest = np.take_along_axis(x, order, 1)
    p = np.exp(highest - highest[:, :1])
    with np.errstate(divide="ignore"):
        logp = highest - highest[:, :1] - np.log(p.sum(1, keepdims=True))
    return order[:, :k], logp[:, :k], p[:, k:].sum(1) / p.sum(1)


def divergence(logits, k):
    """KL of the unpacked k + 1 classes from the exact ones, nats, (N,)."""
    _, logp, tail = exact(logits, k)
    stored = unpack_topk(pack_topk(logits, k), k, logits.shape[1])[1].double().numpy()
    stored_tail = 1 - np.exp(stored).sum(1)
    assert (stored_tail > 0).all()
    with np.errstate(divide="ignore", invalid="ignore"):
        of_tail = np.where(tail > 0, tail * np.log(tail / stored_tail), 0.0)
        return np.where(np.isfinite(logp), np.exp(logp) * (logp - stored), 0.0).sum(1) + of_tail


def pack_on(device, logits, k):
    """`pack_topk` there, and its result here, what it raises too."""
    if device == "cpu":
        return pack_topk(logits, k)
    there = logits.to(device)
    packed = pack_topk(there, k)
    check_packed(packed, there)
    return packed.cpu()


def unpack_on(device, packed, k, num_senones):
    if device == "cpu":
        return unpack_topk(packed, k, num_senones)
    ids, logp = unpack_topk(packed.to(device), k, num_senones)
    check_unpacked(ids)
    return ids.cpu(), logp.cpu()


def assert_packed_like_twin(logits, k, device="cpu"):
    """The same bytes, but that the tail's may be the neighbour where the exact tail lies on the border between two."""
    ours, twin = pack_on(device, logits, k).numpy(), reference.pack_topk(logits, k).numpy()
    assert ours.shape == twin.shape == (len(logits), packed_row_bytes(k, logits.shape[1]))
    tails = exact(logits, k)[2]
    for row in np.flatnonzero((ours != twin).any(1)):
        (column,) = np.flatnonzero(ours[row] != twin[row])
        assert column == ours.shape[1] - k
        near = {reference.topk_tail_byte(min(1.0, max(0.0, tails[row] + error))) for error in (-1e-6, 1e-6)}
        assert {int(ours[row, column]), int(twin[row, column])} == near
    return ours


@pytest.mark.parametrize("kind", ["flat", "random", "between", "peaked"])
@pytest.mark.parametrize(
    "num_rows, num_senones, k",
    [
        *[(5, 1, 1), (97, 3, 1), (97, 7, 7), (33, 20, 20), (31, 64, 64), (97, 97, 20), (1025, 130, 3)],
        *[(3, 127, 20), (3, 128, 20), (3, 129, 20), (97, 3183, 20), (3, 4096, 20), (3, 4097, 19), (1, 65535, 64)],
    ],
)
def test_equals_the_twin(device, kind, num_rows, num_senones, k):
    logits = make_logits(kind, num_rows, num_senones)
    packed = torch.from_numpy(assert_packed_like_twin(logits, k, device))
    ids, logp = unpack_on(device, packed, k, num_senones)
    twin_ids, twin_logp = reference.unpack_topk(packed, k, num_senones)
    assert ids.dtype == torch.int32 and logp.dtype == torch.float32 and packed.dtype == torch.uint8
    assert torch.equal(ids, twin_ids)
    np.testing.assert_array_max_ulp(logp.numpy(), twin_logp.numpy(), 1)
    np.testing.assert_array_equal(ids.numpy(), exact(logits, k)[0])


def test_the_tail_byte_seldom_differs_from_the_twins():
    logits = make_logits("between", 1025, 300)
    assert (pack_topk(logits, 20) != reference.pack_topk(logits, 20)).any(1).sum() <= 2


@pytest.mark.parametrize("kind", ["flat", "random", "between", "peaked"])
def test_bfloat16_is_packed_like_its_float32(device, kind):
    logits = make_logits(kind, 97, 1025).bfloat16()  # rounding to 8 bits makes many ties
    assert torch.equal(pack_on(device, logits, 20), pack_on(device, logits.float(), 20))
    assert_packed_like_twin(logits[:20], 20, device)


@pytest.mark.parametrize("kind", ["flat", "random", "between", "peaked"])
@pytest.mark.parametrize("num_senones", [300, 3183, 60000])
def test_error_of_the_format(kind, num_senones):
    """The table in pyasr/ops/topk.py; the aim is 1.5e-4 nats on the average row."""
    logits = make_logits(kind, 1025 if num_senones < 10000 else 97, num_senones)
    kl = divergence(logits, 20)
    assert kl.min() > -1e-9 and kl.mean() < 2e-5 and kl.max() < 6e-5
    logp = exact(logits, 20)[1]
    stored = unpack_topk(pack_topk(logits, 20), 20, num_senones)[1].numpy()
    assert np.abs(stored - logp)[logp > math.log(1e-4)].max(initial=0) < 0.1


def test_normaliser_against_float64():
    """With k = S - 1 the tail is a single known posterior; its error is that of the format and 1e-6 of the sum."""
    for num_senones in (2, 65):
        logits = make_logits("random", 1025, num_senones)
        tail = exact(logits, num_senones - 1)[2]
        logp = unpack_topk(pack_topk(logits, num_senones - 1), num_senones - 1, num_senones)[1].double().numpy()
        stored = 1 - np.exp(logp).sum(1)
        step = np.abs(np.sqrt(stored) - np.sqrt(tail))  # at most half a step, of which there are 256 from 0 to 1
        assert step.max() < 0.5 / 256 * math.sqrt(2) + 1e-3


def test_normaliser_of_ascending_rows(device):
    """The maximum moves at every block, and most of the mass comes last."""
    logits = torch.linspace(-300, 300, 65535).repeat(3, 1)
    assert_packed_like_twin(logits, 64, device)
    assert_packed_like_twin(logits.flip(1).contiguous(), 64, device)


@pytest.mark.parametrize("num_senones", [20, 128, 129, 3183])
def test_of_equal_logits_the_lower_id_is_kept_and_comes_first(device, num_senones):
    ids, logp = unpack_on(device, pack_on(device, torch.zeros(2, num_senones), 20), 20, num_senones)
    assert torch.equal(ids, torch.arange(20, dtype=torch.int32).expand(2, 20))
    assert (logp == logp[:, :1]).all() and abs(logp[0, 0].exp() * num_senones - 1) < 0.05
    logits = torch.randint(0, 3, (97, num_senones), generator=torch.Generator().manual_seed(0)).float()
    assert_packed_like_twin(logits, 20, device)
    zeros = torch.tensor([[0.0, -0.0, 0.0, -0.0, 1.0]])
    assert unpack_topk(pack_on(device, zeros, 4), 4, 5)[0].tolist() == [[4, 0, 1, 2]]


@pytest.mark.parametrize("num_senones", [300, 4096, 4097, 9001])
def test_rows_with_more_candidates_than_the_selection_holds(device, num_senones):
    """Ascending, descending, alike, the best in a cluster or 128 apart, most of the row at -inf."""
    step = torch.arange(num_senones)
    noise = make_logits("random", 1, num_senones)[0]
    rows = [step * 0.01, step * -0.01, step % 2 * 1.0, torch.full((num_senones,), -3e38), step % 128 * 0.1]
    rows += [noise + 20 * (step % 128 == 5), noise + 20 * (step > num_senones - 40), noise * 1e37, noise * 1e-30]
    rows += [noise.where(step % 50 == 49, torch.tensor(-math.inf)), noise.where(step > 4090, noise - 1e30)]
    logits = torch.stack(rows)
    for k in (1, 20, 64):
        assert_packed_like_twin(logits, k, device)
        in_bf16, in_float = (pack_on(device, x, k) for x in (logits.bfloat16(), logits.bfloat16().float()))
        assert torch.equal(in_bf16, in_float)


CODE_OF_DIGEST = """
import hashlib, sys, numpy as np, torch
from pyasr.ops import pack_topk
rng = np.random.default_rng(0)
digest = hashlib.sha256()
for num_senones in (1, 31, 33, 300, 3183, 9001):
    logits = torch.from_numpy(rng.normal(size=(2000 if num_senones < 1000 else 200, num_senones)).astype(np.float32))
    for scale in (0.3, 3, 300):
        for x in (logits * scale, (logits * scale).bfloat16()):
            digest.update(pack_topk(x, min(20, num_senones)).numpy().tobytes())
print(digest.hexdigest())
"""


def test_bytes_are_the_same_wherever_multiply_adds_are_fused():
    digests = {}
    for isa in ("avx2", "avx512", "avx512vnni"):
        run = subprocess.run(
            [sys.executable, "-c", CODE_OF_DIGEST],
            env={**os.environ, "PYASR_ISA": isa},
            capture_output=True,
            text=True,
            check=False,
        )
        if f"PYASR_ISA={isa}: this processor has no more than" not in run.stderr:
            assert run.returncode == 0, run.stderr
            digests[isa] = run.stdout
    assert len(set(digests.values())) <= 1


@pytest.mark.parametrize("k", [1, 2, 20])
def test_extreme_logits(device, k):
    inf = math.inf
    rows = [
        [1e4, -1e4, 0.0, 1e4, *[-inf] * 17],
        [0.0, *[-inf] * 20],
        [*[-inf] * 20, -3e38],
        [3e38, -3e38, *[-inf] * 18, 3e38],
        [*[-1e4] * 20, 0.0],
        [*[1e4] * 20, -inf],
        [-50.0 * i for i in range(21)],
        [1e-40, -1e-40, *[0.0] * 19],
    ]
    logits = torch.tensor(rows)
    assert_packed_like_twin(logits, k, device)
    ids, logp = unpack_on(device, pack_on(device, logits, k), k, 21)
    assert logp.isfinite().all() and (logp.diff(dim=1) <= 0).all() and (logp.double().exp().sum(1) < 1).all()
    np.testing.assert_array_equal(ids.numpy(), exact(logits, k)[0])
    expected = exact(logits, k)[1]
    likely = expected > -15
    np.testing.assert_allclose(logp.numpy()[likely], expected[likely], atol=0.02)
    assert (logp.numpy()[~likely] < -10).all()


def test_a_gap_past_the_last_level_does_not_harm_what_follows():
    logits = torch.tensor([[1000.0, 0.0, 0.0, -1.0, -1.0]])
    logp = unpack_topk(pack_topk(logits, 5), 5, 5)[1][0]
    np.testing.assert_allclose(logp.diff().numpy(), [-LAST_GAP, 0, -1, 0], atol=0.02)


def test_scores_and_log_probabilities_give_the_same_rows():
    logits = make_logits("between", 97, 300)
    a = unpack_topk(pack_topk(logits), 20, 300)
    b = unpack_topk(pack_topk(logits.log_softmax(1)), 20, 300)
    assert torch.equal(a[0], b[0]) and (a[1] - b[1]).abs().max() < 0.05


def test_shape_of_a_row():
    assert [packed_row_bytes(20, s) for s in (20, 300, 3183, 4096)] == [50] * 4
    assert packed_row_bytes(20, 4097) == 33 + 20 and packed_row_bytes(20, 65535) == 60
    assert packed_row_bytes(1, 1) == 3 and packed_row_bytes(64, 65535) == 192
    logits = torch.full((1, 300), -12.0)
    logits[0, [299, 7, 100]] = torch.tensor([0.0, -math.log(16), -2 * math.log(16)])  # ratios 1/16 = (128 / 256)^4
    packed = pack_topk(logits, 3)
    assert packed.tolist() == [[299 & 255, (7 & 15) << 4 | 299 >> 8, 7 >> 4, 100, 0, packed[0, 5], 128, 128]]
    assert packed[0, 5] == 10  # 256 sqrt(tail / head) / (1 + sqrt(tail / head)) = 10.1, tail / head = 297 e^-12 / 1.066
    logp = unpack_topk(packed, 3, 300)[1]
    v = 2 * int(packed[0, 5]) + 1
    p = 1 / (1 + v**2 / (512 - v) ** 2) / (1 + 1 / 16 + 1 / 256)
    np.testing.assert_allclose(logp[0].double().exp(), [p, p / 16, p / 256], rtol=1e-6)


@pytest.mark.parametrize("num_rows", [0, 1, 97, 1025])
def test_threads_and_strides_change_nothing(num_rows):
    logits = make_logits("between", num_rows, 131)
    packed = pack_topk(logits, 20, num_threads=1)
    assert packed.shape == (num_rows, 50)
    for same in (
        pack_topk(logits, 20, num_threads=5),
        pack_topk(logits, num_threads=2),
        pack_topk(torch.cat([logits[:, :50], logits, logits], 1)[:, 50:181], 20),
        pack_topk(logits.T.contiguous().T, 20),
        pack_topk(torch.cat([logits, logits], 1).view(2 * num_rows, 131)[::1][: 2 * num_rows : 2], 20),
        pack_topk(logits.clone().requires_grad_(), 20),
    ):
        assert torch.equal(same, packed)
    ids, logp = unpack_topk(packed, 20, 131, num_threads=1)
    assert ids.shape == logp.shape == (num_rows, 20)
    wide = torch.zeros(num_rows, 101, dtype=torch.uint8)
    wide[:, 3:53] = packed
    for same in (unpack_topk(packed, 20, 131, num_threads=5), unpack_topk(wide[:, 3:53], 20, 131)):
        assert torch.equal(same[0], ids) and torch.equal(same[1], logp)


def test_misaligned_and_repeated_rows():
    logits = make_logits("between", 3, 131)
    data = bytearray(1 + 4 * 3 * 131)
    data[1:] = logits.numpy().tobytes()
    misaligned = torch.frombuffer(data, dtype=torch.uint8)[1:].numpy().view(np.float32).reshape(3, 131)
    assert misaligned.ctypes.data % 4
    assert torch.equal(pack_topk(torch.from_numpy(misaligned), 20), pack_topk(logits, 20))
    assert torch.equal(pack_topk(logits[:1].expand(40, 131), 20), pack_topk(logits[:1], 20).expand(40, 50))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.nan])
@pytest.mark.parametrize("row, senone", [(0, 0), (33, 299), (96, 128)])
def test_bad_logits_are_refused_by_row(device, dtype, bad, row, senone):
    logits = make_logits("between", 97, 300).to(dtype)
    logits[row, senone] = bad
    with pytest.raises(ValueError, match=f"row {row}: logit of senone {senone} is -?(nan|inf)"):
        pack_on(device, logits, 20)
    with pytest.raises(ValueError, match=f"row {row}"):
        reference.pack_topk(logits, 20)
    logits[row] = -math.inf
    logits[row + 1 :, 5] = math.nan
    with pytest.raises(ValueError, match=f"row {row}: all 300 logits are -inf"):
        pack_on(device, logits, 20)


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FC00001, 0x7FC000FF, 0xFFC00100, 0xFFFFFFFF])
@pytest.mark.parametrize("senone", [0, 31, 4095, 4096, 5000])
def test_every_nan_is_seen(device, bits, senone):
    logits = make_logits("between", 1, 5001)
    logits.numpy().view(np.uint32)[0, senone] = bits
    with pytest.raises(ValueError, match=f"row 0: logit of senone {senone} is -?nan"):
        pack_on(device, logits, 20)


@pytest.mark.parametrize(
    "logits, k, error, message",
    [
        (np.zeros((2, 3), np.float32), 2, TypeError, "logits is a ndarray"),
        (torch.zeros(2, 3, dtype=torch.float64), 2, TypeError, "logits is torch.float64"),
        (torch.zeros(2, 3, dtype=torch.float16), 2, TypeError, "logits is torch.float16"),
        (torch.zeros(3), 2, ValueError, "1 dimensions"),
        (torch.zeros(2, 3, 4), 2, ValueError, "3 dimensions"),
        (torch.zeros(2, 3), 4, ValueError, "k is 4, more than the 3 senones"),
        (torch.zeros(2, 3), 0, ValueError, "k is 0"),
        (torch.zeros(2, 300), 65, ValueError, "k is 65, outside 1..64"),
        (torch.zeros(2, 65536), 20, ValueError, "number of senones is 65536"),
        (torch.zeros(2, 0), 1, ValueError, "number of senones is 0"),
        (torch.zeros(2, 3, device="meta"), 1, ValueError, "logits is on meta"),
    ],
)
def test_wrong_arguments_are_refused(logits, k, error, message):
    with pytest.raises(error, match=message):
        pack_topk(logits, k)


def test_wrong_numbers_of_threads_are_refused():
    with pytest.raises(ValueError, match="num_threads is 0"):
        pack_topk(torch.zeros(2, 3), 2, num_threads=0)
    with pytest.raises(ValueError, match="num_threads is -1"):
        unpack_topk(pack_topk(torch.zeros(2, 3), 2), 2, 3, num_threads=-1)


@pytest.mark.parametrize("k, num_senones", [(1, 1), (1, 4096), (1, 32768), (1, 65535), (2, 2), (20, 4096), (64, 65535)])
def test_a_row_that_a_gpu_refused_is_no_row(device, k, num_senones):
    """It is all 255s there, whatever the number of bits."""
    packed = torch.full((1, packed_row_bytes(k, num_senones)), 255, dtype=torch.uint8)
    with pytest.raises(DataError, match="row 0"):
        unpack_on(device, packed, k, num_senones)


def damaged(change, num_rows=300, num_senones=300, k=3):
    packed = pack_topk(make_logits("between", num_rows, num_senones), k)
    change(packed)
    return packed


def set_bytes(row, *values):
    def change(packed):
        packed[row, : len(values)] = torch.tensor(values, dtype=torch.uint8)

    return change


def test_damaged_rows_are_refused(device):
    text = (lambda why: why) if device == "cpu" else (lambda why: why.partition(":")[0])
    with pytest.raises(DataError, match=text("row 299: senone id 4095 of 300")):
        unpack_on(device, damaged(set_bytes(299, 0xFF, 0x0F)), 3, 300)
    with pytest.raises(DataError, match=text("row 7: senone id 300 of 300")):
        unpack_on(device, damaged(set_bytes(7, 300 & 255, 0x10 | 300 >> 8, 0)), 3, 300)
    with pytest.raises(DataError, match=text("row 257: senone id 17 comes twice")):
        unpack_on(device, damaged(set_bytes(257, 17, 0x10, 1)), 3, 300)
    with pytest.raises(DataError, match=text("row 0: bits set behind the last id")):
        unpack_on(device, damaged(set_bytes(0, 1, 0x20, 0, 3, 0x10)), 3, 300)
    packed = damaged(lambda packed: None)
    for k, num_senones in ((4, 300), (3, 60000)):
        with pytest.raises(DataError, match=r"packed rows have 8 bytes, not (10|9)"):
            unpack_topk(packed, k, num_senones)
    with pytest.raises(DataError, match="another number of senones"):
        unpack_topk(packed, 3, 20)
    with pytest.raises(DataError, match="packed rows have 7 bytes"):
        unpack_topk(packed[:, :-1], 3, 300)
    with pytest.raises(TypeError, match=r"torch\.int32"):
        unpack_topk(packed.int(), 3, 300)
    with pytest.raises(TypeError, match="ndarray"):
        unpack_topk(packed.numpy(), 3, 300)
    with pytest.raises(ValueError, match="1 dimensions"):
        unpack_topk(packed[0], 3, 300)
    with pytest.raises(ValueError, match="k is 0"):
        unpack_topk(packed, 0, 300)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_the_row_it_unpacks_to_what_the_contract_says(data):
    num_senones = data.draw(st.integers(1, 200))
    k = data.draw(st.integers(1, min(64, num_senones)))
    values = st.floats(-(2.0**127), 2.0**127, width=32) | st.sampled_from([0.0, 1.0, -1.0, -math.inf])
    row = data.draw(st.lists(values, min_size=num_senones, max_size=num_senones).filter(lambda r: max(r) > -math.inf))
    logits = torch.tensor([row], dtype=torch.float32)
    assert_packed_like_twin(logits, k)
    ids, logp = unpack_topk(pack_topk(logits, k), k, num_senones)
    expected_ids, expected, _ = exact(logits, k)
    np.testing.assert_array_equal(ids.numpy(), expected_ids)
    assert logp.isfinite().all() and (logp.diff(dim=1) <= 0).all()
    assert logp.double().exp().sum() < 1 - TAIL_MIN / 2
    assert logp.exp().sum() < 1  # in float32, too
    if expected[0, -1] > -10:
        assert divergence(logits, k).item() < 1e-4


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_whatever_the_bytes_they_are_refused_or_unpack_to_what_the_contract_says(data):
    num_senones = data.draw(st.sampled_from([1, 20, 64, 300, 4096, 4097, 60000, 65535]))
    k = data.draw(st.integers(1, min(64, num_senones)))
    size = packed_row_bytes(k, num_senones)
    if data.draw(st.booleans()):
        row = bytearray(data.draw(st.binary(min_size=size, max_size=size)))
    else:  # mutated
        row = bytearray(pack_topk(make_logits("peaked", 1, num_senones), k).numpy().tobytes())
        for _ in range(data.draw(st.integers(0, 5))):
            row[data.draw(st.integers(0, size - 1))] = data.draw(st.integers(0, 255))
    packed = torch.frombuffer(row, dtype=torch.uint8)[None]
    try:
        twin_ids, twin_logp = reference.unpack_topk(packed, k, num_senones)
    except DataError:
        with pytest.raises(DataError, match="row 0"):
            unpack_topk(packed, k, num_senones)
        return
    ids, logp = unpack_topk(packed, k, num_senones)
    assert torch.equal(ids, twin_ids) and len(set(ids[0].tolist())) == k
    np.testing.assert_array_max_ulp(logp.numpy(), twin_logp.numpy(), 1)
    assert logp.isfinite().all() and (logp.diff(dim=1) <= 0).all() and logp.double().exp().sum() < 1


def test_public_names():
    assert pyasr.ops.pack_topk is pack_topk and pyasr.ops.unpack_topk is unpack_topk
    with pytest.raises(AttributeError, match="pack_topq"):
        pyasr.ops.pack_topq  # noqa: B018


def test_aligning_does_without_torch():
    code = "import sys, pyasr.ops.viterbi, pyasr.ops.stats; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["flat", "random", "between", "peaked"])
@pytest.mark.parametrize("num_senones, k", [(1, 1), (7, 7), (300, 20), (5000, 64)])
def test_summaries_are_those_of_the_twin(kind, num_senones, k):
    packed = pack_topk(make_logits(kind, 40, num_senones), k)
    np.testing.assert_allclose(
        summarise_topk(packed, k, num_senones), reference.summarise_topk(packed, k, num_senones), rtol=1e-5, atol=1e-6
    )
    assert summarise_topk(packed[:0], k, num_senones) == (0, 0, 0)


def test_summaries_refuse_what_cannot_be_unpacked():
    with pytest.raises(DataError, match=r"row 299: senone id 4095 of 300"):
        summarise_topk(damaged(set_bytes(299, 0xFF, 0x0F)), 3, 300)
    with pytest.raises(DataError, match=r"packed rows have 8 bytes, not 10"):
        summarise_topk(damaged(lambda packed: None), 4, 300)
    with pytest.raises(TypeError, match="ndarray"):
        summarise_topk(damaged(lambda packed: None).numpy(), 3, 300)
