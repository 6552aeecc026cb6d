"""Gradient threshold compression: against the slow twin, its conservation, and whatever the input is."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pyasr.ops
from pyasr.base.errors import DataError
from pyasr.ops import cuda, reference
from pyasr.ops.gtc import (
    NonFiniteError,
    gtc_check,
    gtc_compress,
    gtc_count,
    gtc_decode_add,
    gtc_decompress,
    gtc_encode,
)

on_gpu = pytest.mark.skipif(not (cuda.is_built() and torch.cuda.is_available()), reason="no GPU, or built without CUDA")

SIZES = [0, 1, 7, 31, 32, 33, 97, 1025, 4096, 4097, 65536, 65537, 140001]


def normal(n, seed=0, scale=1.0):
    return scale * torch.randn(n, generator=torch.Generator().manual_seed(seed))


def message(n, density, seed=0):
    """Independent positions and signs."""
    rng = np.random.default_rng(seed)
    index = np.flatnonzero(rng.random(n) < density)
    return torch.from_numpy((index << 1 | rng.integers(0, 2, len(index))).astype(np.int32))


def words_of(*pairs):
    return torch.tensor([index << 1 | up for index, up in pairs], dtype=torch.int32)


def bits(tensor):
    """For comparisons that tell -0 from 0."""
    return tensor.view(torch.int32).tolist()


def encode_on(device, grad, residual, tau, out=None):
    """`gtc_encode` there, and its result here, what it raises too."""
    if device == "cpu":
        return gtc_encode(grad, residual, tau, out)
    there, room = residual.to(device), None if out is None else out.to(device)
    words, count = gtc_encode(grad.to(device), there, tau, room)
    residual.copy_(there)
    count = gtc_count(count)
    if out is None:
        return words[:count].cpu(), count
    return out.copy_(room)[:count], count


def decode_add_on(device, words, tau, out, scale=1.0):
    """`gtc_decode_add` there, and its result here, what it raises too."""
    if device == "cpu":
        return gtc_decode_add(words, tau, out, scale=scale)
    there = out.to(device)
    words = words.to(device) if isinstance(words, torch.Tensor) else [message.to(device) for message in words]
    status = gtc_decode_add(words, tau, there, scale=scale)
    out.copy_(there)
    return gtc_check(status)


# Encoding


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("tau", [0.1, 1.0, 3.0, 100.0])
def test_encode_equals_the_twin(device, n, tau):
    ours, twin = normal(n, 1), normal(n, 1)
    for step in range(3):
        grad = normal(n, 2 + step)
        words, count = encode_on(device, grad, ours, tau)
        twin_words, twin_count = reference.gtc_encode(grad, twin, tau)
        assert words.dtype == torch.int32 and words.shape == (count,) and count == twin_count
        assert torch.equal(words, twin_words) and bits(ours) == bits(twin)


@pytest.mark.parametrize("n", SIZES)
def test_the_number_of_threads_changes_nothing(n):
    residuals = [normal(n, 1) for _ in range(4)]
    words = [gtc_encode(normal(n, 2), r, 1.5, num_threads=t + 1)[0] for t, r in enumerate(residuals)]
    sums = [normal(n, 3) for _ in range(4)]
    for t, total in enumerate(sums):
        gtc_decode_add([words[0], message(n, 0.3), words[0]], 0.1, total, num_threads=t + 1)
    for t in range(1, 4):
        assert torch.equal(words[t], words[0]) and torch.equal(residuals[t], residuals[0])
        assert torch.equal(sums[t], sums[0])


def test_only_what_is_beyond_the_threshold_is_sent_and_once(device):
    tau = 0.5
    above = float(np.nextafter(np.float32(0.5), np.float32(1)))
    residual = torch.tensor([0.5, -0.5, above, -above, 0.0, -0.0, 7.0, -7.0])
    words, _ = encode_on(device, torch.zeros(8), residual, tau)
    assert torch.equal(words, words_of((2, 1), (3, 0), (6, 1), (7, 0)))
    assert residual.tolist() == [0.5, -0.5, above - 0.5, 0.5 - above, 0, 0, 6.5, -6.5]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_is_sent_and_kept_sums_to_what_came(data):
    """Exact where the exact sum is a float32; else within one rounding of the sum and one of the difference."""
    n = data.draw(st.integers(0, 70))
    finite = st.floats(-(2.0**100), 2.0**100, width=32) | st.integers(-30, 30).map(lambda i: i / 8)
    values = st.lists(finite, min_size=n, max_size=n)
    grad, before = (torch.tensor(data.draw(values), dtype=torch.float32) for _ in range(2))
    tau = float(np.float32(data.draw(st.floats(2.0**-30, 2.0**30) | st.sampled_from([0.125, 1.0, 2.0]))))
    residual = before.clone()
    words, _ = gtc_encode(grad, residual, tau)
    sent = torch.zeros(n, dtype=torch.float64)
    sent[(words >> 1).long()] = torch.where(words & 1 == 1, tau, -tau).double()
    exact = grad.double() + before.double()
    error = (sent + residual.double() - exact).abs()
    rounded = (grad + before).double()
    allowed = (rounded - exact).abs() + torch.where(rounded.abs() > 2 * tau, 2.0**-24 * rounded.abs(), 0.0)
    assert (error <= allowed).all()
    assert ((rounded.abs() > tau) == (sent != 0)).all() and (sent * rounded >= 0).all()


def test_a_constant_gradient_arrives_in_full(device):
    residual, total = torch.zeros(97), torch.zeros(97)
    grad = normal(97, 5, 0.01)
    for _ in range(1000):
        words, _ = encode_on(device, grad, residual, 0.25)
        decode_add_on(device, words, 0.25, total)
    assert residual.abs().max() <= 0.25
    assert (total.double() + residual.double() - 1000 * grad.double()).abs().max() < 1e-3


def test_words_are_written_to_a_buffer():
    grad, residual, buffer = normal(1025), torch.zeros(1025), torch.full((1025,), -7, dtype=torch.int32)
    expected, count = gtc_encode(grad, torch.zeros(1025), 2.0)
    words, same_count = gtc_encode(grad, residual, 2.0, out=buffer)
    assert words.data_ptr() == buffer.data_ptr() and same_count == count == len(words) and 0 < count < 200
    assert torch.equal(words, expected) and (buffer[count:] == -7).all()
    exactly = torch.empty(count, dtype=torch.int32)
    assert torch.equal(gtc_encode(grad, torch.zeros(1025), 2.0, out=exactly)[0], expected)


def on_devices_and_twin(test):
    return pytest.mark.parametrize("where", ["device", "twin"])(test)


@on_devices_and_twin
@pytest.mark.parametrize("tau", [2.0, 2.0**-10])
def test_nothing_is_lost_or_sent_when_the_buffer_is_too_small(device, where, tau):
    encode = reference.gtc_encode if where == "twin" else partial(encode_on, device)
    grad, buffer = normal(100001), torch.full((20,), -7, dtype=torch.int32)
    residual = normal(100001, 1)
    expected = residual + grad
    with pytest.raises(ValueError, match=r"\d{4,} (words )?are needed"):
        encode(grad, residual, tau, out=buffer)
    assert (buffer == -7).all()
    # Of what is beyond 2 tau the subtraction rounds, and putting it back does again.
    assert (residual - expected).abs().max() <= (0 if tau == 2.0 else 2.0**-22)
    sent, _ = gtc_encode(torch.zeros(100001), residual, tau)
    assert torch.equal(sent >> 1, torch.from_numpy(np.flatnonzero(expected.abs().numpy() > tau)).int())


@on_devices_and_twin
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("index", [0, 31, 4096, 99999, 100002])
@pytest.mark.parametrize("in_grad", [True, False])
def test_sums_that_are_not_finite_are_refused(device, where, bad, index, in_grad):
    encode = reference.gtc_encode if where == "twin" else partial(encode_on, device)
    grad, before = normal(100003), normal(100003, 1)
    expected = before + grad
    target = grad if in_grad else before
    target[index] = target[100002] = bad
    expected[index], expected[100002] = before[index], before[100002]
    residual = before.clone()
    with pytest.raises(NonFiniteError, match=f"element {index}"):
        encode(grad, residual, 2.5)
    assert torch.equal(residual.nan_to_num(7), expected.nan_to_num(7))


def test_a_sum_beyond_float32_is_refused():
    residual = torch.full((40,), 3e38)
    with pytest.raises(NonFiniteError, match=r"element 39: residual 3e\+38 \+ gradient 1e\+38 is not finite"):
        gtc_encode(torch.tensor([0.0] * 39 + [1e38]), residual, 1.0)
    assert (residual == 3e38).all()


def test_a_skipped_step_is_taken_back(device):
    grad, residual = normal(1025), torch.zeros(1025)
    words, _ = encode_on(device, grad, residual, 1.0)
    decode_add_on(device, words, 1.0, residual)
    torch.testing.assert_close(residual, grad, rtol=2**-22, atol=0)


# Decoding


@pytest.mark.parametrize("n", [1, 7, 97, 1025, 100003])
@pytest.mark.parametrize("density", [0.0, 0.003, 0.3, 1.0])
@pytest.mark.parametrize("num_messages", [0, 1, 3, 8, 65])
def test_decode_add_equals_the_twin(device, n, density, num_messages):
    messages = [message(n, density, seed) for seed in range(num_messages)]
    ours, twin, one_by_one = (normal(n) for _ in range(3))
    decode_add_on(device, messages, 0.3, ours, scale=1 / 7)
    for words in messages:
        gtc_decode_add(words, 0.3, one_by_one, scale=1 / 7)
    if n <= 1025 and num_messages < 10:
        reference.gtc_decode_add(messages, 0.3, twin, scale=1 / 7)
        assert torch.equal(ours, twin)
    assert torch.equal(ours, one_by_one)


def test_only_as_many_words_as_are_counted():
    words = words_of((1, 1), (2, 0), (0, 0))
    for count in (2, np.int64(2), torch.tensor(2), torch.tensor([2], dtype=torch.int32)):
        out = torch.zeros(3)
        gtc_decode_add(words, 0.5, out, count=count)
        assert out.tolist() == [0, 0.5, -0.5]
    gtc_decode_add([words, words, words], 0.5, out, count=[0, 1, 2], scale=-2.0)
    assert out.tolist() == [0, -1.5, 0.5]
    for count in (-1, 4):
        with pytest.raises(ValueError, match=f"count of message 0 is {count}, outside 0..3"):
            gtc_decode_add(words, 0.5, out, count=count)
    with pytest.raises(ValueError, match="2 counts for 1 messages"):
        gtc_decode_add([words], 0.5, out, count=[1, 1])
    assert out.tolist() == [0, -1.5, 0.5]


def test_the_step_is_rounded_once():
    out = torch.zeros(1)
    gtc_decode_add(words_of((0, 1)), 0.1, out, scale=1 / 3)
    assert out.item() == np.float32(float(np.float32(0.1)) / 3)


BAD_WORDS = [
    ([8], "word 0: index 4 of 4"),
    ([-1], "word 0: index -1 of 4"),
    ([2**31 - 1], "word 0: index 1073741823 of 4"),
    ([0, -(2**31)], "word 1: index -1073741824 of 4"),
    ([4, 5], "word 1: index 2 comes behind 2"),
    ([2, 6, 4], "word 2: index 2 comes behind 3"),
]


@pytest.mark.parametrize("values, text", BAD_WORDS)
def test_bad_words_are_refused_before_anything_is_added(device, values, text):
    words, out = torch.tensor(values, dtype=torch.int32), torch.zeros(4)
    with pytest.raises(DataError, match=f"message 2: {text}" if device == "cpu" else f"message 2: {text[:6]}"):
        decode_add_on(device, [words_of((0, 1)), words[:0], words, words], 1.0, out)
    assert (out == 0).all()
    with pytest.raises(DataError, match=text):
        gtc_compress(words, 4)
    with pytest.raises(DataError):
        reference.gtc_decode_add(words, 1.0, out)
    with pytest.raises(DataError):
        reference.gtc_compress(words, 4)


@on_gpu
@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_views_on_a_gpu_and_counts_that_stay_there(offset):
    n, count_too_high = 100_003, torch.tensor(40, device="cuda")
    grad, residual = torch.zeros(n + 3, device="cuda"), torch.zeros(n + 3, device="cuda")
    grad[offset : n + offset] = normal(n).cuda()
    words, count = gtc_encode(grad[offset : n + offset], residual[offset : n + offset], 1.5)
    expected_residual = torch.zeros(n)
    expected, _ = gtc_encode(normal(n), expected_residual, 1.5)
    assert count.is_cuda and torch.equal(words[: gtc_count(count)].cpu(), expected)
    assert torch.equal(residual[offset : n + offset].cpu(), expected_residual)
    assert not residual[:offset].any() and not residual[n + offset :].any()
    total, expected_total = torch.zeros(n, device="cuda"), torch.zeros(n)
    gtc_check(gtc_decode_add([words, words], 1.5, total, count=[count, 3]))
    gtc_decode_add([expected, expected], 1.5, expected_total, count=[None, 3])
    assert torch.equal(total.cpu(), expected_total)
    _, failed = gtc_encode(grad, residual, 1e-3, out=torch.empty(20, dtype=torch.int32, device="cuda"))
    assert failed < 0
    gtc_check(gtc_decode_add(words, 1.5, total, count=failed))
    assert torch.equal(total.cpu(), expected_total)
    with pytest.raises(DataError, match="message 0: word 20"):
        gtc_check(gtc_decode_add(words[:20], 1.5, total, count=count_too_high))


@on_gpu
def test_more_than_one_step_a_block_and_one_launch_of_messages():
    n, seeds = 10_000_003, range(20)
    total, expected_total = torch.zeros(n, device="cuda"), torch.zeros(n)
    messages = []
    for seed in seeds:
        residual, grad = torch.zeros(n), torch.rand(n, generator=torch.Generator().manual_seed(seed)) - 0.5
        words, _ = gtc_encode(grad, residual, 0.49)
        there = torch.zeros(n, device="cuda")
        found, count = gtc_encode(grad.cuda(), there, 0.49)
        assert torch.equal(found[: gtc_count(count)].cpu(), words) and torch.equal(there.cpu(), residual)
        messages.append(words)
    gtc_check(gtc_decode_add([words.cuda() for words in messages], 0.49, total))
    gtc_decode_add(messages, 0.49, expected_total)
    assert torch.equal(total.cpu(), expected_total)


@on_gpu
def test_steps_on_a_gpu_replay_as_a_graph():
    n = 50_001
    grad, residual, total = normal(n).cuda(), torch.zeros(n, device="cuda"), torch.zeros(n, device="cuda")
    ours, sums = torch.zeros(n), torch.zeros(n)

    def step():
        words, count = gtc_encode(grad, residual, 1.0)
        gtc_decode_add([words, words], 1.0, total, count=[count, count])

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for seed in (0, 1, 2):
        grad.copy_(normal(n, seed))
        if seed:
            graph.replay()
        words, _ = gtc_encode(normal(n, seed), ours, 1.0)
        gtc_decode_add([words, words], 1.0, sums)
    assert torch.equal(residual.cpu(), ours) and torch.equal(total.cpu(), sums)


# Golomb-Rice code


@pytest.mark.parametrize("n", [0, 1, 7, 97, 1025, 100003])
@pytest.mark.parametrize("density", [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0])
def test_compress_equals_the_twin_and_comes_back(n, density):
    words = message(n, density, n)
    data = gtc_compress(words, n)
    assert data.dtype == torch.uint8 and torch.equal(gtc_decompress(data), words)
    if len(words) < 2000:
        assert torch.equal(data, reference.gtc_compress(words, n))
        assert torch.equal(reference.gtc_decompress(data), words)


def test_layout():
    """n = 96, 3 words: k = 4, fields of 5 bits."""
    data = gtc_compress(words_of((5, 1), (6, 0), (95, 1)), 96).tolist()
    gaps = [5, 0, 88]
    low = (gaps[0] << 1 | 1) | 0 << 5 | (gaps[2] % 16 << 1 | 1) << 10
    quotients = 1 << 0 | 1 << 1 | 1 << (2 + gaps[2] // 16)
    assert data == [96, 0, 0, 0, 3, 0, 0, 0, 4, low & 255, low >> 8, quotients]


@pytest.mark.parametrize("values", [[], [1], [2**31 - 1], [0, 2**31 - 2], list(range(0, 5000, 2))])
def test_the_largest_message(values):
    words = torch.tensor(values, dtype=torch.int32)
    data = gtc_compress(words, 2**30)
    assert torch.equal(gtc_decompress(data), words)
    out = torch.zeros(1)
    if values and values[-1] > 1:
        with pytest.raises(DataError, match="of 1"):
            gtc_decode_add(words, 1.0, out)


@pytest.mark.parametrize("log_density", [-1.0, -2.0, -2.3, -2.6, -3.0, -3.5, -4.0, -4.5, -5.0])
def test_bits_against_the_entropy_of_independent_positions(log_density):
    p, count = 10**log_density, 20_000
    gaps = np.random.default_rng(0).geometric(p, count)
    index = np.cumsum(gaps) - 1
    n = min(2**30, int(index[-1] + round(1 / p)))
    index = index[index < n]  # at 1e-5 about half of them
    words = torch.from_numpy((index << 1 | np.random.default_rng(1).integers(0, 2, len(index))).astype(np.int32))
    entropy = 1 - (p * math.log2(p) + (1 - p) * math.log2(1 - p)) / p
    assert 0.98 * entropy < 8 * len(gtc_compress(words, n)) / len(words) < 1.03 * entropy


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_messages_come_back(data):
    n = data.draw(st.sampled_from([1, 7, 97, 1025, 2**20, 2**30]) | st.integers(1, 2**30))
    index = sorted(data.draw(st.sets(st.integers(0, n - 1) | st.integers(0, min(n - 1, 50)), max_size=60)))
    words = torch.tensor([i << 1 | data.draw(st.integers(0, 1)) for i in index], dtype=torch.int32)
    compressed = gtc_compress(words, n)
    assert torch.equal(compressed, reference.gtc_compress(words, n))
    assert torch.equal(gtc_decompress(compressed), words)


def assert_refused_or_a_message(raw):
    """As the twin does, which takes only what compresses to the same bytes."""
    data = torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)
    try:
        twin = reference.gtc_decompress(data)
    except DataError:
        with pytest.raises(DataError, match="damaged"):
            gtc_decompress(data)
        return False
    words = gtc_decompress(data)
    assert torch.equal(words, twin) and (words >= 0).all() and (words.diff() > 0).all()
    return True


@pytest.mark.parametrize("n, pairs", [(5, []), (1, [(0, 1)]), (40, [(3, 1), (4, 0), (39, 1)]), (1000, [(999, 0)])])
def test_every_change_of_a_byte_is_refused_or_makes_a_message(n, pairs):
    raw = gtc_compress(words_of(*pairs), n).numpy().tobytes()
    assert assert_refused_or_a_message(raw)
    for i in range(len(raw)):
        assert not assert_refused_or_a_message(raw[:i])
        for byte in range(256):
            assert_refused_or_a_message(raw[:i] + bytes([byte]) + raw[i + 1 :])
    for byte in (0, 1, 255):
        assert not assert_refused_or_a_message(raw + bytes([byte]))


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_whatever_the_bytes_they_are_refused_or_a_message(data):
    if data.draw(st.booleans()):
        n, count = data.draw(st.integers(0, 300)), data.draw(st.integers(0, 20))
        header = n.to_bytes(4, "little") + count.to_bytes(4, "little") + bytes([data.draw(st.integers(0, 8))])
        assert_refused_or_a_message(data.draw(st.just(header)) + data.draw(st.binary(max_size=40)))
        assert_refused_or_a_message(data.draw(st.binary(max_size=60)))
        return
    n = data.draw(st.sampled_from([40, 1000, 2**30]))
    index = sorted(data.draw(st.sets(st.integers(0, n - 1), max_size=20)))
    raw = bytearray(gtc_compress(words_of(*((i, 1) for i in index)), n).numpy().tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert_refused_or_a_message(bytes(raw))


def test_damaged_bytes_are_named():
    good = gtc_compress(words_of((5, 1), (6, 0), (95, 1)), 96).tolist()  # as in test_layout

    def refused(text, **changes):
        raw = [changes.get(f"b{i}", byte) for i, byte in enumerate(good)]
        with pytest.raises(DataError, match=text):
            gtc_decompress(torch.tensor(raw, dtype=torch.uint8))

    refused("number of weights is 4278190176", b3=255)
    refused("there are 131 words of 96 weights", b4=131)
    refused("Rice parameter against that of the sizes: 5 is not 4", b8=5)
    refused("there are 12 bytes; 7 words of 96 weights take 14 to 16", b4=7, b8=3)
    refused("bits are set behind the low bits", b10=good[10] | 128)
    refused("the last byte is 0", b11=0)
    refused("quotients of more than 3 words", b11=0b10001011)
    refused("words that have a quotient against their count: 2 is not 3", b11=0b10000010)
    refused("the last index is 102 of 96", b10=31 << 2)
    with pytest.raises(DataError, match="there are 8 bytes, fewer than a header's 9"):
        gtc_decompress(torch.tensor(good[:8], dtype=torch.uint8))


# Arguments


def test_strides_and_alignment():
    grad, words = normal(97), message(97, 0.3)
    expected = gtc_encode(grad, torch.zeros(97), 1.0)[0]
    apart = torch.stack([grad, grad], 1)[:, 0]
    assert torch.equal(gtc_encode(apart, torch.zeros(97), 1.0)[0], expected)
    shifted = np.frombuffer(bytearray(b"\0" + grad.numpy().tobytes()), np.uint8)[1:].view(np.float32)
    assert torch.equal(gtc_encode(torch.from_numpy(shifted), torch.zeros(97), 1.0)[0], expected)
    assert torch.equal(gtc_encode(grad.clone().requires_grad_(), torch.zeros(97), 1.0)[0], expected)
    part = torch.zeros(99)
    assert torch.equal(gtc_encode(grad, part[1:98], 1.0)[0], expected) and part[0] == part[98] == 0
    words_apart = torch.stack([words, words], 1)[:, 0]
    sums = [torch.zeros(97), torch.zeros(97)]
    gtc_decode_add(words_apart, 1.0, sums[0])
    gtc_decode_add(words, 1.0, sums[1])
    assert torch.equal(*sums)
    assert torch.equal(gtc_compress(words_apart, 97), gtc_compress(words, 97))
    for residual in (apart, torch.from_numpy(shifted)):
        with pytest.raises(ValueError, match="residual is updated in place"):
            gtc_encode(grad, residual, 1.0)
        with pytest.raises(ValueError, match="out is updated in place"):
            gtc_decode_add(words, 1.0, residual)


F, I = torch.zeros(4), torch.zeros(4, dtype=torch.int32)  # noqa: E741
META = torch.zeros(4, device="meta")


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: gtc_encode(F.numpy(), F.clone(), 1.0), TypeError, "grad is a ndarray"),
        (lambda: gtc_encode(F.double(), F.clone(), 1.0), TypeError, r"grad is torch\.float64"),
        (lambda: gtc_encode(F, F.half(), 1.0), TypeError, r"residual is torch\.float16"),
        (lambda: gtc_encode(META, F.clone(), 1.0), ValueError, "grad is on meta"),
        (lambda: gtc_encode(F, META, 1.0), ValueError, "residual is on meta"),
        (lambda: gtc_encode(F[None], F.clone(), 1.0), ValueError, "grad has 2 dimensions"),
        (lambda: gtc_encode(F[:3], F.clone(), 1.0), ValueError, "grad against those of residual: 3 is not 4"),
        (lambda: gtc_encode(F, F, 1.0), ValueError, "grad and residual share memory"),
        (lambda: gtc_encode(F, F.clone(), 1.0, out=F), TypeError, r"out is torch\.float32"),
        (lambda: gtc_encode(F, F.clone(), 1.0, num_threads=0), ValueError, "num_threads is 0"),
        (lambda: gtc_decode_add(I[:1], 1.0, F.clone(), num_threads=0), ValueError, "num_threads is 0"),
        (lambda: gtc_decode_add(I.long(), 1.0, F.clone()), TypeError, r"words of message 0 is torch\.int64"),
        (lambda: gtc_decode_add([I[:1], I[None]], 1.0, F.clone()), ValueError, "words of message 1 has 2 dimensions"),
        (lambda: gtc_decode_add(I[:1], 1.0, META), ValueError, "out is on meta"),
        (lambda: gtc_decode_add(I[:1], 1.0, F.clone(), scale=math.nan), ValueError, r"tau \* scale is nan"),
        (lambda: gtc_decode_add(I[:1], 1e30, F.clone(), scale=1e30), ValueError, r"tau \* scale is"),
        (lambda: gtc_compress(I.long(), 4), TypeError, r"words is torch\.int64"),
        (lambda: gtc_compress(I[:1], 2**30 + 1), ValueError, "number of weights is 1073741825"),
        (lambda: gtc_compress(I[:0], -1), ValueError, "number of weights is -1"),
        (lambda: gtc_decompress(I), TypeError, r"data is torch\.int32"),
    ],
)
def test_wrong_arguments_are_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf, 1e-50, 1e39])
def test_thresholds_that_cannot_be_are_refused(tau):
    residual = torch.ones(4)
    with pytest.raises(ValueError, match="tau is"):
        gtc_encode(torch.ones(4), residual, tau)
    with pytest.raises(ValueError, match="tau is"):
        gtc_decode_add(I[:1], tau, residual)
    assert (residual == 1).all()


def test_public_names():
    for function in (gtc_encode, gtc_decode_add, gtc_compress, gtc_decompress):
        assert getattr(pyasr.ops, function.__name__) is function
