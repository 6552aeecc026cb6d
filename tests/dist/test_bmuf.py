import io

import pytest
import torch

from pyasr.dist import BMUF
from pyasr.dist.comm import ProcessGroupComm
from pyasr.dist.emulate import run_emulated


def vector(*values):
    return torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))


def progress(weights, bmuf, amount):
    """A batch that moves the weights by `amount`, whatever the optimizer would do."""
    with torch.no_grad():
        weights += amount
    bmuf.skip()


@pytest.mark.parametrize(
    ("nesterov", "starts", "ends"),
    [
        # Two workers move by 1 and 3, so G = 2 and eta = 1/2: Delta = 2, 3, 3.5; W = 2, 5, 8.5.
        (False, [2.0, 5.0, 8.5], [2.0, 5.0, 8.5]),
        (True, [3.0, 6.5, 10.25], [2.0, 5.0, 8.5]),
    ],
)
def test_recurrence_by_hand(nesterov, starts, ends):
    def worker(comm):
        weights = vector(0.0)
        bmuf = BMUF(torch.optim.SGD([weights], lr=0.1), 1, nesterov=nesterov, process_group=comm)
        found = []
        for _ in range(3):
            progress(weights, bmuf, 1.0 + 2.0 * comm.rank)
            with bmuf.global_model():
                found.append(float(weights.detach()))
            found.append(float(weights.detach()))
        return found

    expected = [value for pair in zip(ends, starts) for value in pair]
    assert run_emulated(2, worker) == [expected, expected]


def test_block_lr_and_momentum_by_hand():
    """eta = 0.25, zeta = 2, G = 1 each block: Delta = 2, 2.5, 2.625; Nesterov begins a block at W + Delta / 4."""

    def worker(comm):
        weights = vector(0.0)
        bmuf = BMUF(torch.optim.SGD([weights], lr=0.1), 2, 0.25, 2.0, process_group=comm)
        found = []
        for _ in range(3):
            progress(weights, bmuf, 0.5)
            progress(weights, bmuf, 0.5)
            found.append((float(bmuf.delta), float(bmuf.global_weights), float(weights.detach())))
        return found

    expected = [(2.0, 2.0, 2.5), (2.5, 4.5, 5.125), (2.625, 7.125, 7.78125)]
    assert run_emulated(2, worker) == [expected, expected]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_steady_state_is_n_times_the_progress_of_a_worker(size, nesterov):
    """What averaging takes, block momentum gives back; public implementations miss it by factors."""

    def worker(comm):
        weights = vector(0.0, 0.0)
        bmuf = BMUF(torch.optim.SGD([weights], lr=1.0), 1, nesterov=nesterov, process_group=comm)
        advance = torch.tensor([0.5, -2.0], dtype=torch.float64)
        for _ in range(300):
            before = bmuf.global_weights.clone()
            progress(weights, bmuf, advance)
        return (bmuf.global_weights - before) / advance

    for ratio in run_emulated(size, worker):
        assert torch.allclose(ratio, torch.full_like(ratio, size), rtol=1e-9)


def train(comm, steps, sync_every=3, state=None, **options):
    """Linear regression of data that each rank draws for itself: (weights, state as it would be saved)."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    bmuf = BMUF(optimizer, sync_every, process_group=comm, **options)
    first = 0
    if state is not None:
        state = torch.load(io.BytesIO(state), weights_only=True)
        model.load_state_dict(state["model"])
        bmuf.load_state_dict(state["bmuf"])
        first = state["step"]
    for step in range(first, steps):
        draws = torch.Generator().manual_seed(100 * step + comm.rank)
        x = torch.randn(8, 4, generator=draws)
        loss = (model(x) - x[:, :2]).square().mean()
        bmuf.zero_grad()
        loss.backward()
        bmuf.step()
    saved = io.BytesIO()
    torch.save({"model": model.state_dict(), "bmuf": bmuf.state_dict(), "step": steps}, saved)
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist(), saved.getvalue()


def by_gloo(rank, steps, states, options):
    comm = ProcessGroupComm(deterministic=True)
    return train(comm, steps, state=states[rank] if states else None, **options)


def test_resume_within_a_block_and_emulation_are_exact(run_workers):
    """Four gloo workers, killed after 7 steps in blocks of 3, end as those that ran through, and as emulated ones."""
    whole = run_workers(4, by_gloo, 13, None, {})
    begun = run_workers(4, by_gloo, 7, None, {})
    resumed = run_workers(4, by_gloo, 13, [state for _, state in begun], {})
    emulated = run_emulated(4, lambda comm: train(comm, 13))
    assert [w for w, _ in whole] == [w for w, _ in resumed] == [w for w, _ in emulated]
    assert len({tuple(w) for w, _ in whole}) == 4, "13 steps end within a block, where workers differ"


def test_warm_start_is_plain_averaging():
    plain = run_emulated(2, lambda comm: train(comm, 6, block_momentum=0.0)[0])
    assert run_emulated(2, lambda comm: train(comm, 6, warm_start=2)[0]) == plain
    assert run_emulated(2, lambda comm: train(comm, 6, warm_start=1)[0]) != plain


def test_momentum_is_reset_at_an_exchange_unless_told_otherwise():
    def momentum(comm, reset):
        weights = vector(1.0)
        optimizer = torch.optim.SGD([weights], lr=0.1, momentum=0.5)
        bmuf = BMUF(optimizer, 2, process_group=comm, reset_momentum=reset)
        for _ in range(2):
            weights.grad = torch.ones_like(weights)
            bmuf.step()
        return float(optimizer.state[weights]["momentum_buffer"])

    assert run_emulated(2, lambda comm: momentum(comm, True)) == [0.0, 0.0]
    assert run_emulated(2, lambda comm: momentum(comm, False)) == [1.5, 1.5]


def test_buffers_are_averaged_or_taken_from_the_first():
    def worker(comm):
        weights, mean, count = vector(0.0), torch.tensor([float(comm.rank)]), torch.tensor([comm.rank + 5])
        bmuf = BMUF(torch.optim.SGD([weights], lr=0.1), 1, process_group=comm, buffers=[mean, count])
        bmuf.skip()
        return float(mean), int(count)

    assert run_emulated(2, worker) == [(0.5, 5), (0.5, 5)]


def test_a_model_that_is_not_finite_spoils_one_block_of_nobody_else():
    def worker(comm):
        weights = vector(1.0)
        bmuf = BMUF(torch.optim.SGD([weights], lr=0.1), 1, process_group=comm)
        progress(weights, bmuf, 1.0)
        before = float(weights.detach())
        progress(weights, bmuf, float("nan") if comm.rank else 1.0)
        return before, float(weights.detach()), bmuf.rejected, bmuf.blocks

    for before, after, rejected, blocks in run_emulated(2, worker):
        assert before == after and (rejected, blocks) == (1, 1)


def test_blocks_by_seconds_have_the_same_batches_on_all():
    def worker(comm):
        weights = vector(0.0)
        bmuf = BMUF(torch.optim.SGD([weights], lr=0.1), 2, process_group=comm, sync_seconds=6.0)
        found = []
        for _ in range(2):
            bmuf._began -= 2.0 * (1.0 + 2.0 * comm.rank)  # a batch took 1 s here, 3 s there
            progress(weights, bmuf, 1.0)
            progress(weights, bmuf, 1.0)
            found.append(bmuf.block_batches)
            bmuf.block_batches = 2
        return found

    assert run_emulated(2, worker) == [[3, 3], [3, 3]]


def test_schedulers_and_scalers_take_it():
    model = torch.nn.Linear(3, 1)
    bmuf = BMUF(torch.optim.SGD(model.parameters(), lr=1.0), 2)
    scheduler = torch.optim.lr_scheduler.StepLR(bmuf, 1, 0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    reference = torch.nn.Linear(3, 1)
    reference.load_state_dict(model.state_dict())
    plain = torch.optim.SGD(reference.parameters(), lr=1.0)
    x = torch.ones(2, 3)
    for number in range(3):
        bmuf.zero_grad()
        scaler.scale(model(x).sum() * (float("inf") if number == 1 else 1.0)).backward()
        scaler.step(bmuf)
        scaler.update()
        scheduler.step()
        if number != 1:
            plain.zero_grad()
            reference(x).sum().backward()
            plain.param_groups[0]["lr"] = 0.5**number
            plain.step()
    assert bmuf.param_groups[0]["lr"] == 0.125 and bmuf.blocks == 1 and bmuf.batches == 1
    assert torch.equal(model.weight, reference.weight)


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="block_momentum"):
        BMUF(torch.optim.SGD([vector(0.0)], lr=0.1), block_momentum=1.0)
    with pytest.warns(UserWarning, match=r"above 0\.9"):
        BMUF(torch.optim.SGD([vector(0.0)], lr=0.1, momentum=0.95))
    with pytest.raises(ValueError, match="another model"):
        one = BMUF(torch.optim.SGD([vector(0.0)], lr=0.1))
        one.load_state_dict(BMUF(torch.optim.SGD([vector(0.0, 1.0)], lr=0.1)).state_dict())
