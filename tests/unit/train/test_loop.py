import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from pyasr.base.errors import DataError
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.nn.options import NetworkOptions
from pyasr.ops import pack_topk
from pyasr.targets import PosteriorStore
from pyasr.train import criterion
from pyasr.train.loop import Trainer, TrainingData
from pyasr.train.options import OptimiserOptions, PhaseOptions, TrainOptions
from pyasr.train.source import Source
from pyasr.train.systems import log_priors_of, train_network
from pyasr.train.targets import HardTargets, StoredTargets, num_stacks

NUM_SENONES = 4


def options(**values):
    defaults = {
        "network": NetworkOptions(layers=2, units=12, delay_frames=1, dropout=0.1),
        "optimiser": OptimiserOptions(lr=0.02, warmup_steps=2),
        "phases": (PhaseOptions(max_sub_epochs=4),),
        "batch_s": 4.0,
        "workers": 0,
        "threads": 1,
    }
    return TrainOptions(**{**defaults, **values})


@pytest.fixture
def data(tones):
    targets = HardTargets(tones.senones)
    sources = {"transcribed": Source(tones.cuts[:9], targets)}
    return TrainingData(sources, Source(tones.cuts[9:], targets), tones.frontend)


@pytest.fixture
def both(data, tones, tmp_path):
    """The same with stored posteriors that name the right senone, of the first six cuts."""
    store = PosteriorStore.create(tmp_path / "store", NUM_SENONES, 2, phases=3)
    with store.writer() as writer:
        for cut in tones.cuts[:6]:
            senones = torch.from_numpy(tones.senones[cut.id]).long()
            rows = num_stacks(len(senones), 3, 3)
            logits = 3.0 * torch.nn.functional.one_hot(senones[1 : rows + 1], NUM_SENONES).float()
            writer.put(cut.id, pack_topk(logits, 2))
    untranscribed = Source(tones.cuts[:6], StoredTargets(store))
    return TrainingData({**data.sources, "untranscribed": untranscribed}, data.dev, data.frontend)


def trainer(data, folder, chosen=None, seed=1, **arguments):
    chosen = chosen or options()
    torch.manual_seed(seed)
    model = AcousticModel(data.frontend.dim, NUM_SENONES, chosen.network)
    return Trainer(model, data, chosen, seed, folder, "test", device="cpu", **arguments)


def weights(trained):
    return {name: value.clone() for name, value in trained.model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


class Killed(BaseException):
    """In the place of SIGKILL: nothing in the loop may handle it."""


NUMBERS = ("loss_transcribed", "loss_untranscribed", "dev_loss", "dev_accuracy", "lr", "step", "ended", "clipped")


def numbers(log):
    return [{name: row[name] for name in NUMBERS if name in row} for row in log]


def test_it_learns_and_says_so(data, tmp_path):
    told = []
    trained = trainer(data, tmp_path, options(phases=(PhaseOptions(max_sub_epochs=12),)), say=told.append)
    log = trained.run()
    assert log[-1]["dev_loss"] < 0.5 * log[0]["dev_loss"] and max(row["dev_accuracy"] for row in log) > 85
    assert told == log == [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    best = min(log, key=lambda row: row["dev_loss"])
    assert trained.evaluate() == pytest.approx((best["dev_loss"], best["dev_accuracy"]))
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("name", ["bidirectional", "chunks", "sgd", "bf16", "average"])
def test_every_way_of_training_learns(data, tmp_path, name):
    chosen = {
        "bidirectional": options(network=NetworkOptions(layers=1, units=12, bidirectional=True, delay_frames=0)),
        "chunks": options(phases=(PhaseOptions(chunk_frames=8, max_sub_epochs=3), PhaseOptions(max_sub_epochs=2))),
        "sgd": options(optimiser=OptimiserOptions(kind="sgd", lr=0.3, warmup_steps=2)),
        "bf16": options(precision="bf16"),
        "average": options(average=3),
    }[name]
    log = trainer(data, tmp_path, chosen).run()
    assert min(row["dev_loss"] for row in log) < 0.8 * log[0]["dev_loss"]
    if name == "chunks":
        assert [row["ended"] for row in log] == ["", "", "max_sub_epochs", "", "max_sub_epochs"]


def test_losses_are_by_source_and_the_schedule_is_kept(both, tmp_path):
    chosen = options(phases=(PhaseOptions(transcribed=1.0, untranscribed=2.0, max_sub_epochs=2),))
    log = trainer(both, tmp_path, chosen).run()
    senones = both.dev.targets.senones
    for name, passes in (("transcribed", 1), ("untranscribed", 2)):
        one_pass = sum(len(senones[cut.id]) for cut in both.sources[name].cuts) / 3
        for row in log:
            assert row[f"loss_{name}"] > 0
            assert row[f"frames_{name}"] == pytest.approx(passes * one_pass, rel=0.05)


def test_the_learning_rate_is_multiplied_on_transcribed_batches(both, tmp_path):
    chosen = options(
        transcribed_lr_factor=3.0,
        optimiser=OptimiserOptions(lr=0.01, warmup_steps=0),
        phases=(PhaseOptions(untranscribed=1.0, max_sub_epochs=1),),
    )
    trained = trainer(both, tmp_path, chosen)
    rates, step = [], trained.optimiser.step
    trained.optimiser.step = lambda: (rates.append(trained.optimiser.param_groups[0]["lr"]), step())
    made, to_step = [], trained._step
    trained._step = lambda batch: (made.append(batch.source), to_step(batch))
    trained.run()
    assert set(zip(made, rates)) == {("transcribed", 0.03), ("untranscribed", 0.01)}


def test_the_loss_of_a_cut_is_multiplied_by_how_sure_the_teacher_was(both, tmp_path):
    """Of a batch of one utterance, at the first step."""

    def first_step(name, weighted):
        stored = dataclasses.replace(both.sources["untranscribed"].targets, weighted=weighted)
        sources = {"untranscribed": Source(both.sources["untranscribed"].cuts, stored)}
        plain = NetworkOptions(layers=1, units=12, delay_frames=1)
        phases = (PhaseOptions(transcribed=0.0, untranscribed=1.0, max_sub_epochs=1),)
        changed = {"batch_s": 0.1, "network": plain, "phases": phases}
        trained = trainer(dataclasses.replace(both, sources=sources), tmp_path / name, options(**changed))
        seen, backward, step = [], trained.workers.backward, trained._step

        def learnt_from(loss, clip_norm):
            seen.append(float(loss.detach()))
            return backward(loss, clip_norm)

        def first(batch):
            step(batch)
            sums = trained.sums
            raise Killed(batch.cut_ids, seen[0], sums.loss["untranscribed"] / sums.frames["untranscribed"])

        trained.workers.backward, trained._step = learnt_from, first
        with pytest.raises(Killed) as stopped:
            trained.run()
        return stopped.value.args

    (cut_id,), plain, logged = first_step("plain", False)
    weighted = first_step("weighted", True)
    sureness = both.sources["untranscribed"].targets.store.summary(cut_id).max_posterior
    assert 0.5 < sureness < 0.95 and logged == pytest.approx(plain, rel=1e-5)
    assert weighted[0] == (cut_id,) and weighted[1] == pytest.approx(sureness * plain, rel=1e-5)
    assert weighted[2] == logged, "what is logged is the loss itself"


def test_the_same_numbers_whatever_the_workers_and_checkpoints(both, tmp_path):
    phase = (PhaseOptions(untranscribed=1.0, max_sub_epochs=2),)
    one = trainer(both, tmp_path / "1", options(phases=phase))
    two = trainer(both, tmp_path / "2", options(phases=phase, workers=2, checkpoint_s=1e-9))
    assert numbers(one.run()) == numbers(two.run()) and same(weights(one), weights(two))


@pytest.mark.parametrize("after", [1, 4, 7, 10, 13])
def test_steps_equal_steps_before_and_after_a_kill(both, tmp_path, after):
    """Bit for bit, wherever in a sub-epoch; a checkpoint is made after every step here."""
    chosen = options(
        phases=(PhaseOptions(untranscribed=1.0, max_sub_epochs=2), PhaseOptions(chunk_frames=8, max_sub_epochs=1)),
        checkpoint_s=1e-9,
        average=2,
    )
    whole = trainer(both, tmp_path / "whole", chosen)
    expected = whole.run()
    killed = trainer(both, tmp_path / "killed", chosen)
    steps, step = [], killed._step

    def count(batch):
        if len(steps) == after:
            raise Killed
        steps.append(batch)
        step(batch)

    killed._step = count
    with pytest.raises(Killed):
        killed.run()
    torch.manual_seed(999)  # what a new process draws is its own
    resumed = trainer(both, tmp_path / "killed", chosen, seed=1)
    made, step = [], resumed._step
    resumed._step = lambda batch: (made.append(batch), step(batch))
    assert numbers(resumed.run()) == numbers(expected)
    assert same(weights(whole), weights(resumed))
    assert len(made) == expected[-1]["step"] - after


def test_a_checkpoint_of_another_training_is_not_continued(data, tmp_path):
    first = trainer(data, tmp_path, options(phases=(PhaseOptions(max_sub_epochs=1),)))
    first.run()
    other = trainer(data, tmp_path, options(batch_s=5.0, phases=(PhaseOptions(max_sub_epochs=1),)))
    assert other.run()[0]["step"] != 0 and len(other.log) == 1
    same_again = trainer(data, tmp_path, options(batch_s=5.0, phases=(PhaseOptions(max_sub_epochs=1),)))
    made = []
    same_again._step = made.append
    assert numbers(same_again.run()) == numbers(other.log) and not made  # it had ended


def test_a_damaged_checkpoint(data, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 not the rest of it")
    with pytest.raises(DataError, match=r"checkpoint\.pt: damaged checkpoint .*delete it"):
        trainer(data, tmp_path).run()


def test_a_batch_that_is_not_finite_is_saved_skipped_and_counted(data, tmp_path, monkeypatch):
    real, seen = criterion.hard_cross_entropy, []

    def sometimes(logits, senones):
        seen.append(len(senones))
        loss = real(logits, senones)
        return loss * math.nan if len(seen) == 2 and torch.is_grad_enabled() else loss

    monkeypatch.setattr(criterion, "hard_cross_entropy", sometimes)
    trained = trainer(data, tmp_path, options(phases=(PhaseOptions(max_sub_epochs=1),)))
    log = trained.run()
    assert log[-1]["nonfinite"] == 1 and all(torch.isfinite(value).all() for value in weights(trained).values())
    (saved,) = (tmp_path / "nonfinite").iterdir()
    content = torch.load(saved, weights_only=True)
    assert content["cut_ids"][0].startswith("tone-") and content["frames"].shape[0] == len(content["cut_ids"])
    assert len(content["senones"]) == seen[1]


def test_too_many_of_them_are_an_error(data, tmp_path, monkeypatch):
    monkeypatch.setattr(criterion, "hard_cross_entropy", lambda logits, _: logits.sum(dim=1) * math.nan)
    with pytest.raises(DataError, match=r"test: 3 batches with a loss .* the limit is 2; the last is in .*tone-"):
        trainer(data, tmp_path, options(nonfinite_limit=2)).run()


def test_training_ends_when_dev_says_so(data, tmp_path):
    chosen = options(
        optimiser=OptimiserOptions(lr=1e-9, warmup_steps=0, patience=1, max_decays=2, min_improvement=0.01),
        phases=(PhaseOptions(max_sub_epochs=50),),
    )
    log = trainer(data, tmp_path, chosen).run()
    assert len(log) == 4 and log[-1]["ended"] == "dev"
    assert [row["lr"] for row in log] == [1e-9, 5e-10, 2.5e-10, 2.5e-10]


def test_a_network_is_trained_and_saved(data, tmp_path):
    log_priors = log_priors_of(data.dev.targets.senones, NUM_SENONES)
    assert np.exp(log_priors).sum() == pytest.approx(1.0, abs=1e-6)
    network, log = train_network(data, options(), log_priors, "fingerprint", 1, tmp_path, "test")
    loaded = Network.load(tmp_path / "network")
    assert loaded.senones == "fingerprint" and not (tmp_path / "checkpoint.pt").exists()
    np.testing.assert_array_equal(loaded.log_priors, log_priors)
    assert same(loaded.model.state_dict(), network.model.state_dict()) and log
