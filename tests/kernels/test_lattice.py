"""Lattice forward-backward: against the enumeration of all paths, along random directions, and on damaged lattices."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from pyasr.base.errors import DataError
from pyasr.ops import reference
from pyasr.ops.lattice import Lattice, lattice_forward_backward
from pyasr.ops.lattice_cuda import LatticeBatch

NUM_SENONES = 7


def random_lattice(rng, num_frames, width=3, fan_out=2, without_frame=0.0, num_senones=NUM_SENONES, spread=1.0):
    """Each state has an arc in and one out, arcs may come twice; some states have an arc to one of the same time."""
    widths = [1, *rng.integers(1, width + 1, num_frames)]
    first = np.cumsum([0, *widths])
    rows = []  # source, destination, senone, time

    def add(src, dst, time):
        rows.append((src, dst, rng.integers(num_senones), time))

    for t in range(num_frames):
        here, there = np.arange(first[t], first[t + 1]), np.arange(first[t + 1], first[t + 2])
        for src in here:
            for dst in rng.choice(there, rng.integers(1, fan_out + 1)):
                add(src, dst, t)
        for dst in there:
            add(rng.choice(here), dst, t)
    for t in range(num_frames + 1):
        for src in range(first[t], first[t + 1] - 1):
            if rng.random() < without_frame:
                rows.append((src, src + 1, -1, t))
    src, dst, senone, time = np.array(sorted(rows, key=lambda row: row[0]), np.int32).T.copy()
    final_cost = np.full(first[-1], np.inf, np.float32)
    final_cost[first[-2] :] = rng.normal(size=widths[-1])
    cost = rng.normal(size=len(src)) * spread
    return Lattice(src, dst, senone, time, cost.astype(np.float32), final_cost)


def random_batch(seed, frames, loglike_spread=1.0, **options):
    rng = np.random.default_rng(seed)
    lattices = [random_lattice(rng, num_frames, **options) for num_frames in frames]
    num_senones = options.get("num_senones", NUM_SENONES)
    loglikes = [(rng.normal(size=(n, num_senones)) * loglike_spread).astype(np.float32) for n in frames]
    values = [rng.normal(size=len(lattice.arc_src)).astype(np.float32) for lattice in lattices]
    return lattices, loglikes, values


def forward_backward_on(device, lattices, loglikes, values, scale):
    """`lattice_forward_backward` there, and its results here, what it raises too."""
    if device == "cpu":
        return lattice_forward_backward(lattices, loglikes, values, scale)
    frames, senones = max(map(len, loglikes)), loglikes[0].shape[1]
    padded = torch.full((len(lattices), frames, senones), math.nan, device=device)
    for row, matrix in zip(padded, loglikes):
        row[: len(matrix)] = torch.from_numpy(matrix)
    batch = LatticeBatch(lattices, frames, senones, padded.device)
    results = [batch.forward_backward(padded, batch.send_values(values), scale) for _ in range(2)]
    assert torch.equal(results[0].gradient.nan_to_num(9), results[1].gradient.nan_to_num(9))
    split = results[0].split()
    out = torch.ones_like(padded)
    results[0].add_gradient_to(out, 2.0)
    for sums, result, matrix in zip(out.cpu().numpy(), split, loglikes):
        np.testing.assert_allclose(sums[: len(matrix)], 1 + 2 * dense(result, matrix.shape), atol=1e-6)
    return split


def assert_close(ours, theirs, tolerance=1e-10):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        np.testing.assert_array_equal(a.frame, b.frame)
        np.testing.assert_array_equal(a.senone, b.senone)
        for name in ("log_total", "expected", "arc_posteriors", "gradient"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=tolerance, atol=tolerance)


def assert_identical(ours, theirs):
    for a, b in zip(ours, theirs):
        for field in dataclasses.fields(a):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def dense(result, shape):
    out = np.zeros(shape)
    result.add_gradient_to(out, 1.0)
    return out


@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("without_frame", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_enumeration_of_all_paths(device, seed, without_frame, spread):
    batch = random_batch(seed, [1, 2, 3, 5, 7], spread, without_frame=without_frame, spread=spread)
    ours, twin = forward_backward_on(device, *batch, 0.7), reference.lattice_forward_backward(*batch, 0.7)
    assert_close(ours, twin)
    assert all(len(reference.lattice_paths(lattice)) > 1 for lattice in batch[0][2:])
    for result, lattice, loglikes in zip(ours, *batch[:2]):
        assert result.arc_posteriors.dtype == result.gradient.dtype == np.float64
        assert result.frame.dtype == result.senone.dtype == np.int32
        takes_frame = lattice.arc_senone >= 0
        sums = np.bincount(lattice.arc_time[takes_frame], result.arc_posteriors[takes_frame], len(loglikes))
        np.testing.assert_allclose(sums, 1, atol=1e-13)
        np.testing.assert_allclose(dense(result, loglikes.shape).sum(1), 0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_gradient_along_random_directions(seed):
    """Central differences of the twin and of the kernel, in steps that float32 log-likelihoods hold exactly."""
    lattices, loglikes, values = random_batch(seed, [6], without_frame=0.3)
    rng = np.random.default_rng(seed)
    scale, step = 0.7, 2.0**-12
    start = np.round(loglikes[0] * 2**12) / 2**12
    (result,) = lattice_forward_backward(lattices, [start.astype(np.float32)], values, scale)
    gradient = scale * dense(result, start.shape)
    for _ in range(5):
        direction = rng.integers(-2, 3, start.shape)
        for function in (lattice_forward_backward, reference.lattice_forward_backward):
            up, down = (
                function(lattices, [(start + sign * step * direction).astype(np.float32)], values, scale)[0].expected
                for sign in (1, -1)
            )
            assert abs((up - down) / (2 * step) - (gradient * direction).sum()) < 1e-5


def test_gradient_of_the_log_total_is_the_posterior():
    (lattice,), (loglikes,), values = random_batch(0, [97], num_senones=97, width=7, fan_out=3)
    direction = np.random.default_rng(0).integers(-1, 2, loglikes.shape)
    start, step = np.round(loglikes * 2**12) / 2**12, 2.0**-12
    result, up, down = (
        lattice_forward_backward([lattice], [(start + x * step * direction).astype(np.float32)], values, 1.0)[0]
        for x in (0, 1, -1)
    )
    expected = (result.arc_posteriors * direction[lattice.arc_time, lattice.arc_senone]).sum()
    assert abs((up.log_total - down.log_total) / (2 * step) - expected) < 1e-5


def log_domain(lattice, loglikes, values, scale, dtype):
    """The usual recursions in the log domain: log total, posteriors, expected value, gradient (T, S); no arc is -1."""
    num_states, src, dst = len(lattice.final_cost), lattice.arc_src, lattice.arc_dst
    w = dtype(scale) * loglikes.astype(dtype)[lattice.arc_time, lattice.arc_senone] - lattice.arc_cost.astype(dtype)
    alpha, beta = np.full(num_states, -np.inf, dtype), -lattice.final_cost.astype(dtype)
    alpha[0] = 0
    before, after = np.zeros(num_states, dtype), np.zeros(num_states, dtype)
    for a in range(len(src)):
        alpha[dst[a]] = np.logaddexp(alpha[dst[a]], alpha[src[a]] + w[a])
    for a in reversed(range(len(src))):
        beta[src[a]] = np.logaddexp(beta[src[a]], w[a] + beta[dst[a]])
    for a in range(len(src)):
        before[dst[a]] += np.exp(alpha[src[a]] + w[a] - alpha[dst[a]]) * (before[src[a]] + values[a])
    for a in reversed(range(len(src))):
        after[src[a]] += np.exp(w[a] + beta[dst[a]] - beta[src[a]]) * (after[dst[a]] + values[a])
    posteriors = np.exp(alpha[src] + w + beta[dst] - beta[0])
    gradient = np.zeros(loglikes.shape, dtype)
    of_arcs = posteriors * (before[src] + values + after[dst] - after[0])
    np.add.at(gradient, (lattice.arc_time, lattice.arc_senone), of_arcs)
    return beta[0], posteriors, after[0], gradient


@pytest.mark.parametrize("num_frames, num_senones, width", [(1, 1, 1), (7, 97, 5), (97, 1025, 20), (1025, 97, 3)])
@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_error_is_at_most_twice_that_of_recursions_in_the_log_domain(device, num_frames, num_senones, width, spread):
    """On lattices with more paths than can be listed, against the recursions in extended precision."""
    batch = random_batch(3, [num_frames], spread, num_senones=num_senones, width=width, fan_out=3, spread=spread)
    ((lattice,), (loglikes,), (values,)) = batch
    (result,) = forward_backward_on(device, *batch, 0.1)
    ours = result.log_total, result.arc_posteriors, result.expected, dense(result, loglikes.shape)
    usual, exact = (log_domain(lattice, loglikes, values, 0.1, dtype) for dtype in (np.float64, np.longdouble))
    for name, a, b, c in zip(("log_total", "posteriors", "expected", "gradient"), ours, usual, exact):
        roundings = num_frames * np.finfo(np.float64).eps * max(1.0, float(np.abs(c).max()))
        assert np.abs(a - c).max() <= 2 * np.abs(b - c).max() + roundings, name


@pytest.mark.parametrize("offset", [-9e4, 9e4])
def test_scores_far_outside_the_range_of_exponentials(device, offset):
    """What is added to all senones of a frame moves the log total and nothing else."""
    lattices, loglikes, values = random_batch(1, [97])
    start = np.round(loglikes[0] * 64) / 64
    shift = np.where(np.arange(97) % 2, offset, -offset / 3).astype(np.float32)[:, None]
    plain, moved = (
        forward_backward_on(device, lattices, [x.astype(np.float32)], values, 1.0)[0] for x in (start, start + shift)
    )
    np.testing.assert_allclose(moved.log_total, plain.log_total + shift.sum(dtype=np.float64), rtol=1e-14)
    np.testing.assert_allclose(moved.arc_posteriors, plain.arc_posteriors, atol=1e-9)
    np.testing.assert_allclose(moved.gradient, plain.gradient, atol=1e-9)


def test_states_that_are_far_behind_may_win_in_the_end(device):
    """Two ways, each 20,000 nats behind at one frame: neither is lost on the way."""
    lattice = Lattice(
        *(np.array(x, np.int32) for x in ([0, 0, 1, 2], [1, 2, 3, 3], [0, 1, 2, 3], [0, 0, 1, 1])),
        np.zeros(4, np.float32),
        np.array([np.inf] * 3 + [0], np.float32),
    )
    loglikes = np.array([[0, -2e4, 0, 0], [0, 0, -2e4, math.log(3)]], np.float32)
    (result,) = forward_backward_on(device, [lattice], [loglikes], [np.array([1, 0, 0, 0], np.float32)], 1.0)
    np.testing.assert_allclose(result.arc_posteriors, [0.25, 0.75, 0.25, 0.75], rtol=1e-6)
    np.testing.assert_allclose(result.expected, 0.25, rtol=1e-6)
    np.testing.assert_allclose(result.gradient, np.array([1, -1, 1, -1]) * 0.1875, rtol=1e-6)


def test_one_path():
    lattice = random_lattice(np.random.default_rng(0), 13, width=1, fan_out=1)
    keep = np.unique(lattice.arc_src, return_index=True)[1]
    arrays = {f.name: getattr(lattice, f.name)[keep] for f in dataclasses.fields(lattice) if f.name != "final_cost"}
    lattice = Lattice(**arrays, final_cost=lattice.final_cost)
    loglikes = np.random.default_rng(1).normal(size=(13, NUM_SENONES)).astype(np.float32)
    values = np.arange(13, dtype=np.float32)
    (result,) = lattice_forward_backward([lattice], [loglikes], [values], 0.5)
    np.testing.assert_allclose(result.expected, values.sum(), rtol=1e-14)
    np.testing.assert_allclose(result.arc_posteriors, 1, rtol=1e-14)
    np.testing.assert_allclose(result.gradient, 0, atol=1e-13)
    assert list(result.frame) == list(range(13)) and list(result.senone) == list(lattice.arc_senone)


def test_threads_change_nothing():
    batch = random_batch(0, [1, 7, 97, 13, 2] * 5, without_frame=0.3)
    one = lattice_forward_backward(*batch, 0.3)
    for num_threads in (2, 3, 4):
        assert_identical(one, lattice_forward_backward(*batch, 0.3, num_threads=num_threads))
    assert lattice_forward_backward([], [], [], 1.0) == []


def test_strided_arrays_are_read_right():
    lattices, loglikes, values = random_batch(1, [12])
    wide = np.zeros((12, 2 * NUM_SENONES), np.float32)
    wide[:, ::2] = loglikes[0]
    strided = {f.name: np.repeat(getattr(lattices[0], f.name), 2)[::2] for f in dataclasses.fields(lattices[0])}
    assert_identical(
        lattice_forward_backward(lattices, loglikes, values, 1.0),
        lattice_forward_backward([Lattice(**strided)], [wide[:, ::2]], [np.repeat(values[0], 2)[::2]], 1.0),
    )


def test_gradient_is_added():
    batch = random_batch(0, [9])
    (result,) = lattice_forward_backward(*batch, 1.0)
    out = np.ones((9, NUM_SENONES), np.float32)
    result.add_gradient_to(out, -2.0)
    expected = 1 - 2 * dense(result, out.shape)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_minus_infinity_forbids(device):
    lattices, loglikes, values = random_batch(2, [5], num_senones=3)
    (lattice,) = lattices
    senone = lattice.arc_senone[0]
    loglikes[0][0, senone] = -np.inf
    others = np.flatnonzero((lattice.arc_time != 0) | (lattice.arc_senone != senone))
    assert 0 < len(others) < len(lattice.arc_src)
    ours, twin = (
        forward_backward_on(device, lattices, loglikes, values, 1.0),
        reference.lattice_forward_backward(lattices, loglikes, values, 1.0),
    )
    assert_close(ours, twin)
    assert ours[0].arc_posteriors[0] == 0
    loglikes[0][3] = -np.inf
    with pytest.raises(ValueError, match=r"lattice 0: log-likelihoods of -inf forbid every path"):
        forward_backward_on(device, lattices, loglikes, values, 1.0)


def diamond(**changes):
    arrays = {
        "arc_src": np.array([0, 0, 1, 2], np.int32),
        "arc_dst": np.array([1, 2, 3, 3], np.int32),
        "arc_senone": np.array([0, 1, 2, 3], np.int32),
        "arc_time": np.array([0, 0, 1, 1], np.int32),
        "arc_cost": np.zeros(4, np.float32),
        "final_cost": np.array([np.inf, np.inf, np.inf, 0], np.float32),
    }
    for name, value in changes.items():
        arrays[name] = np.array(value, arrays[name].dtype) if isinstance(value, list) else value
    return arrays


EMPTY = {name: [] for name in ("arc_src", "arc_dst", "arc_senone", "arc_time", "arc_cost")}
INF = math.inf


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"final_cost": []}, "no states"),
        (EMPTY | {"final_cost": [0]}, "no arcs"),
        (EMPTY | {"final_cost": []}, "no states"),
        ({"arc_dst": [1, 2, 3]}, "length of arc_dst"),
        ({"arc_senone": []}, "length of arc_senone"),
        ({"arc_time": []}, "length of arc_time"),
        ({"arc_cost": [0] * 5}, "length of arc_cost"),
        ({"arc_src": [0, 1, 0, 2], "arc_time": [0, 1, 0, 1]}, "arc 2 leaves state 0, the arc before it state 1"),
        ({"arc_src": [-1, 0, 1, 2]}, "arc 0 leaves state -1"),
        ({"arc_dst": [1, 2, 1, 3]}, "arc 2 leads from state 1 to 1 of 4"),
        ({"arc_dst": [1, 2, 4, 3]}, "arc 2 leads from state 1 to 4 of 4"),
        ({"arc_src": [0, 0, 1, 4]}, "arc 3 leads from state 4 to 3 of 4"),
        ({"arc_senone": [0, 1, -2, 3]}, "senone of arc 2 is -2"),
        ({"arc_cost": [0, math.nan, 0, 0]}, "cost of arc 1 is nan"),
        ({"arc_cost": [0, INF, 0, 0]}, "cost of arc 1 is inf"),
        ({"arc_time": [0, 0, 1, 2]}, "arc 3 has time 2, its source 1"),
        ({"arc_time": [1, 0, 1, 1]}, "arc 0 has time 1, its source 0"),
        ({"arc_time": [0, 0, 1, 2**31 - 1]}, "arc 3 has time 2147483647, its source 1"),
        (
            {"arc_senone": [-1, 1, 2, 3], "arc_time": [0, 0, 0, 1]},
            "arc 3 reaches state 3 after 2 frames, another after 1",
        ),
        ({"arc_dst": [1, 1, 3, 3]}, "state 2 is not reached"),
        ({"final_cost": [INF, INF, INF, 0, 0]}, "state 4 is not reached"),
        ({"final_cost": [INF, INF, INF, INF]}, "no way leads on from state 3"),
        ({"arc_src": [0, 0, 1, 1]}, "no way leads on from state 2"),
        ({"final_cost": [INF, 0, INF, 0]}, "state 1 is final after 1 of 2 frames"),
        ({"final_cost": [INF, INF, INF, -INF]}, "final cost of state 3 is -inf"),
        ({"final_cost": [INF, INF, INF, math.nan]}, "final cost of state 3 is nan"),
    ],
)
def test_damaged_lattices_are_refused(changes, message):
    with pytest.raises(DataError, match=f"damaged lattice: .*{message}"):
        Lattice(**diamond(**changes))


def test_states_out_of_the_order_of_their_times_are_refused():
    arrays = [[0, 0, 1, 2, 3], [1, 2, 4, 3, 4], [0, -1, 1, 2, 3], [0, 0, 1, 0, 1]]
    final_cost = np.array([INF] * 4 + [0], np.float32)
    with pytest.raises(DataError, match="state 2 has time 0, the one before it 1"):
        Lattice(*(np.array(x, np.int32) for x in arrays), np.zeros(5, np.float32), final_cost)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"arc_src": np.array([0, 0, 1, 2])}, TypeError, "arc_src is int64"),
        ({"arc_cost": np.zeros(4)}, TypeError, "arc_cost is float64"),
        ({"arc_dst": np.array([[1, 2, 3, 3]], np.int32)}, ValueError, "arc_dst has 2 dimensions"),
        ({"final_cost": (0.0,)}, TypeError, "final_cost is a tuple"),
    ],
)
def test_wrong_types_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        Lattice(**diamond(**changes))


def test_a_lattice_of_another_utterance_is_named():
    lattices, loglikes, values = random_batch(0, [3] * 9)
    for bad in (loglikes[4][:2], np.zeros((4, NUM_SENONES), np.float32), loglikes[4][:, :1].copy()):
        with pytest.raises(DataError, match=r"^lattice 4: "):
            lattice_forward_backward(lattices, [*loglikes[:4], bad, *loglikes[5:]], values, 1.0, num_threads=3)
    lattices[7].arc_dst[0] = 0  # arrays may be written to after they were checked
    with pytest.raises(DataError, match=r"^lattice 7: arc 0 leads from state 0 to 0"):
        lattice_forward_backward(lattices, loglikes, values, 1.0, num_threads=3)


def test_what_a_batch_on_a_gpu_refuses(device):
    if device == "cpu":
        pytest.skip("a batch is for a GPU")
    lattices, loglikes, values = random_batch(0, [3] * 5)
    loglikes[3][lattices[3].arc_time[-1], lattices[3].arc_senone[-1]] = math.nan
    with pytest.raises(ValueError, match=r"^lattice 3: score of arc \d+ is NaN"):
        forward_backward_on(device, lattices, loglikes, values, 1.0)
    loglikes[3][:] = 0
    values[2][1] = math.inf
    with pytest.raises(ValueError, match=r"^lattice 2: value of arc 1 is not finite"):
        forward_backward_on(device, lattices, loglikes, values, 1.0)
    with pytest.raises(DataError, match=r"^lattice 0: it has 3 frames, the batch 2"):
        LatticeBatch(lattices, 2, NUM_SENONES, torch.device("cuda", 0))
    with pytest.raises(DataError, match=r"^lattice 0: senone of arc"):
        LatticeBatch(lattices, 3, 1, torch.device("cuda", 0))


@pytest.mark.parametrize("bad", [math.nan, INF])
def test_numbers_that_are_not_finite_are_named(bad):
    (lattices, loglikes, values) = random_batch(0, [3] * 5)
    time, senone = lattices[3].arc_time[-1], lattices[3].arc_senone[-1]
    loglikes[3][time, senone] = bad
    with pytest.raises(ValueError, match=f"^lattice 3: log-likelihood of frame {time}, senone {senone} is {bad}"):
        lattice_forward_backward(lattices, loglikes, values, 1.0, num_threads=2)
    loglikes[3][time, senone] = 0
    values[2][1] = bad
    with pytest.raises(ValueError, match=f"^lattice 2: value of arc 1 is {bad}"):
        lattice_forward_backward(lattices, loglikes, values, 1.0)
    values[2][1] = 0
    loglikes[3][time, senone] = -1e6
    with pytest.raises(ValueError, match=r"^lattice 3: score of arc \d+ is -1e\+06, beyond \+-100000"):
        lattice_forward_backward(lattices, loglikes, [v * 0 for v in values], 1.0)


def test_wrong_arguments_are_refused():
    lattices, loglikes, values = random_batch(0, [3, 4])
    with pytest.raises(ValueError, match="2 lattices, 1 loglikes and 2 arc_values"):
        lattice_forward_backward(lattices, loglikes[:1], values, 1.0)
    with pytest.raises(TypeError, match="lattice 1: loglikes is float64"):
        lattice_forward_backward(lattices, [loglikes[0], loglikes[1].astype(float)], values, 1.0)
    with pytest.raises(ValueError, match="lattice 0: arc_values has 2 dimensions"):
        lattice_forward_backward(lattices, loglikes, [values[0][:, None], values[1]], 1.0)
    with pytest.raises(ValueError, match="lattice 1: number of values against arcs"):
        lattice_forward_backward(lattices, loglikes, [values[0], values[1][1:]], 1.0)
    for scale in (0.0, -1.0, math.nan, INF):
        with pytest.raises(ValueError, match="acoustic scale"):
            lattice_forward_backward(lattices, loglikes, values, scale)
    with pytest.raises(ValueError, match="num_threads is 0"):
        lattice_forward_backward(lattices, loglikes, values, 1.0, num_threads=0)
