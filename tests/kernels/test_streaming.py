"""The streaming step of an LSTM stack: against its twin, against torch's own errors, and whatever the input is."""

import math

import numpy as np
import pytest
import torch

from pyasr.base.errors import ConfigError
from pyasr.ops import reference
from pyasr.ops.streaming import PRECISIONS, LayerWeights, LinearWeights, PackedLSTM

# inputs, units, layers, senones
SIZES = [(1, 1, 1, 1), (7, 97, 2, 3), (97, 7, 3, 1025), (192, 64, 2, 3183), (40, 1025, 1, 97)]


def make_weights(inputs, units, layers, senones, seed=0, bias=True):
    """LSTM layers and output layer of weights as training leaves them: of a size that moves the gates."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator) / math.sqrt(shape[-1])

    rows = 4 * units
    stack = [
        LayerWeights(
            draw(rows, units if layer else inputs),
            draw(rows, units),
            torch.randn(rows, generator=generator) if bias else None,
            torch.randn(rows, generator=generator) if bias else None,
        )
        for layer in range(layers)
    ]
    return stack, LinearWeights(3 * draw(senones, units), torch.randn(senones, generator=generator) if bias else None)


def make_frames(streams, frames, inputs, seed=1):
    return torch.randn(streams, frames, inputs, generator=torch.Generator().manual_seed(seed))


def zeros(packed, streams):
    return [torch.zeros(packed.num_layers, streams, packed.hidden_size, device=packed.device) for _ in range(2)]


def feed(packed, x, frames=None, threads=1):
    """The results of all frames, `frames` a call, and the state after them."""
    state = zeros(packed, len(x))
    x = x.to(packed.device)
    parts = [packed.step(part, *state, num_threads=threads) for part in x.split(frames or x.shape[1], dim=1)]
    return [tensor.cpu() for tensor in (torch.cat(parts, dim=1), *state)]


def twin(weights, precision, x):
    layers, output = weights
    state = np.zeros((len(layers), len(x), layers[0].weight_hh.shape[1]), np.float32)
    return reference.streaming_step(layers, output, precision, x.numpy(), state, state)


def with_torch(weights, x):
    """Log-probabilities and the last h and c of `torch.nn.LSTM` in float32."""
    layers, output = weights
    lstm = torch.nn.LSTM(x.shape[2], layers[0].weight_hh.shape[1], len(layers), batch_first=True)
    lstm.load_state_dict({f"{name}_l{i}": w for i, layer in enumerate(layers) for name, w in layer._asdict().items()})
    with torch.inference_mode():
        hidden, (h, c) = lstm(x)
        return torch.nn.functional.linear(hidden, *output).log_softmax(dim=2), h, c


def rms(errors):
    return np.sqrt(np.square(errors).mean())


@pytest.mark.parametrize("sizes", SIZES)
def test_fp32_errs_at_most_twice_as_far_as_torch(device, sizes):
    weights, x = make_weights(*sizes), make_frames(3, 7, sizes[0])
    ours = feed(PackedLSTM(*weights, "fp32", device), x)
    exact, theirs = twin(weights, "fp32", x), with_torch(weights, x)
    for e, o, t in zip(exact, ours, theirs):
        rounding = 2.0**-24 * np.abs(e).max()
        assert np.abs(o.numpy() - e).max() <= 2 * np.abs(t.numpy() - e).max() + 2 * rounding
        assert rms(o.numpy() - e) <= 2 * rms(t.numpy() - e) + 2 * rounding


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("sizes", SIZES)
def test_a_step_is_that_of_the_twin(device, sizes, precision):
    weights, x = make_weights(*sizes), make_frames(3, 2, sizes[0])
    for o, e in zip(feed(PackedLSTM(*weights, precision, device), x), twin(weights, precision, x)):
        # int8: where a hidden output lies between two levels, a difference in its last bit moves it by a level,
        # 1/127 of the largest, which then counts with one weight. That is rare, and does not happen here.
        np.testing.assert_allclose(o.numpy(), e, rtol=3e-6, atol=1e-4 if precision == "int8" else 5e-6)
        if precision == "int8":
            assert rms(o.numpy() - e) < 1e-5


@pytest.mark.parametrize("inputs", [1, 7, 97, 1025, 5000])
def test_int8_products_are_exactly_those_of_the_twin(device, inputs):
    """One frame, from zeros, into one layer: the same rounding of weights and frame, float32's errors alone."""
    weights, x = make_weights(inputs, 33, 1, 1), make_frames(5, 1, inputs)
    x[1] *= 1e-6
    x[2] *= 1e6
    x[3] = 0
    x[4, :, 0] = 1e-31
    weights[0][0].weight_ih[5] = 0
    weights[0][0].weight_ih[6, 0] = 100
    for o, e in zip(feed(PackedLSTM(weights[0], None, "int8", device), x), twin((weights[0], None), "int8", x)):
        np.testing.assert_allclose(o.numpy(), e, rtol=3e-6, atol=1e-6)


def test_int8_sums_do_not_overflow(device):
    """All weights and inputs at their largest, of one sign."""
    for inputs in (128, 129, 9000):
        ones = torch.full((4, inputs), 0.01)
        layer = LayerWeights(ones, torch.zeros(4, 1), None, None)
        x = torch.full((1, 1, inputs), 0.1)
        x[0, 0, -1] = -0.1
        ours = feed(PackedLSTM([layer], None, "int8", device), x / inputs * 1000)
        for o, e in zip(ours, twin(([layer], None), "fp32", x / inputs * 1000)):
            np.testing.assert_allclose(o.numpy(), e, rtol=3e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_bits_depend_neither_on_threads_nor_calls_nor_company(device, precision):
    weights, x = make_weights(40, 97, 2, 300), make_frames(16, 35, 40)
    packed = PackedLSTM(*weights, precision, device)
    expected = feed(packed, x)
    for frames in (1, 2, 3, 16, 17):
        for o, e in zip(feed(packed, x, frames, threads=1 + frames % 4), expected):
            assert torch.equal(o, e)
    for stream in range(16):
        y, h, c = feed(packed, x[stream : stream + 1], 10, threads=2)
        assert torch.equal(y[0], expected[0][stream])
        assert torch.equal(h[:, 0], expected[1][:, stream]) and torch.equal(c[:, 0], expected[2][:, stream])
    y, _, _ = feed(packed, x[3:8], 4, threads=4)
    assert torch.equal(y, expected[0][3:8])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_without_output_layer_or_biases(device, precision):
    layers, output = make_weights(7, 97, 2, 5, bias=False)
    x = make_frames(2, 3, 7)
    for linear in (None, output):
        for o, e in zip(feed(PackedLSTM(layers, linear, precision, device), x), twin((layers, linear), precision, x)):
            np.testing.assert_allclose(o.numpy(), e, rtol=3e-6, atol=1e-4 if precision == "int8" else 5e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_streams_and_no_frames(precision):
    packed = PackedLSTM(*make_weights(7, 8, 2, 5), precision)
    h, c = torch.ones(2, 3, 8), torch.ones(2, 3, 8)
    assert packed.step(torch.zeros(3, 0, 7), h, c).shape == (3, 0, 5)
    assert (h == 1).all() and (c == 1).all()
    assert packed.step(torch.zeros(0, 4, 7), h[:, :0], c[:, :0]).shape == (0, 4, 5)


def test_frames_are_read_as_they_lie():
    packed = PackedLSTM(*make_weights(7, 8, 2, 5), "fp32")
    x = make_frames(3, 4, 7)
    expected = feed(packed, x)[0]
    apart = torch.zeros(4, 3, 14)
    apart[:, :, ::2] = x.transpose(0, 1)
    assert torch.equal(feed(packed, apart[:, :, ::2].transpose(0, 1))[0], expected)
    assert torch.equal(feed(packed, x.clone().requires_grad_())[0], expected)


def test_extreme_frames_stay_finite_or_are_named_at_the_next_step():
    for precision in PRECISIONS:
        packed = PackedLSTM(*make_weights(7, 8, 2, 5), precision)
        x = make_frames(3, 1, 7)
        x[1] *= 1e30
        state = zeros(packed, 3)
        y = packed.step(x, *state)
        assert y.isfinite().all() and all(tensor.isfinite().all() for tensor in state)
        x[1] = torch.tensor([3e38, -3e38]).repeat(4)[:7]  # products overflow
        y, *_ = feed(packed, x)
        alone = feed(packed, x[[0, 2]])[0]
        assert torch.equal(y[[0, 2]], alone)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_not_finite_is_refused_and_nothing_is_touched(precision, bad):
    packed = PackedLSTM(*make_weights(7, 9, 2, 5), precision)
    x, out = make_frames(4, 3, 7), torch.full((4, 3, 5), 9.0)
    state = zeros(packed, 4)
    packed.step(x, *state, out)
    before = [tensor.clone() for tensor in (*state, out)]
    broken = x.clone()
    broken[2, 1, 6] = bad
    with pytest.raises(ValueError, match="stream 2, frame 1 is not finite"):
        packed.step(broken, *state, out)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip((*state, out), before))
    for tensor in state:
        tensor[1, 3, 0] = bad
        with pytest.raises(ValueError, match="stream 3: its state in layer 1 is not finite; reset it"):
            packed.step(x, *state, out)
        tensor[1, 3, 0] = 0
    packed.step(x, *state, out)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bad_stream_on_a_gpu_is_marked_and_stays(device, precision):
    if device == "cpu":
        pytest.skip("the CPU refuses it")
    packed, x = PackedLSTM(*make_weights(7, 9, 2, 5), precision, device), make_frames(6, 3, 7)
    expected = feed(packed, x)
    state = zeros(packed, 6)
    for tensor in state:
        tensor[:, 4] = 0.5
    x[2, 1, 6], state[1][1, 3, 0] = math.nan, math.inf
    before = [tensor.clone() for tensor in state]
    y = packed.step(x.to(device), *state)
    assert y[[2, 3]].isnan().all() and y[[0, 1, 4, 5]].isfinite().all()
    for tensor, old, result in zip(state, before, expected[1:]):
        assert torch.equal(tensor[:, [2, 3]], old[:, [2, 3]])
        assert torch.equal(tensor[:, [0, 1, 5]].cpu(), result[:, [0, 1, 5]])


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"x": torch.zeros(2, 3, 6)}, ValueError, "features of a frame against inputs of the network: 6 is not 7"),
        ({"x": torch.zeros(3, 7)}, ValueError, "x has 2 dimensions, not 3"),
        ({"x": torch.zeros(4, 3, 7)}, ValueError, r"state h is \(2, 2, 9\), not \(2, 4, 9\)"),
        ({"x": torch.zeros(2, 3, 7).double()}, TypeError, r"x is torch.float64"),
        ({"x": np.zeros((2, 3, 7), np.float32)}, TypeError, "x is a ndarray"),
        ({"x": torch.zeros(2, 3, 7, device="meta")}, ValueError, "x is on meta"),
        ({"hidden": torch.zeros(2, 3, 9)}, ValueError, r"state h is \(2, 3, 9\)"),
        ({"cell": torch.zeros(1, 2, 9)}, ValueError, r"state c is \(1, 2, 9\)"),
        ({"cell": torch.zeros(2, 2, 8)}, ValueError, r"state c is \(2, 2, 8\)"),
        ({"cell": torch.zeros(2, 2, 9).half()}, TypeError, "state c is torch.float16"),
        ({"hidden": torch.zeros(2, 9, 2).transpose(1, 2)}, ValueError, "state h is not contiguous"),
        ({"out": torch.zeros(2, 3, 4)}, ValueError, r"out is \(2, 3, 4\), not \(2, 3, 5\)"),
        ({"out": torch.zeros(3, 2, 5)}, ValueError, r"out is \(3, 2, 5\)"),
        ({"out": torch.zeros(2, 15)}, ValueError, "dimensions of out: 2 is not 3"),
        ({"out": torch.zeros(2, 3, 5).bfloat16()}, TypeError, "out is torch.bfloat16"),
        ({"out": torch.zeros(2, 3, 10)[:, :, ::2]}, ValueError, "out is not contiguous"),
        ({"num_threads": 0}, ValueError, "num_threads is 0"),
    ],
)
def test_wrong_arguments_are_refused(change, error, message):
    packed = PackedLSTM(*make_weights(7, 9, 2, 5), "fp32")
    arguments = {"x": torch.zeros(2, 3, 7), "hidden": torch.zeros(2, 2, 9), "cell": torch.zeros(2, 2, 9), **change}
    with pytest.raises(error, match=message):
        packed.step(**arguments)


def test_overlaps_are_refused():
    packed = PackedLSTM(*make_weights(5, 5, 2, 5), "fp32")
    memory = torch.zeros(40)
    x, h, c = torch.zeros(2, 2, 5), torch.zeros(2, 2, 5), torch.zeros(2, 2, 5)
    for name, tensors in {"x": (x, h, c, x), "state h": (x, h, c, h), "state c": (x, h, c, c)}.items():
        with pytest.raises(ValueError, match=f"out overlaps {name}"):
            packed.step(*tensors)
    with pytest.raises(ValueError, match="state h overlaps state c"):
        packed.step(x, memory[:20].view(2, 2, 5), memory[19:39].view(2, 2, 5))


def test_wrong_weights_are_refused():
    layers, output = make_weights(7, 9, 2, 5)
    with pytest.raises(ConfigError, match="precision 'fp16': there are fp32, bf16, int8"):
        PackedLSTM(layers, output, "fp16")
    with pytest.raises(ValueError, match="no layers"):
        PackedLSTM([], output, "fp32")
    with pytest.raises(ValueError, match=r"layer 1: weight_ih is \(36, 7\), not \(36, 9\)"):
        PackedLSTM([layers[0], layers[0]], output, "fp32")
    with pytest.raises(ValueError, match="layer 0: bias_hh has 35 elements, not 36"):
        PackedLSTM([layers[0]._replace(bias_hh=torch.zeros(35))], output, "fp32")
    with pytest.raises(ValueError, match=r"output weight is \(5, 8\), not \(5, 9\)"):
        PackedLSTM(layers, output._replace(weight=torch.zeros(5, 8)), "fp32")
    layers[1].weight_hh[30, 2] = math.nan
    with pytest.raises(ValueError, match="layer 1: weight_hh is not finite in row 30"):
        PackedLSTM(layers, output, "int8")


def test_weights_are_copied():
    layers, output = make_weights(7, 9, 1, 5)
    packed, x = PackedLSTM(layers, output, "fp32"), make_frames(1, 2, 7)
    expected = feed(packed, x)[0]
    layers[0].weight_ih.zero_()
    assert torch.equal(feed(packed, x)[0], expected)
    assert packed.weight_bytes % 4 == 0
