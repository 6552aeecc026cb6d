"""The LSTM's recurrence: against the slow twin, gradients against float64, and whatever the input is."""

import math

import numpy as np
import pytest
import torch

from pyasr import _core
from pyasr.ops import reference
from pyasr.ops.lstm import lstm_recurrence

UNITS = (1, 7, 16, 33, 97)


def make_inputs(frames, batch, units, directions, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return scale * torch.randn(*shape, generator=generator)

    projected = [draw(frames, batch, 4 * units) for _ in range(directions)]
    weights = [draw(4 * units, units) / math.sqrt(units) for _ in range(directions)]
    return projected, weights, draw(directions, batch, units), draw(directions, batch, units)


def drawn_lengths(frames, batch):
    return torch.tensor([(frames * (7 * n % 10) + 8) // 9 for n in range(batch)]).clamp(max=frames)


def in_torch(projected, weights, h_0, c_0, lengths):
    """The same of plain torch operators, in the dtype of the inputs: differentiable."""
    outputs, states = [], []
    for d, (gates, weight) in enumerate(zip(projected, weights)):
        h, c = h_0[d], c_0[d]
        times, output = range(len(gates)), [None] * len(gates)
        for t in times if d == 0 else reversed(times):
            i, f, g, o = (gates[t] + h @ weight.t()).chunk(4, dim=1)
            inside = (t < lengths)[:, None]
            c = torch.where(inside, f.sigmoid() * c + i.sigmoid() * g.tanh(), c)
            h = torch.where(inside, o.sigmoid() * c.tanh(), h)
            output[t] = torch.where(inside, h, 0.0)
        outputs.append(torch.stack(output))
        states.append((h, c))
    return torch.cat(outputs, dim=2), *(torch.stack(s) for s in zip(*states))


def gradients(run, inputs, lengths, dtype):
    """Results and the gradients of a random weighting of them, as one list."""
    projected, weights, h_0, c_0 = inputs
    leaves = [x.detach().to(dtype).requires_grad_() for x in (*projected, *weights, h_0, c_0)]
    d = len(projected)
    results = run(leaves[:d], leaves[d : 2 * d], *leaves[2 * d :], lengths)
    generator = torch.Generator().manual_seed(9)
    sum((r * torch.randn(r.shape, generator=generator)).sum() for r in results).backward()
    return [r.detach() for r in results] + [leaf.grad for leaf in leaves]


def assert_within_budget(ours, theirs, exact):
    """At most twice the error of torch's float32. Of few numbers torch's error is luck: besides it a few roundings, and
    as many as the sigmoid and tanh of a cell may be off (csrc/lstm/activation.h) where there are very few."""
    for a, b, e in zip(ours, theirs, exact, strict=True):
        if e.numel():
            roundings = 10 if e.numel() < 64 else 4
            limit = 2 * (b - e).abs().max() + roundings * 2.0**-24 * e.abs().max()
            assert (a - e).abs().max() <= limit, (tuple(e.shape), (a - e).abs().max(), limit)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("units", UNITS)
def test_results_are_the_twins(units, directions):
    for frames, batch in ((9, 3), (1, 1), (5, 13)):
        lengths = drawn_lengths(frames, batch)
        inputs = make_inputs(frames, batch, units, directions)
        twin = reference.lstm_recurrence(
            [p.numpy() for p in inputs[0]],
            [w.numpy() for w in inputs[1]],
            *(s.numpy() for s in inputs[2:]),
            lengths.tolist(),
        )
        exact = in_torch(*([x.double() for x in xs] for xs in inputs[:2]), *(s.double() for s in inputs[2:]), lengths)
        for a, b, c in zip(lstm_recurrence(*inputs, lengths), twin, exact):
            np.testing.assert_allclose(c.numpy(), b, atol=1e-12)
            np.testing.assert_allclose(a.numpy(), b, atol=2e-6)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("units", UNITS)
def test_results_and_gradients_are_within_the_error_budget(units, directions):
    for frames, batch in ((20, 1), (12, 4), (7, 9)):
        for lengths in (torch.full((batch,), frames), drawn_lengths(frames, batch)):
            inputs = make_inputs(frames, batch, units, directions)
            ours = gradients(lstm_recurrence, inputs, lengths, torch.float32)
            theirs = gradients(in_torch, inputs, lengths, torch.float32)
            assert_within_budget(ours, theirs, gradients(in_torch, inputs, lengths, torch.float64))


def test_wide_layer():
    inputs, lengths = make_inputs(3, 2, 1025, 1), torch.tensor([3, 2])
    ours = gradients(lstm_recurrence, inputs, lengths, torch.float32)
    theirs = gradients(in_torch, inputs, lengths, torch.float32)
    assert_within_budget(ours, theirs, gradients(in_torch, inputs, lengths, torch.float64))


def test_gradients_are_the_slopes_along_random_directions():
    inputs, lengths = make_inputs(6, 5, 11, 2), drawn_lengths(6, 5)
    flat = [*inputs[0], *inputs[1], *inputs[2:]]
    found = gradients(lstm_recurrence, inputs, lengths, torch.float32)[3:]

    def value(moved):
        results = in_torch(moved[:2], moved[2:4], *moved[4:], lengths)
        generator = torch.Generator().manual_seed(9)
        return sum((r * torch.randn(r.shape, generator=generator)).sum() for r in results).item()

    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        steps = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in flat]
        slope = (
            value([x.double() + 1e-5 * s for x, s in zip(flat, steps)])
            - value([x.double() - 1e-5 * s for x, s in zip(flat, steps)])
        ) / 2e-5
        terms = [(g.double() * s).sum().item() for g, s in zip(found, steps)]
        assert sum(terms) == pytest.approx(slope, rel=1e-4, abs=1e-4 * sum(map(abs, terms)))


def test_threads_and_neighbours_change_no_bit():
    lengths = torch.tensor([6, 2, 5, 0, 6, 1, 3])
    inputs = make_inputs(6, 7, 200, 2)
    number = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            results.append(lstm_recurrence(*inputs, lengths))
            grad = [p.clone().requires_grad_() for p in inputs[0]]
            output = lstm_recurrence(grad, *inputs[1:], lengths)[0]
            results[-1] += tuple(torch.autograd.grad(output.square().sum(), grad))
    finally:
        torch.set_num_threads(number)
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others))
    alone = lstm_recurrence(
        [p[:, 2:3].contiguous() for p in inputs[0]],
        inputs[1],
        *(s[:, 2:3].contiguous() for s in inputs[2:]),
        lengths[2:3],
    )
    assert torch.equal(alone[0], results[0][0][:, 2:3])


def test_nothing_behind_the_ends_matters():
    lengths = torch.tensor([3, 0, 5])
    inputs = make_inputs(5, 3, 9, 2)
    clean = gradients(lstm_recurrence, inputs, lengths, torch.float32)
    behind = torch.arange(5)[:, None] >= lengths
    for p in inputs[0]:
        p[behind] = math.nan
    dirty = gradients(lstm_recurrence, inputs, lengths, torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty))
    assert not clean[0][behind].any() and not clean[3][behind].any() and not clean[4][behind].any()
    assert torch.equal(clean[1][:, 1], inputs[2][:, 1]) and torch.equal(clean[2][:, 1], inputs[3][:, 1])


@pytest.mark.parametrize("frames, batch", [(0, 3), (4, 0), (0, 0)])
def test_empty(frames, batch):
    inputs = make_inputs(frames, batch, 5, 2)
    results = gradients(lstm_recurrence, inputs, torch.full((batch,), frames), torch.float32)
    assert results[0].shape == (frames, batch, 10)
    assert torch.equal(results[1], inputs[2]) and not results[5].any()


def test_nonlinearities_over_their_range():
    """One unit, no recurrence: i = f = o = 1 to rounding where only g is looked at, and so on."""
    x = torch.cat([torch.linspace(-20, 20, 4001), torch.logspace(-30, 2, 200), -torch.logspace(-30, 2, 200)])
    large, zero = torch.full_like(x, 50.0), torch.zeros(1, len(x), 1)
    weight, lengths = [torch.zeros(4, 1)], torch.ones(len(x), dtype=torch.int64)

    def cell(i, f, g, c_0):
        gates = torch.stack([i, f, g, large], dim=1)[None]
        return lstm_recurrence([gates.contiguous()], weight, zero, c_0.reshape(1, -1, 1), lengths)[2].flatten()

    tanh = cell(large, large, x, torch.zeros_like(x)).double()
    assert ((tanh - x.double().tanh()).abs() <= 3e-7 * x.double().tanh().abs()).all()
    sigmoid = cell(large, x, torch.zeros_like(x), torch.ones_like(x)).double()
    error = (sigmoid - x.double().sigmoid()).abs()
    assert (error <= 2.5e-7 * x.double().sigmoid() + 2e-38).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinities_go_where_arithmetic_takes_them(bad):
    inputs = make_inputs(4, 3, 9, 1)
    for place in range(0, 36, 9):
        changed = [inputs[0][0].clone()]
        changed[0][1, 1, place] = bad
        ours = lstm_recurrence(changed, *inputs[1:], torch.full((3,), 4))[0]
        torch.testing.assert_close(ours, in_torch(changed, *inputs[1:], torch.full((3,), 4))[0], equal_nan=True)


def test_bad_input_is_refused():
    (p,), (w,), h_0, c_0 = make_inputs(4, 3, 5, 1)
    lengths = torch.tensor([4, 4, 2])
    with pytest.raises(TypeError, match=r"projected\[0\] is torch.float64, not torch.float32"):
        lstm_recurrence([p.double()], [w], h_0, c_0, lengths)
    with pytest.raises(TypeError, match=r"lengths is torch.int32, not torch.int64"):
        lstm_recurrence([p], [w], h_0, c_0, lengths.int())
    with pytest.raises(ValueError, match=r"weight_hh\[0\] is on meta"):
        lstm_recurrence([p], [w.to("meta")], h_0, c_0, lengths)
    with pytest.raises(ValueError, match="2 projected inputs and 1 recurrent weights"):
        lstm_recurrence([p, p], [w], h_0, c_0, lengths)
    with pytest.raises(ValueError, match="not 1 or 2"):
        lstm_recurrence([p] * 3, [w] * 3, h_0, c_0, lengths)
    with pytest.raises(ValueError, match="not 1 or 2"):
        lstm_recurrence([], [], h_0, c_0, lengths)
    with pytest.raises(ValueError, match=r"size of dimension 2 of projected: 16 is not 20"):
        lstm_recurrence([p[:, :, :16].contiguous()], [w], h_0, c_0, lengths)
    with pytest.raises(ValueError, match=r"size of dimension 1 of first_cell: 2 is not 3"):
        lstm_recurrence([p], [w], h_0, c_0[:, :2].contiguous(), lengths)
    with pytest.raises(ValueError, match=r"number of lengths: 2 is not 3"):
        lstm_recurrence([p], [w], h_0, c_0, lengths[:2])
    for length in (5, -1):
        with pytest.raises(ValueError, match=rf"length of sequence 1 is {length}, outside \[0, 4\]"):
            lstm_recurrence([p], [w], h_0, c_0, torch.tensor([4, length, 2]))
    with pytest.raises(ValueError, match="weight_hh has no units"):
        lstm_recurrence([p[:, :, :0]], [w[:0, :0]], h_0[:, :, :0], c_0[:, :, :0], lengths)


def test_strides_do_not_matter():
    (p,), weights, h_0, c_0 = make_inputs(4, 3, 5, 1)
    lengths = torch.full((3,), 4)
    across = p.transpose(0, 1).contiguous().transpose(0, 1)
    expected = lstm_recurrence([p], weights, h_0, c_0, lengths)[0]
    assert torch.equal(lstm_recurrence([across], weights, h_0, c_0, lengths)[0], expected)


def test_operators_are_what_torch_compile_takes_them_for():
    inputs = make_inputs(3, 2, 4, 2)
    leaves = [[x.requires_grad_() for x in xs] for xs in inputs[:2]]
    # Whole lengths: gates and cells that are kept for the backward pass are undefined behind the ends.
    arguments = (*leaves, *(s.requires_grad_() for s in inputs[2:]), torch.tensor([3, 3]), True, False)
    torch.library.opcheck(torch.ops.pyasr.lstm_recurrence, arguments)


def test_the_module_refuses_what_would_be_converted():
    with pytest.raises(TypeError):
        _core.lstm_forward([np.zeros((1, 1, 4))], *[None] * 9, 1)
