import io
import math

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from pyasr.base.errors import DataError
from pyasr.dist import GTCState, gtc_hook
from pyasr.dist.comm import Alone, ProcessGroupComm
from pyasr.dist.emulate import run_emulated
from pyasr.dist.gtc import share_out
from pyasr.dist.messages import Message, pack, unpack


class One(torch.nn.Module):
    """A single parameter w of n zeros."""

    def __init__(self, n):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(n))


def exchanged(state, *values):
    """What the workers get for a gradient of w."""
    grad = torch.tensor(values)
    state.exchange({"w": grad})
    return grad.tolist()


def test_two_workers_by_hand():
    """tau = 1 on a worker's own gradient; a word is worth tau / 2; what is below stays and is sent later."""

    def worker(comm):
        state = GTCState(One(3), 1.0, comm)
        own = [0.75, -1.5, 0.0] if comm.rank == 0 else [0.75, -1.25, 4.0]
        first, second = exchanged(state, *own), exchanged(state, 0.5, 0.0, 0.0)
        return first, second, state.residual["w"].tolist(), state.last.density

    (first, second, kept0, density), (other_first, other_second, kept1, _) = run_emulated(2, worker)
    assert first == other_first == [0.0, -1.0, 0.5]
    assert second == other_second == [1.0, 0.0, 0.5]
    assert kept0 == [0.25, -0.5, 0.0] and kept1 == [0.25, -0.25, 2.0]
    assert density == 3 / 6


def net():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(6, 30), torch.nn.Tanh(), torch.nn.Linear(30, 30), torch.nn.Linear(30, 3))


def data(rank, step, part=0):
    draws = torch.Generator().manual_seed(1000 * step + 10 * rank + part)
    x = torch.randn(12, 6, generator=draws)
    return x, x[:, :3].square()


def loss_of(model, rank, step, part=0):
    x, y = data(rank, step, part)
    return (model(x) - y).square().mean()


def train(comm, steps, saved=None, **options):
    """By exchange after the backward pass: (weights, state as saved, the steps' statistics)."""
    model = net()
    state = GTCState(model, process_group=comm, **{"tau": 0.01, **options})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    first = 0
    if saved is not None:
        saved = torch.load(io.BytesIO(saved), weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        state.load_state_dict(saved["gtc"])
        first = saved["step"]
    stats = []
    for step in range(first, steps):
        optimizer.zero_grad()
        loss_of(model, comm.rank, step).backward()
        state.exchange({name: parameter.grad for name, parameter in model.named_parameters()})
        optimizer.step()
        stats.append(state.stats())
    buffer = io.BytesIO()
    parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "gtc": state.state_dict(), "step": steps}
    torch.save(parts, buffer)
    return weights(model), buffer.getvalue(), stats


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).tolist()


def by_gloo(rank, steps, saved, options):
    return train(ProcessGroupComm(deterministic=True), steps, saved[rank] if saved else None, **options)[:2]


def by_hook(rank, steps, bucket_mb, parts, options):
    """As users do it: DDP, whose buckets are made anew after the first step."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    ddp = DistributedDataParallel(model, bucket_cap_mb=bucket_mb)
    state = GTCState(model, **{"tau": 0.01, **options})
    ddp.register_comm_hook(state, gtc_hook)
    for step in range(steps):
        optimizer.zero_grad()
        for part in range(parts):
            if part < parts - 1:
                with ddp.no_sync():
                    loss_of(ddp, rank, step, part).backward()
            else:
                loss_of(ddp, rank, step, part).backward()
        optimizer.step()
    return weights(model), state.stats(), {name: r.tolist() for name, r in state.residual.items()}


DENSITY = {"tau": 0.05, "density": 0.05, "momentum": 0.5, "decay": 0.99, "clip_residual": 20.0}


@pytest.mark.parametrize("options", [{}, DENSITY], ids=["fixed", "adapted"])
def test_hook_emulation_and_resume_give_the_same_bits(run_workers, options):
    """Four gloo workers with DDP's hook in one bucket and in many, by one exchange, resumed, and emulated.

    Past the steps in which workers agree on tau before they send, among which is the checkpoint."""
    emulated = run_emulated(4, lambda comm: train(comm, 26, **options))
    expected = [w for w, _, _ in emulated]
    assert len({tuple(w) for w in expected}) == 1 and expected[0] != weights(net())
    begun = run_workers(4, by_gloo, 4, None, options)
    resumed = run_workers(4, by_gloo, 26, [saved for _, saved in begun], options)
    assert [w for w, _ in resumed] == expected
    for bucket_mb in (25.0, 0.002):
        assert [w for w, _, _ in run_workers(4, by_hook, 26, bucket_mb, 1, options)] == expected


def test_nothing_is_lost():
    """What has been applied, N times, and what is still owed add up to the gradients."""
    steps, n, size = 20, 500, 3

    def worker(comm):
        state, applied, given = GTCState(One(n), 0.5, comm), torch.zeros(n), torch.zeros(n)
        draws = torch.Generator().manual_seed(comm.rank)
        for _ in range(steps):
            grad = torch.randn(n, generator=draws)
            given += grad
            state.exchange({"w": grad})
            applied += grad
        return applied, given, state.residual["w"]

    applied, given, owed = zip(*run_emulated(size, worker))
    assert torch.equal(applied[0], applied[1])
    assert torch.allclose(applied[0] * size + sum(owed), sum(given), atol=1e-4)


def test_accumulated_gradients_go_out_once(run_workers):
    """Three parts without exchange between them are one gradient."""

    def worker(comm):
        model = net()
        state = GTCState(model, 0.01, comm)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for step in range(3):
            optimizer.zero_grad()
            for part in range(3):
                loss_of(model, comm.rank, step, part).backward()
            state.exchange({name: parameter.grad for name, parameter in model.named_parameters()})
            optimizer.step()
        return weights(model)

    assert [w for w, _, _ in run_workers(2, by_hook, 3, 0.002, 3, {})] == run_emulated(2, worker)


def test_one_worker_with_nan_and_all_skip():
    def worker(comm):
        state = GTCState(One(2), 1.0, comm)
        exchanged(state, 0.5, 0.5)
        skipped = exchanged(state, float("nan") if comm.rank == 1 else 3.0, 1.0)
        return skipped, state.last.skipped, state.skipped, exchanged(state, 0.0, 0.0), state.residual["w"].tolist()

    for rank, (skipped, last, count, after, kept) in enumerate(run_emulated(2, worker)):
        assert skipped == [0.0, 0.0] and last and count == 1
        assert after == [0.5, 0.5], "worker 0 sends what it took back"
        assert kept == ([2.5, 0.5] if rank == 0 else [0.5, 0.5]), "worker 1 kept nothing of its bad gradient"


def test_a_residual_beyond_float32_is_skipped_and_nothing_is_sent_twice():
    model = torch.nn.ParameterDict({"a": torch.zeros(1), "b": torch.zeros(1)})
    state = GTCState(model, 1.0, Alone())
    state.residual["b"].fill_(3e38)
    assert not state.exchange({"a": torch.tensor([1.5]), "b": torch.tensor([3e38])}, True)
    assert float(state.residual["a"]) == 1.5 and state.skipped == 1


def nan_by_hook(rank):
    model = net()
    ddp = DistributedDataParallel(model, bucket_cap_mb=0.002)
    state = GTCState(model, 0.01)
    ddp.register_comm_hook(state, gtc_hook)
    found = []
    for step in range(3):
        model.zero_grad()
        (loss_of(ddp, rank, step) * (float("nan") if (rank, step) == (1, 1) else 1.0)).backward()
        found.append((state.last.skipped, sum(float(p.grad.abs().sum()) for p in model.parameters()) > 0))
    return found


def test_nan_in_ddp(run_workers):
    assert run_workers(2, nan_by_hook) == [[(False, True), (True, False), (False, True)]] * 2


def test_warm_up_is_the_plain_mean():
    def worker(comm):
        state = GTCState(One(2), 1.0, comm, warmup_steps=2)
        first = exchanged(state, 1.0 + comm.rank, 0.25)
        density = state.last.density
        second = exchanged(state, float("inf") if comm.rank else 1.0, 0.0)
        return first, density, second, state.skipped, exchanged(state, 1.5, 0.0), state.residual["w"].tolist()

    assert run_emulated(2, worker) == [([1.5, 0.25], 1.0, [0.0, 0.0], 1, [1.0, 0.0], [0.5, 0.0])] * 2


def test_options_by_hand():
    """Alone: momentum correction 0.5, decay 0.5, and residuals within 1.5 tau."""
    state = GTCState(One(1), 1.0, Alone(), momentum=0.5)
    sent = [exchanged(state, g)[0] for g in (0.75, 0.75, 0.0, 0.0)]
    # u = .75, 1.125, .5625, .28125; residual before sending .75, 1.875, 1.4375, .71875
    assert sent == [0.0, 1.0, 1.0, 0.0] and float(state.residual["w"]) == 0.71875
    state = GTCState(One(1), 1.0, Alone(), decay=0.5)
    assert [exchanged(state, g)[0] for g in (0.75, 0.5, 0.75)] == [0.0, 0.0, 1.0]
    assert float(state.residual["w"]) == 0.1875
    state = GTCState(One(2), 1.0, Alone(), clip_residual=1.5)
    assert exchanged(state, 9.0, -9.0) == [1.0, -1.0] and state.residual["w"].tolist() == [1.5, -1.5]
    state = GTCState(One(2), 1.0, Alone(), clip_norm=2.5)
    assert exchanged(state, 6.0, 8.0) == [1.0, 1.0] and state.residual["w"].tolist() == [0.5, 1.0]
    state = GTCState(One(1), lambda step: 1.0 / (step + 1), Alone())
    assert [exchanged(state, 0.625)[0] for _ in range(2)] == [0.0, 0.5] and state.tau["w"] == pytest.approx(1 / 3)


def test_tau_finds_the_density_and_is_the_same_on_all():
    def worker(comm):
        state = GTCState(One(20000), 1.0, comm, density=0.01)
        draws = torch.Generator().manual_seed(comm.rank)
        densities = []
        for _ in range(150):
            state.exchange({"w": 1e-3 * torch.randn(20000, generator=draws)})
            densities.append(state.last.density)
        return state.tau, sum(densities[-50:]) / 50, state.last

    found = run_emulated(2, worker)
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(0.01, rel=0.1)
    last = found[0][2]
    assert last.weights == 20000 and last.compression == 80000 / last.bytes_out > 50 and last.bytes_in == last.bytes_out


def test_the_mean_density_is_the_one_asked_for_where_gradients_come_in_bursts():
    """Each gradient has another size: a step sends from next to nothing to many times the share."""

    def worker(comm):
        state = GTCState(One(20000), 1.0, comm, density=0.005)
        draws, sizes = torch.Generator().manual_seed(comm.rank), torch.Generator().manual_seed(9)
        densities = []
        for _ in range(600):
            size = 1e-3 * float((0.5 * torch.randn((), generator=sizes)).exp())
            state.exchange({"w": size * torch.randn(20000, generator=draws)})
            densities.append(state.last.density)
        return densities, state.stats()["mean_density"]

    densities, mean = run_emulated(2, worker)[0]
    assert mean == pytest.approx(sum(densities) / len(densities), rel=1e-9)
    found = densities[200:]
    assert max(found) > 5 * 0.005
    assert sum(found) / len(found) == pytest.approx(0.005, rel=0.03)


@pytest.mark.parametrize("share", [0.01, 0.002])
@pytest.mark.parametrize("spread", [0.0, 1.5], ids=["even", "heavy tails"])
def test_the_first_steps_after_the_warm_up_send_what_was_asked_for(share, spread):
    """tau is found from the first step's gradient, whatever its size, though residuals begin empty and grow."""

    def worker(comm):
        state = GTCState(One(50000), 1e-3, comm, density=share, warmup_steps=2)
        draws, sizes = torch.Generator().manual_seed(comm.rank), torch.Generator().manual_seed(9)
        scale = 1e-2 * (spread * torch.randn(50000, generator=sizes)).exp()
        densities = []
        for _ in range(52):
            state.exchange({"w": scale * torch.randn(50000, generator=draws)})
            densities.append(state.last.density)
        return densities, state.tau

    (densities, tau), (_, other_tau) = run_emulated(2, worker)
    assert densities[:2] == [1.0, 1.0] and tau == other_tau
    assert densities[2:4] == pytest.approx([share, share], rel=0.4), "by a sample of which 64 are beyond"
    assert sum(densities[2:]) / 50 == pytest.approx(share, rel=0.15)


@pytest.mark.parametrize("bad", [(1,), (0, 1)])
def test_workers_agree_on_tau_though_the_first_gradient_of_some_is_bad(bad):
    def worker(comm):
        state = GTCState(One(20000), 1e-6, comm, density=0.01)
        draws = torch.Generator().manual_seed(comm.rank)
        found = []
        for step in range(3):
            grad = torch.randn(20000, generator=draws)
            if step == 0 and comm.rank in bad:
                grad[7] = math.nan
            found.append((state.exchange({"w": grad}), state.last.density, state.tau["w"]))
        return found

    first, second = run_emulated(2, worker)
    assert first == second and [went for went, _, _ in first] == [False, True, True]
    assert all(0.005 < density < 0.02 for _, density, _ in first[1:]), "worker 0 may have two gradients to send"


def test_a_message_beyond_its_buffer_follows_in_a_second_round():
    def worker(comm):
        state = GTCState(One(20000), 1.0, comm)
        quiet = exchanged(state, *[0.0] * 20000)
        before = state.last.bytes_out
        loud = exchanged(state, *[2.0 * comm.rank] * 20000)
        return quiet[0], before, set(loud), state.last.bytes_out, state.state_dict()["capacity"]

    found = run_emulated(2, worker)
    assert found[0] == found[1]
    quiet, before, loud, bytes_out, capacity = found[0]
    assert quiet == 0.0 and loud == {0.5} and before < bytes_out < capacity["w"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_half_precision(dtype):
    state = GTCState(One(3), 0.001, Alone())
    for _ in range(3):
        grad = torch.tensor([0.0004, -0.01, 0.0], dtype=dtype)
        state.exchange({"w": grad})
    assert state.residual["w"].dtype == torch.float32
    assert grad.dtype == dtype and grad.float().tolist() == pytest.approx([0.001, -0.001, 0.0], rel=0.01)


def test_residuals_are_kept_without_the_loss_scale():
    class Scaler:
        scale = 8.0

        def get_scale(self):
            return self.scale

    scaler = Scaler()
    state = GTCState(One(1), 1.0, Alone(), scaler=scaler)
    assert exchanged(state, 0.75 * 8) == [0.0]
    scaler.scale = 2.0
    assert exchanged(state, 0.75 * 2) == [2.0] and float(state.residual["w"]) == 0.5
    assert exchanged(state, math.inf) == [math.inf] and state.skipped == 1


def test_adam_is_warned_about():
    model = One(1)
    with pytest.warns(UserWarning, match="second moments"):
        GTCState(model, optimizer=torch.optim.Adam(model.parameters()))


def test_another_number_of_workers_owes_the_same():
    """The mean of the residuals is what the model will still move by; three workers' become two's."""
    old = run_emulated(3, lambda comm: torch.load(io.BytesIO(train(comm, 5)[1]), weights_only=True)["gtc"])
    new = share_out(old)
    for name, residual in new["residual"].items():
        owed = torch.stack([state["residual"][name] for state in old]).mean(dim=0)
        assert torch.equal(residual, owed) and float(owed.abs().sum()) > 0

    def worker(comm):
        state = GTCState(net(), 0.01, comm)
        state.load_state_dict(new)
        return state.step

    assert run_emulated(2, worker) == [5, 5]
    with pytest.raises(ValueError, match="another model"):
        GTCState(One(3)).load_state_dict(new)


def test_messages_are_checked():
    words = [torch.tensor([3, 8], dtype=torch.int32), torch.tensor([1], dtype=torch.int32)]
    data = pack(Message(True, words, [0.5, 0.0]), ["a", "b"], [10, 4], 7)
    back = unpack(data, ["a", "b"], [10, 4], 7, 0)
    assert back.finite and [row.tolist() for row in back.words] == [[3, 8], [1]]
    assert back.wanted == [0.5, 0.0]
    with pytest.raises(DataError, match="step 7"):
        unpack(data, ["a", "b"], [10, 4], 8, 0)
    with pytest.raises(DataError, match="different models"):
        unpack(data, ["a", "b"], [10, 5], 7, 0)
    with pytest.raises(DataError, match="damaged"):
        unpack(data[:-1], ["a", "b"], [10, 4], 7, 3)
    wide = pack(Message(True, words, [0.5, 0.0]), ["a", "b"], [10, 4], 7)
    wide[:4] = pack(Message(False, words, [0.5, 0.0]), ["a", "b"], [4, 4], 7)[:4]
    with pytest.raises(DataError, match="index 4 of a, which has 4"):
        unpack(wide, ["a", "b"], [4, 4], 7, 1)
    longer = data.clone()
    longer[24] += 1
    with pytest.raises(DataError, match="do not add up"):
        unpack(longer, ["a", "b"], [10, 4], 7, 3)
