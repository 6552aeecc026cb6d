"""The training loop with several workers, on the real loop and its data path, with a net that trains in a second."""

import dataclasses
import json
from collections import Counter

import pytest
import torch

from pyasr.base.errors import ConfigError, DataError
from pyasr.dist.comm import Alone, ProcessGroupComm
from pyasr.dist.emulate import run_emulated
from pyasr.dist.options import BMUFOptions, DistOptions, GTCOptions
from pyasr.dist.workers import SaveClock, Workers
from pyasr.nn.model import AcousticModel
from pyasr.nn.options import NetworkOptions
from pyasr.train import parts
from pyasr.train.loop import Trainer, TrainingData
from pyasr.train.options import OptimiserOptions, PhaseOptions, TrainOptions
from pyasr.train.source import Source
from pyasr.train.targets import HardTargets

METHODS = {
    "ddp": DistOptions(method="ddp", deterministic=True),
    "gtc": DistOptions(method="gtc", gtc=GTCOptions(density=0.05, warmup_steps=1)),
    "bmuf": DistOptions(method="bmuf", deterministic=True, bmuf=BMUFOptions(sync_every=2)),
    "gtc+bmuf": DistOptions(
        method="gtc+bmuf",
        group_size=2,
        deterministic=True,
        bmuf=BMUFOptions(sync_every=2),
        gtc=GTCOptions(density=0.05),
    ),
}


def options(**values):
    defaults = {
        "network": NetworkOptions(layers=1, units=8, delay_frames=1, dropout=0.1),
        "optimiser": OptimiserOptions(kind="sgd", lr=0.3, warmup_steps=2),
        "phases": (PhaseOptions(max_sub_epochs=2),),
        "batch_s": 2.0,
        "workers": 0,
        "threads": 1,
    }
    return TrainOptions(**{**defaults, **values})


@pytest.fixture(scope="session")
def data(tones):
    targets = HardTargets(tones.senones)
    sources = {"transcribed": Source(tones.cuts[:9], targets)}
    return TrainingData(sources, Source(tones.cuts[9:], targets), tones.frontend)


def trainer(comm, data, folder, dist, chosen=None):
    chosen = chosen or options()
    torch.manual_seed(1)
    model = AcousticModel(data.frontend.dim, 4, chosen.network)
    return Trainer(model, data, chosen, 1, folder, "test", device="cpu", workers=Workers(dist, comm))


class Killed(Exception):
    """In the place of SIGKILL."""


def train(comm, data, folder, dist, stop_after=None, chosen=None):
    """(weights, dev losses, ids of the cuts seen); stops like a kill after so many steps, with a checkpoint each."""
    chosen = chosen or options(checkpoint_s=1e-9)
    made, seen = trainer(comm, data, folder, dist, chosen), []
    to_step, to_save = made._step, made._save

    def step(batch):
        seen.extend(batch.cut_ids)
        to_step(batch)

    def save():
        to_save()
        if stop_after is not None and made.position.step == stop_after:
            raise Killed

    made._step, made._save = step, save
    try:
        log = made.run()
    except Killed:
        return None, None, seen
    return [p.flatten().tolist() for p in made.model.parameters()], [row["dev_loss"] for row in log], seen


def by_gloo(rank, *arguments):
    return train(ProcessGroupComm(deterministic=True), *arguments)


@pytest.mark.parametrize("method", METHODS)
def test_emulated_equal_real_workers_and_resume_is_exact(run_workers, data, tmp_path, method):
    """Four gloo workers through the loop; the same killed after a step and continued; and emulated: the same bits."""
    dist = METHODS[method]
    whole = run_workers(4, by_gloo, data, tmp_path / "whole", dist)
    emulated = run_emulated(4, lambda comm: train(comm, data, tmp_path / "emulated", dist))
    assert [row[:2] for row in emulated] == [row[:2] for row in whole]
    assert len({str(weights) for weights, _, _ in whole}) == 1, "all end with the best model"
    before = run_workers(4, by_gloo, data, tmp_path / "killed", dist, 3)
    assert (tmp_path / "killed" / "checkpoint").is_dir()
    after = run_workers(4, by_gloo, data, tmp_path / "killed", dist)
    assert [row[:2] for row in after] == [row[:2] for row in whole]
    ids = Counter(cut for _, _, seen in whole for cut in seen)
    assert ids == Counter({cut.id: 2 for cut in data.sources["transcribed"].cuts}), "a cut a sub-epoch, on one worker"
    assert ids == Counter(cut for _, _, seen in before + after for cut in seen)
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [row["dev_loss"] for row in log] == whole[0][1] and log[-1]["frames_transcribed"] > 100


def test_killed_before_its_checkpoint_is_removed_nothing_is_trained_again(data, tmp_path):
    """Worker 0 has nothing to wait for, but must not remove what the others have yet to read."""

    def end(comm):
        made = trainer(comm, data, tmp_path, METHODS["bmuf"], options(checkpoint_s=1e-9))
        made.run()
        made.checkpoints.remove()
        return [p.flatten().tolist() for p in made.model.parameters()]

    done = run_emulated(2, lambda comm: train(comm, data, tmp_path, METHODS["bmuf"]))
    assert run_emulated(2, end) == [weights for weights, _, _ in done]
    assert not list(tmp_path.rglob("checkpoint*"))


@pytest.mark.parametrize("method", METHODS)
def test_it_learns_by_every_method(data, tmp_path, method):
    chosen = options(phases=(PhaseOptions(max_sub_epochs=12),), optimiser=OptimiserOptions(kind="sgd", lr=1.0))
    _, losses, _ = run_emulated(2, lambda comm: train(comm, data, tmp_path, METHODS[method], None, chosen))[0]
    assert min(losses) < 0.8 * losses[0]


def test_one_worker_without_a_method_is_the_loop_as_it_was(data, tmp_path):
    plain = trainer(None, data, tmp_path / "plain", None)
    plain.run()
    one = trainer(Alone(), data, tmp_path / "one", DistOptions())
    one.run()
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), one.model.parameters()))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sizes", [(4, 2), (2, 4), (2, 1), (1, 2)])
def test_another_number_of_workers_goes_on(data, tmp_path, method, sizes):
    """No cut is read twice or missed, what is summed up stays, and what the workers owed is still owed."""
    dist, (old, new) = METHODS[method].model_copy(update={"group_size": min(sizes)}), sizes
    before = run_emulated(old, lambda comm: train(comm, data, tmp_path, dist, 1))
    states = [torch.load(path, weights_only=True) for path in sorted(tmp_path.rglob("worker-*.pt"))]
    states = states or [torch.load(tmp_path / "checkpoint.pt", weights_only=True)]

    def resume(comm):
        made = trainer(comm, data, tmp_path, dist)
        made._resume()
        return made.workers.state_dict(), made.sums

    resumed = run_emulated(new, resume)
    for name in resumed[0][0].get("gtc", {"residual": {}})["residual"]:
        was, now = (
            torch.stack([state["gtc"]["residual"][name] for state in found]).mean(dim=0)
            for found in ([state["workers"] for state in states], [state for state, _ in resumed])
        )
        assert torch.allclose(was, now, atol=1e-7)
    frames = sum(state["sums"]["frames"]["transcribed"] for state in states)
    assert sum(sums.frames.get("transcribed", 0) for _, sums in resumed) == frames > 0
    after = run_emulated(new, lambda comm: train(comm, data, tmp_path, dist))
    ids = Counter(cut for _, _, seen in before + after for cut in seen)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    left_out = sum(row.get("left_out", 0) for row in log)
    assert max(ids.values()) == 2 and sum(ids.values()) == 2 * len(data.sources["transcribed"].cuts) - left_out
    assert left_out < 2 * new


def test_a_gradient_that_is_not_finite_is_skipped_by_all(data, tmp_path):
    """Worker 1's second batch: all leave the step out, worker 1 saves the batch and counts it."""

    def worker(comm):
        made = trainer(comm, data, tmp_path, METHODS["gtc"])
        to_step = made._step

        def step(batch):
            bad = comm.rank == 1 and made.position.step == 1
            to_step(dataclasses.replace(batch, frames=batch.frames * float("nan")) if bad else batch)

        made._step = step
        return made.run(), made.rate.step, made.position.step

    (log, taken, steps), (_, other_taken, other_steps) = run_emulated(2, worker)
    assert log[-1]["nonfinite"] == 1 and taken == other_taken and steps == other_steps == log[-1]["step"]
    assert [path.name for path in (tmp_path / "nonfinite").iterdir()] == ["step-2-worker-1.pt"]


def test_a_full_disk_leaves_the_checkpoint_before(data, tmp_path, monkeypatch):
    """All workers end, with an error that names the one that could not write."""
    run_emulated(2, lambda comm: train(comm, data, tmp_path, METHODS["ddp"], 2))
    kept = sorted(path.name for path in tmp_path.rglob("manifest.json")), sorted((tmp_path / "checkpoint").iterdir())
    real, errors = parts.save_checkpoint, []

    def full(path, key, state):
        if path.name == "worker-1.pt":
            raise DataError(f"cannot write {path}: No space left on device")
        real(path, key, state)

    monkeypatch.setattr(parts, "save_checkpoint", full)

    def worker(comm):
        try:
            train(comm, data, tmp_path, METHODS["ddp"])
        except DataError as error:
            errors.append(str(error))

    run_emulated(2, worker)
    assert any("worker 1 could not write" in error for error in errors)
    assert any("No space" in error for error in errors)
    manifests = sorted(path.name for path in tmp_path.rglob("manifest.json"))
    assert (manifests, sorted((tmp_path / "checkpoint").iterdir())) == kept
    monkeypatch.setattr(parts, "save_checkpoint", real)
    weights = run_emulated(2, lambda comm: train(comm, data, tmp_path, METHODS["ddp"]))[0][0]
    assert weights == run_emulated(2, lambda comm: train(comm, data, tmp_path / "whole", METHODS["ddp"]))[0][0]


def test_the_learning_rate_follows_its_rule():
    def factor(comm, method, rule):
        return Workers(DistOptions(method=method, lr_rule=rule, group_size=2), comm).lr_factor

    for method, rule, expected in [
        ("ddp", "none", 1.0),
        ("ddp", "sqrt", 2.0),
        ("gtc", "linear", 4.0),
        ("gtc+bmuf", "linear", 2.0),
        ("bmuf", "linear", 1.0),
    ]:
        assert run_emulated(4, lambda comm, m=method, r=rule: factor(comm, m, r)) == [expected] * 4


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="how they train"):
        run_emulated(2, lambda comm: Workers(DistOptions(), comm))
    with pytest.raises(ConfigError, match="groups of that size"):
        run_emulated(3, lambda comm: Workers(DistOptions(method="gtc+bmuf", group_size=2), comm))


def test_all_save_at_the_same_step_though_their_clocks_differ():
    def worker(comm):
        clock, found = SaveClock(comm, 10.0), []
        for step in range(40):
            clock._begun -= 1.0 + comm.rank  # a step takes worker 0 a second and worker 1 two
            if clock.due():
                found.append(step)
        return found

    first, second = run_emulated(2, worker)
    assert first == second and 2 <= len(first) <= 4
