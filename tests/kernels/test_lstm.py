"""The LSTM's recurrence: against the slow twin, gradients against float64, and whatever the input is."""

import math

import numpy as np
import pytest
import torch

from pyasr import _core
from pyasr.nn import LSTM
from pyasr.ops import cuda, lstm_cuda, lstm_wavefront, reference
from pyasr.ops.lstm import lstm_recurrence

on_gpu = pytest.mark.skipif(not (cuda.is_built() and torch.cuda.is_available()), reason="no GPU, or built without CUDA")

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


def on(device, recurrence=lstm_recurrence, state_dtype=torch.float32):
    """The recurrence there, of tensors that are here, and its results here."""

    def run(projected, weights, h_0, c_0, lengths):
        there = [[x.to(device) for x in xs] for xs in (projected, weights)]
        results = recurrence(*there, h_0.to(device), c_0.to(device, state_dtype), lengths.to(device))
        return tuple(r.cpu() for r in results)

    return run


def in_torch(projected, weights, h_0, c_0, lengths):
    """The same of plain torch operators, in the dtype of the inputs: differentiable."""
    outputs, states = [], []
    for d, (gates, weight) in enumerate(zip(projected, weights)):
        h, c = h_0[d], c_0[d]
        times, output = range(len(gates)), [None] * len(gates)
        for t in times if d == 0 else reversed(times):
            i, f, g, o = (gates[t] + h @ weight.t()).chunk(4, dim=1)
            inside = (t < lengths.to(gates.device))[:, None]
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
    return [r.detach().to(dtype) for r in results] + [leaf.grad for leaf in leaves]


def assert_within_budget(ours, theirs, exact):
    """At most twice the error of torch's float32. Of few numbers torch's error is luck: besides it a few roundings, and
    as many as the sigmoids and tanhs of the cells may be off (csrc/lstm/activation.h) where there are very few."""
    for a, b, e in zip(ours, theirs, exact, strict=True):
        if e.numel():
            roundings = 20 if e.numel() < 64 else 4
            limit = 2 * (b - e).abs().max() + roundings * 2.0**-24 * e.abs().max()
            assert (a - e).abs().max() <= limit, (tuple(e.shape), (a - e).abs().max(), limit)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("units", UNITS)
def test_results_are_the_twins(device, units, directions):
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
        for a, b, c in zip(on(device)(*inputs, lengths), twin, exact):
            np.testing.assert_allclose(c.numpy(), b, atol=1e-12)
            np.testing.assert_allclose(a.numpy(), b, atol=2e-6)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("units", UNITS)
def test_results_and_gradients_are_within_the_error_budget(device, units, directions):
    for frames, batch in ((20, 1), (12, 4), (7, 9)):
        for lengths in (torch.full((batch,), frames), drawn_lengths(frames, batch)):
            inputs = make_inputs(frames, batch, units, directions)
            ours = gradients(on(device), inputs, lengths, torch.float32)
            theirs = gradients(in_torch, inputs, lengths, torch.float32)
            assert_within_budget(ours, theirs, gradients(in_torch, inputs, lengths, torch.float64))


def test_wide_layer(device):
    inputs, lengths = make_inputs(3, 2, 1025, 1), torch.tensor([3, 2])
    ours = gradients(on(device), inputs, lengths, torch.float32)
    theirs = gradients(in_torch, inputs, lengths, torch.float32)
    assert_within_budget(ours, theirs, gradients(in_torch, inputs, lengths, torch.float64))


def test_gradients_are_the_slopes_along_random_directions(device):
    inputs, lengths = make_inputs(6, 5, 11, 2), drawn_lengths(6, 5)
    flat = [*inputs[0], *inputs[1], *inputs[2:]]
    found = gradients(on(device), inputs, lengths, torch.float32)[3:]

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


def test_nothing_behind_the_ends_matters(device):
    lengths = torch.tensor([3, 0, 5])
    inputs = make_inputs(5, 3, 9, 2)
    clean = gradients(on(device), inputs, lengths, torch.float32)
    behind = torch.arange(5)[:, None] >= lengths
    for p in inputs[0]:
        p[behind] = math.nan
    dirty = gradients(on(device), inputs, lengths, torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty))
    assert not clean[0][behind].any() and not clean[3][behind].any() and not clean[4][behind].any()
    assert torch.equal(clean[1][:, 1], inputs[2][:, 1]) and torch.equal(clean[2][:, 1], inputs[3][:, 1])


@pytest.mark.parametrize("frames, batch", [(0, 3), (4, 0), (0, 0)])
def test_empty(device, frames, batch):
    inputs = make_inputs(frames, batch, 5, 2)
    results = gradients(on(device), inputs, torch.full((batch,), frames), torch.float32)
    assert results[0].shape == (frames, batch, 10)
    assert torch.equal(results[1], inputs[2]) and not results[5].any()


def test_nonlinearities_over_their_range(device):
    """One unit, no recurrence: i = f = o = 1 to rounding where only g is looked at, and so on."""
    x = torch.cat([torch.linspace(-20, 20, 4001), torch.logspace(-30, 2, 200), -torch.logspace(-30, 2, 200)])
    large, zero = torch.full_like(x, 50.0), torch.zeros(1, len(x), 1)
    weight, lengths = [torch.zeros(4, 1)], torch.ones(len(x), dtype=torch.int64)

    def cell(i, f, g, c_0):
        gates = torch.stack([i, f, g, large], dim=1)[None]
        return on(device)([gates.contiguous()], weight, zero, c_0.reshape(1, -1, 1), lengths)[2].flatten()

    tanh = cell(large, large, x, torch.zeros_like(x)).double()
    assert ((tanh - x.double().tanh()).abs() <= 3e-7 * x.double().tanh().abs()).all()
    sigmoid = cell(large, x, torch.zeros_like(x), torch.ones_like(x)).double()
    error = (sigmoid - x.double().sigmoid()).abs()
    assert (error <= 2.5e-7 * x.double().sigmoid() + 2e-38).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinities_go_where_arithmetic_takes_them(device, bad):
    inputs = make_inputs(4, 3, 9, 1)
    for place in range(0, 36, 9):
        changed = [inputs[0][0].clone()]
        changed[0][1, 1, place] = bad
        ours = on(device)(changed, *inputs[1:], torch.full((3,), 4))[0]
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


def test_strides_do_not_matter(device):
    (p,), weights, h_0, c_0 = make_inputs(4, 3, 5, 1)
    lengths = torch.full((3,), 4)
    across = p.transpose(0, 1).contiguous().transpose(0, 1)
    expected = on(device)([p], weights, h_0, c_0, lengths)[0]
    assert torch.equal(on(device)([across], weights, h_0, c_0, lengths)[0], expected)


def test_operators_are_what_torch_compile_takes_them_for(device):
    inputs = make_inputs(3, 2, 4, 2)
    leaves = [[x.to(device).requires_grad_() for x in xs] for xs in inputs[:2]]
    # Whole lengths: gates and cells that are kept for the backward pass are undefined behind the ends.
    states = (s.to(device).requires_grad_() for s in inputs[2:])
    arguments = (*leaves, *states, torch.tensor([3, 3], device=device), True, False)
    torch.library.opcheck(torch.ops.pyasr.lstm_recurrence, arguments)


BF16_SHAPES = [
    (64, 4, 3, 2),
    (128, 6, 20, 1),
    (320, 5, 70, 2),
    (768, 4, 300, 1),
    (8, 3, 5, 1),
    (16, 9, 3, 2),
    (40, 12, 33, 2),
    (96, 7, 70, 1),
    (264, 5, 17, 2),
    (768, 5, 64, 1),
    (33, 4, 5, 2),
]


@on_gpu
@pytest.mark.parametrize("units, frames, batch, directions", BF16_SHAPES)
@pytest.mark.parametrize("whole", [True, False])
def test_bfloat16_on_a_gpu_errs_at_most_twice_as_far_as_torch(units, frames, batch, directions, whole):
    """In one kernel, and step by step where units are no multiple of 8. Torch's cells are bfloat16 here."""
    inputs = [[x.bfloat16() for x in xs] for xs in make_inputs(frames, batch, units, directions)]
    inputs = [*inputs[:2], *(torch.stack(xs) for xs in inputs[2:])]
    lengths = torch.full((batch,), frames) if whole else drawn_lengths(frames, batch)
    fits = cuda.kernels.lstm_plan(0, (frames, batch, units, directions), False)[0] > 0
    assert fits == (units % 8 == 0)
    ours = gradients(on("cuda"), inputs, lengths, torch.bfloat16)
    theirs = gradients(on("cuda", in_torch, torch.bfloat16), inputs, lengths, torch.bfloat16)
    exact = gradients(in_torch, inputs, lengths, torch.float64)
    for a, b, e in zip(ours, theirs, exact, strict=True):
        limit = 2 * (b - e).abs().max() + 2.0**-8 * e.abs().max()
        assert (a - e).abs().max() <= limit, (tuple(e.shape), (a - e).abs().max(), limit)


def has_wgmma():
    return torch.cuda.get_device_capability() == (9, 0)


def run_on_gpu(way, tile, inputs, lengths):
    """Results, what is kept for the backward pass, and gradients; what is not written is NaN."""
    projected, weights, h_0, c_0 = inputs
    (frames, batch, _), units, directions = projected[0].shape, weights[0].shape[1], len(weights)
    shapes = [(frames, batch, directions * units), *[(directions, batch, units)] * 2]
    shapes += [(directions, frames, batch, 4 * units), (directions, frames, batch, units)]
    kinds = (torch.bfloat16, torch.bfloat16, torch.float32, torch.bfloat16, torch.float32)
    results = [torch.full(s, torch.nan, dtype=k, device="cuda") for s, k in zip(shapes, kinds)]
    lstm_cuda.forward(projected, weights, h_0, c_0, lengths, results, way, tile)
    output, _, c_n, gates, cells = results
    d_projected, d_c_0 = torch.full_like(gates, torch.nan), torch.full_like(c_0, torch.nan)
    lstm_cuda.backward(output, h_0, c_n, weights, c_0, lengths, gates, cells, d_projected, d_c_0, way, tile)
    inside = (torch.arange(frames, device="cuda")[:, None] < lengths)[None, :, :, None]
    results[3:] = [torch.where(inside, x, 0) for x in results[3:]]
    return [*results, d_projected, d_c_0]


@on_gpu
@pytest.mark.parametrize("units, frames, batch, directions", [s for s in BF16_SHAPES if s[0] % 8 == 0])
def test_one_kernel_does_what_steps_do(units, frames, batch, directions):
    there = [[x.cuda().bfloat16() for x in xs] for xs in make_inputs(frames, batch, units, directions)]
    inputs, lengths = [*there[:2], torch.stack(there[2]), torch.stack(there[3]).float()], drawn_lengths(frames, batch)
    lengths = lengths.cuda()
    ways = [("persistent", 0)]
    for tile in (16, 32, 64):
        sizes = (frames, batch, units, directions)
        if all(cuda.kernels.lstm_hopper_plan(0, sizes, directions, backward, tile)[0] for backward in (False, True)):
            ways.append(("hopper", tile))
    assert len(ways) == (4 if has_wgmma() and units % 64 == 0 else 1)
    steps = run_on_gpu("steps", 0, inputs, lengths)
    for way in ways:
        for one, again, by_steps in zip(*(run_on_gpu(*way, inputs, lengths) for _ in range(2)), steps):
            assert torch.equal(one, again), way
            atol = 0.02 * by_steps.abs().max().item()
            torch.testing.assert_close(one.float(), by_steps.float(), rtol=0.02, atol=atol, msg=str(way))


def test_a_wavefront_computes_every_frame_once_and_after_what_it_follows_from():
    for layers, frames, stretch in ((1, 5, 2), (3, 1, 4), (5, 32, 6), (4, 7, 7), (2, 9, 1)):
        done = set()
        for at_once in lstm_wavefront._schedule(layers, frames, stretch):
            new = {(layer, t) for layer, first, count in at_once for t in range(first, first + count)}
            assert not new & done and len({layer for layer, _, _ in at_once}) == len(at_once)
            for layer, first, count in at_once:
                assert first == 0 or (layer, first - 1) in done
                assert layer == 0 or all((layer - 1, t) in done for t in range(first, first + count))
            done |= new
        assert done == {(layer, t) for layer in range(layers) for t in range(frames)}


def test_a_wavefront_refuses_what_its_kernels_would_misread():
    half, batch, units = torch.bfloat16, 3, 8
    weights = [[torch.zeros(32, 5, dtype=half)], [torch.zeros(32, 8, dtype=half)], [torch.zeros(32, dtype=half)]]
    frames, h_0, c_0 = (torch.zeros(*s) for s in ((4, batch, 5), (1, batch, units), (1, batch, units)))
    good = [frames.to(half), *weights, h_0.to(half), c_0, torch.full((batch,), 4)]
    for place, wrong, error, text in (
        (0, frames, TypeError, r"frames is torch\.float32"),
        (5, c_0.to(half), TypeError, r"c_0 is torch\.bfloat16"),
        (4, h_0.to(half)[:, :2], ValueError, r"h_0 has the shape \(1, 2, 8\), not \(1, 3, 8\)"),
        (6, torch.full((batch,), 4, dtype=torch.int32), TypeError, r"lengths is torch\.int32"),
        (3, [torch.zeros(8, dtype=half)], ValueError, r"bias\[0\] has the shape \(8,\), not \(32,\)"),
    ):
        with pytest.raises(error, match=text):
            lstm_wavefront.lstm_wavefront(*[wrong if i == place else x for i, x in enumerate(good)])


@on_gpu
@pytest.mark.parametrize(
    "units, layers, frames, batch", [(64, 3, 50, 5), (128, 9, 7, 20), (768, 5, 21, 70), (768, 2, 1, 1)]
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_wavefront_errs_at_most_twice_as_far_as_torch(units, layers, frames, batch, whole):
    torch.manual_seed(0)
    if not has_wgmma():
        pytest.skip("a GPU without wgmma")
    exact = torch.nn.LSTM(24, units, layers, batch_first=True).bfloat16().double()
    ours = LSTM(24, units, layers, backend="native").to("cuda", torch.bfloat16)
    theirs = torch.nn.LSTM(24, units, layers, batch_first=True).to("cuda", torch.bfloat16)
    for module in (ours, theirs):
        module.load_state_dict(exact.state_dict())
    x = torch.randn(batch, frames, 24).bfloat16().double()
    state = tuple(torch.randn(layers, batch, units).bfloat16().double() for _ in range(2))
    lengths = torch.full((batch,), frames) if whole else drawn_lengths(frames, batch).clamp(min=1)
    weighting = torch.randn(frames, batch, units).double() * (torch.arange(frames)[:, None] < lengths)[:, :, None]
    found = []
    for module in (ours, theirs, exact):
        like = module.weight_hh_l0
        leaves = [s.to(like).requires_grad_() for s in (x, *state)]
        if module is ours:
            assert ours._layers_at_once(leaves[0]) > 1
            output, (h_n, c_n) = ours._stack(leaves[0].transpose(0, 1), lengths.cuda(), tuple(leaves[1:]))
        else:
            packed = torch.nn.utils.rnn.pack_padded_sequence(leaves[0], lengths, True, False)
            output, (h_n, c_n) = module(packed, tuple(leaves[1:]))
            output = torch.nn.utils.rnn.pad_packed_sequence(output, total_length=frames)[0]
        results = [(output.double() * weighting.to(output.device)), h_n, c_n]
        sum(r.double().square().sum() for r in results).backward()
        gradients = [p.grad for p in (*leaves, *module.parameters())]
        found.append([r.detach().double().cpu() for r in (*results, *gradients)])
    for a, b, e in zip(*found, strict=True):
        limit = 2 * (b - e).abs().max() + 2.0**-8 * e.abs().max()
        assert (a - e).abs().max() <= limit, (tuple(e.shape), (a - e).abs().max(), limit)


@on_gpu
@pytest.mark.parametrize("layers, bidirectional", [(3, False), (2, True)])
def test_autocast_on_a_gpu_computes_in_bfloat16_where_wgmma_is(layers, bidirectional):
    torch.manual_seed(0)
    lstm = LSTM(24, 64, layers, bidirectional).cuda()
    if not has_wgmma():
        pytest.skip("a GPU without wgmma")
    frames, lengths = torch.randn(6, 20, 24, device="cuda"), torch.tensor([20, 3, 7, 20, 1, 13])
    found = []
    for cast in (True, False):
        lstm.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=cast):
            output, (h_n, c_n) = lstm(frames)
            padded = lstm.padded(frames, lengths)
        assert output.dtype == h_n.dtype == (torch.bfloat16 if cast else torch.float32)
        padded = torch.where((torch.arange(20) < lengths[:, None])[:, :, None].cuda(), padded.float(), 0)
        (output.float().square().sum() + padded.square().sum()).backward()
        found.append([x.detach().float() for x in (output, padded, h_n, c_n, *(p.grad for p in lstm.parameters()))])
    for half, single in zip(*found):
        assert (half - single).abs().max() <= 0.02 * single.abs().max()
    lstm.bfloat16()
    with torch.no_grad():
        output = lstm(frames.bfloat16())[0]
        lstm.backend = "native"
        assert torch.equal(output, lstm(frames.bfloat16())[0])


@on_gpu
def test_torch_compile_takes_a_wavefront_whole():
    torch.manual_seed(0)
    lstm = LSTM(24, 64, 3, backend="native").to("cuda", torch.bfloat16)
    if not has_wgmma():
        pytest.skip("a GPU without wgmma")
    frames = torch.randn(6, 20, 24, device="cuda", dtype=torch.bfloat16)
    with torch._dynamo.config.patch(allow_rnn=True):
        output = torch.compile(lstm, backend="aot_eager", fullgraph=True)(frames)[0]
    assert torch.equal(output, lstm(frames)[0])


@on_gpu
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
def test_the_module_on_a_gpu_is_torchs(dtype, tolerance, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    ours = LSTM(24, 64, 2, True, backend="native").to("cuda", dtype)
    theirs = torch.nn.LSTM(24, 64, 2, batch_first=True, bidirectional=True).to("cuda", dtype)
    theirs.load_state_dict(ours.state_dict())
    frames, lengths = torch.randn(6, 20, 24, device="cuda", dtype=dtype), torch.tensor([20, 3, 7, 20, 1, 13])
    padded = ours.padded(frames, lengths)
    packed = torch.nn.utils.rnn.pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    expected = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]
    for results, module in ((padded, ours), (expected, theirs)):
        results.float().square().sum().backward()
        assert results.dtype == dtype and all(p.grad.isfinite().all() for p in module.parameters())
    torch.testing.assert_close(padded, expected, rtol=tolerance, atol=tolerance)
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=tolerance, atol=tolerance * b.grad.abs().max().item())


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_training_step_on_a_gpu_replays_as_a_graph(dtype):
    torch.manual_seed(0)
    lstm = LSTM(24, 64, 1, backend="native").to("cuda", dtype)
    frames = torch.randn(6, 20, 24, device="cuda", dtype=dtype)

    def step():
        loss = lstm(frames)[0].float().square().sum()
        return [loss, *torch.autograd.grad(loss, list(lstm.parameters()))]

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    frames.copy_(torch.randn_like(frames))
    graph.replay()
    for a, b in zip(results, step()):
        torch.testing.assert_close(a, b, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-2)


def test_the_module_refuses_what_would_be_converted():
    with pytest.raises(TypeError):
        _core.lstm_forward([np.zeros((1, 1, 4))], *[None] * 9, 1)
