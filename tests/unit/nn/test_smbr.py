"""sMBR against the enumeration of all paths, and along random directions through a network."""

import numpy as np
import pytest
import torch

from pyasr.nn.model import AcousticModel
from pyasr.nn.options import NetworkOptions
from pyasr.nn.smbr import expected_accuracy, state_accuracies
from pyasr.ops import reference as twins
from pyasr.ops.lattice import Lattice

NUM_SENONES, SCALE = 5, 0.6
SILENCE = np.array([0, 1])


def random_lattice(rng, num_frames):
    """Two states at each time between the first and the last, all arcs between them, and one without a frame."""
    widths = [1, *[2] * (num_frames - 1), 1]
    first = np.cumsum([0, *widths])
    rows = []
    for t in range(num_frames):
        for src in range(first[t], first[t + 1]):
            if t and src == first[t]:
                rows.append((src, src + 1, -1, t))
            rows += [(src, dst, rng.integers(NUM_SENONES), t) for dst in range(first[t + 1], first[t + 2])]
    src, dst, senone, time = np.array(rows, np.int32).T.copy()
    final_cost = np.full(first[-1], np.inf, np.float32)
    final_cost[-1] = 0.3
    return Lattice(src, dst, senone, time, rng.normal(size=len(src)).astype(np.float32), final_cost)


def batch(seed, frames=(4, 6, 1)):
    rng = np.random.default_rng(seed)
    lattices = [random_lattice(rng, length) for length in frames]
    references = [rng.integers(NUM_SENONES, size=length) for length in frames]
    values = [state_accuracies(lattice, ref, SILENCE) for lattice, ref in zip(lattices, references)]
    loglikes = [rng.normal(size=(length, NUM_SENONES)).astype(np.float32) for length in frames]
    return lattices, references, values, loglikes


def by_hand(lattice, reference, how):
    """The value of each arc, one at a time."""
    silence, found = set(SILENCE.tolist()), []
    for senone, time in zip(lattice.arc_senone.tolist(), lattice.arc_time.tolist()):
        wanted = int(reference[time]) if senone >= 0 else None
        both_silent = senone in silence and wanted in silence
        found.append(float({
            "class": senone == wanted or both_silent,
            "senone": senone == wanted,
            "ignore": senone == wanted and wanted not in silence,
        }[how]))  # fmt: skip
    return found


@pytest.mark.parametrize("how", ["class", "senone", "ignore"])
def test_values_of_arcs(how):
    lattices, references, _, _ = batch(0)
    seen = set()
    for lattice, reference in zip(lattices, references):
        values = state_accuracies(lattice, reference, SILENCE, how)
        assert values.tolist() == by_hand(lattice, reference, how) and values.dtype == np.float32
        seen |= set(values.tolist())
    assert seen == {0.0, 1.0}
    with pytest.raises(ValueError, match="silence 'quiet'"):
        state_accuracies(lattices[0], references[0], SILENCE, "quiet")


def by_enumeration(loglikes, lattices, values):
    """In torch, float64, from all paths: so autograd gives the gradient of the definition."""
    expected = []
    for rows, lattice, of_arc in zip(loglikes, lattices, values):
        paths, scores, right = twins.lattice_paths(lattice), [], []
        for path in paths:
            arcs = [arc for arc in path if lattice.arc_senone[arc] >= 0]
            acoustic = rows[lattice.arc_time[arcs], lattice.arc_senone[arcs]].sum()
            cost = lattice.arc_cost[path].sum(dtype=np.float64) + float(lattice.final_cost[lattice.arc_dst[path[-1]]])
            scores.append(SCALE * acoustic - cost)
            right.append(float(of_arc[path].sum()))
        probabilities = torch.softmax(torch.stack(scores), dim=0)
        expected.append(probabilities @ torch.tensor(right, dtype=torch.float64))
    return torch.stack(expected)


@pytest.mark.parametrize("seed", range(6))
def test_value_and_gradient_are_those_of_all_paths(seed):
    lattices, _, values, loglikes = batch(seed)
    weights = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    results = []
    for function in (
        lambda rows: expected_accuracy(rows, lattices, values, SCALE),
        lambda rows: by_enumeration(rows, lattices, values),
    ):
        rows = [torch.from_numpy(matrix).double().requires_grad_() for matrix in loglikes]
        found = function(rows)
        (found * weights).sum().backward()
        results.append((found.detach(), torch.cat([matrix.grad for matrix in rows])))
    (ours, our_gradient), (theirs, their_gradient) = results
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-10, atol=1e-10)
    assert our_gradient.abs().max() > 1e-3
    assert our_gradient.sum(dim=1).abs().max() < 1e-12


def test_rejected_frames_get_no_gradient_and_change_no_other():
    lattices, _, values, loglikes = batch(1)
    masks = [np.arange(len(matrix)) % 2 == 1 for matrix in loglikes]
    gradients = []
    for rejected in (None, masks):
        rows = torch.from_numpy(np.concatenate(loglikes)).double().requires_grad_()
        pieces = rows.split([len(matrix) for matrix in loglikes])
        expected_accuracy(pieces, lattices, values, SCALE, rejected).sum().backward()
        gradients.append(rows.grad)
    mask = torch.from_numpy(np.concatenate(masks))
    assert gradients[1][mask].abs().max() == 0 and gradients[0][mask].abs().max() > 1e-3
    assert torch.equal(gradients[0][~mask], gradients[1][~mask])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradient_along_random_directions_through_a_network(bidirectional):
    """Of weights of a network in float64; the criterion's differences are taken of the enumeration."""
    frames = (5, 7)
    lattices, _, values, _ = batch(2, frames)
    options = NetworkOptions(layers=2, units=6, bidirectional=bidirectional, delay_frames=0 if bidirectional else 2)
    torch.manual_seed(0)
    model = AcousticModel(4, NUM_SENONES, options).double()
    inputs = torch.randn(2, max(frames) + options.delay_frames, 4, dtype=torch.float64)
    lengths = torch.tensor(frames)

    def loglikes():
        logp = torch.log_softmax(model(inputs, lengths), dim=-1) - model.log_priors
        return [logp[n, :length] for n, length in enumerate(frames)]

    expected_accuracy(loglikes(), lattices, values, SCALE).sum().backward()
    weights = list(model.parameters())
    gradients = [weight.grad for weight in weights]
    step = 1e-4
    for seed in range(4):
        torch.manual_seed(seed)
        directions = [torch.randn_like(weight) for weight in weights]
        sides = []
        for sign in (step, -2 * step, step):
            with torch.no_grad():
                for weight, direction in zip(weights, directions):
                    weight += sign * direction
                sides.append(float(by_enumeration(loglikes(), lattices, values).sum()))
        difference = (sides[0] - sides[1]) / (2 * step)
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions))
        assert abs(slope) > 1e-3
        assert abs(difference - slope) < 1e-5 * max(1, abs(slope))


def test_a_likelier_right_path_is_more_accurate():
    lattices, references, values, loglikes = batch(3)
    better = [matrix.copy() for matrix in loglikes]
    for matrix, reference in zip(better, references):
        matrix[np.arange(len(reference)), reference] += 5
    before, after = (
        expected_accuracy([torch.from_numpy(m) for m in matrices], lattices, values, SCALE)
        for matrices in (loglikes, better)
    )
    assert (after >= before).all() and (after > before).any()
