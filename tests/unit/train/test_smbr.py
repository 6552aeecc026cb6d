"""Sequence training on lattices of tones: what it hears, what it learns, what it keeps, what it leaves out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pyasr.align.alignments import save_alignments
from pyasr.align.senones import Senones
from pyasr.align.tree import Tree
from pyasr.base.errors import DataError
from pyasr.base.executor import SerialExecutor
from pyasr.base.skips import Skips
from pyasr.corpora import write_cuts
from pyasr.decode.part import Scales
from pyasr.dist.emulate import run_emulated
from pyasr.dist.options import DistOptions, GTCOptions
from pyasr.dist.workers import Workers
from pyasr.features.augment import AugmentOptions
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.nn.options import NetworkOptions
from pyasr.targets.lattices import LatticeSet, make_lattices
from pyasr.targets.options import LatticeOptions
from pyasr.train.data import BatchMaker
from pyasr.train.dev import dev_augment
from pyasr.train.heard import HeardSource
from pyasr.train.loop import Trainer, TrainingData
from pyasr.train.options import OptimiserOptions, PhaseOptions, SmbrOptimiserOptions, SmbrOptions, TrainOptions
from pyasr.train.plan import BatchPlan
from pyasr.train.smbr import LatticeBatches, SmbrCriterion
from pyasr.train.source import Source
from pyasr.train.targets import HardTargets

NUM_SENONES, SCALES = 4, Scales(2.0)
SPEEDS = AugmentOptions(speeds=(0.9, 1.0, 1.1), time_masks=1)
CE = TrainOptions(
    network=NetworkOptions(layers=1, units=12, delay_frames=2),
    optimiser=OptimiserOptions(lr=0.02, warmup_steps=2),
    phases=(PhaseOptions(max_sub_epochs=6),),
    augment=SPEEDS,
    batch_s=4.0,
    workers=0,
    threads=1,
)
SMBR = SmbrOptions(
    on=True, draws=2, epochs=3, optimiser=SmbrOptimiserOptions(lr=2e-3), lattices=LatticeOptions(max_lost=1.0)
)


def senones_of_tones():
    phones, topology = PhoneTable(("SIL", "DO", "MI", "SO")), Topology(states=1, silence_states=1)
    tree = Tree(tuple((node,) for node in range(4)), tuple((-1, pdf, -1, -1) for pdf in range(4)), ())
    return Senones(phones, topology, tree, TransitionModel.build(phones, topology, tree), np.ones(4))


def any_tones(path):
    """A graph of any sequence of the phones."""
    arcs = [(0, 2 * p + 1, p + 1, 1.4, p + 1) for p in range(4)]
    arcs += [(p + 1, 2 * p + 2, 0, 0.1, p + 1) for p in range(4)] + [(p + 1, 0, 0, 0.5, 0) for p in range(4)]
    names = ("source", "ilabel", "olabel", "weight", "nextstate")
    FstArrays.from_arcs(0, np.zeros(5), dict(zip(names, map(np.array, zip(*arcs))))).write(path)
    return path


class World:
    """A network trained by cross-entropy, and lattices by it."""

    def __init__(self, tones, folder):
        self.folder, targets = folder, HardTargets(tones.senones)
        self.data = TrainingData(
            {"transcribed": Source(tones.cuts[:9], targets)}, Source(tones.cuts[9:], targets), tones.frontend
        )
        torch.manual_seed(1)
        self.senones = senones_of_tones()
        model = AcousticModel(tones.frontend.dim, NUM_SENONES, CE.network)
        Trainer(model, self.data, CE, 1, folder / "ce", "ce", device="cpu").run()
        Network(model.eval(), tones.frontend, self.senones.fingerprint).save(folder / "network")
        self.senones.save(folder / "senones")
        write_cuts(folder / "cuts.jsonl.gz", tones.cuts)
        save_alignments(folder / "targets.npz", tones.senones)
        graph = any_tones(folder / "graph.fst")
        wanted = [("draw-0", 0, SPEEDS, tones.cuts[:9]), ("draw-1", 1, SPEEDS, tones.cuts[:9])]
        wanted.append(("dev", 0, dev_augment(SPEEDS), tones.cuts[9:]))
        for name, draw, augment, cuts in wanted:
            ids = [cut.id for cut in cuts]
            source = self.source(draw, augment)
            make_lattices(folder / name, source, ids, graph, SCALES, SMBR.lattices, {}, SerialExecutor())

    def source(self, draw, augment):
        paths = (self.folder / name for name in ("network", "senones", "cuts.jsonl.gz", "targets.npz"))
        return HeardSource(*paths, augment, None, 1, draw, 0.8)

    def sets(self):
        return [LatticeSet.open(self.folder / name) for name in ("draw-0", "draw-1")]

    def criterion(self, dev_wer, sets=None, options=SMBR, limit=0.05):
        data = self.data
        maker = BatchMaker({"dev": data.dev}, data.frontend, dev_augment(SPEEDS), None, 1, CE.network.delay_frames)
        return SmbrCriterion(
            options=options,
            acoustic_scale=SCALES.acoustic_scale,
            prior_scale=0.8,
            silence=np.array([0]),
            lattices=sets or self.sets(),
            dev_batches=LatticeBatches(maker, [LatticeSet.open(self.folder / "dev")]),
            dev_wer=dev_wer,
            num_cuts=9,
            made_from=[options],
            skips=Skips("utterances", limit),
        )

    def trainer(self, folder, criterion, workers=None):
        model = Network.load(self.folder / "network").model
        options = criterion.options.of(CE)
        return Trainer(
            model, self.data, options, 1, folder, "smbr", device="cpu", criterion=criterion, workers=workers
        )


@pytest.fixture(scope="module")
def world(tones, tmp_path_factory):
    return World(tones, tmp_path_factory.mktemp("smbr"))


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def falling():
    """A rate that falls whenever it is asked for."""
    rates = iter(range(90, 0, -1))
    return lambda model: float(next(rates))


def test_lattices_are_of_what_training_hears(world):
    """Frames, delay, speed and masks: the likelihoods in the making of a lattice are those of the batch, by frame."""
    model = Network.load(world.folder / "network").model
    maker = BatchMaker(world.data.sources, world.data.frontend, SPEEDS, None, 1, CE.network.delay_frames)
    batches, heard = LatticeBatches(maker, world.sets()), set()
    for epoch in (0, 1, 2):
        batch = batches[BatchPlan("transcribed", epoch, tuple(range(9)))]
        with torch.no_grad():
            logits = batch.rows(model(batch.frames, batch.lengths))
        rows = (torch.log_softmax(logits, dim=1) - 0.8 * model.log_priors).split(batch.lengths.tolist())
        opened = world.source(epoch % 2, SPEEDS).open()
        references = batch.senones.split(batch.lengths.tolist())
        for cut_id, found, ours, reference in zip(batch.cut_ids, batch.lattices, rows, references):
            loglikes, _ = opened.utterance(cut_id)
            np.testing.assert_allclose(ours.numpy(), loglikes, atol=1e-4)
            np.testing.assert_array_equal(found.reference, reference.numpy())
            heard.add((cut_id, epoch, len(loglikes)))
    assert len({(cut_id, length) for cut_id, _, length in heard}) > 9  # draws differ in speed
    assert {row for row in heard if row[1] == 0} == {(c, 0, n) for c, e, n in heard if e == 2}


def test_expected_accuracy_rises_on_dev(world, tmp_path):
    log = world.trainer(tmp_path, world.criterion(falling())).run()
    assert [row["sub_epoch"] for row in log] == [-1, 0, 1, 2] and log[-1]["ended"] == "max_sub_epochs"
    assert log[-1]["dev_expected_accuracy"] > log[0]["dev_expected_accuracy"] + 0.5
    assert all(row["density"] > 1 and 0 <= row["reference_lost"] < 50 for row in log[1:])
    assert log[-1]["expected_accuracy"] > log[1]["expected_accuracy"] > 50
    assert "expected_accuracy" not in log[0] and log[0]["dev_wer"] == 90


def test_the_model_as_it_was_is_kept_when_nothing_is_better(world, tmp_path):
    before = weights(Network.load(world.folder / "network").model)
    rates = iter([10.0, 10.0, 11.0, 12.0])
    trained = world.trainer(tmp_path, world.criterion(lambda model: next(rates)))
    log = trained.run()
    assert same(weights(trained.model), before) and len(log) == 4
    assert [row["lr"] for row in log] == [2e-3, 1e-3, 5e-4, 2.5e-4]
    rates = iter([10.0, 9.0, 11.0, 12.0])
    trained = world.trainer(tmp_path / "better", world.criterion(lambda model: next(rates)))
    trained.run()
    assert not same(weights(trained.model), before)


@pytest.mark.parametrize("kill_at", [0, 2, 5])
def test_killed_and_continued_is_the_same(world, tmp_path, kill_at):
    """At the first judgement, and within sub-epochs."""
    rate = lambda model: float(model.output.bias.abs().sum())  # noqa: E731  a function of the weights alone
    whole = world.trainer(tmp_path / "whole", world.criterion(rate))
    log = whole.run()
    killed = world.trainer(tmp_path / "killed", world.criterion(rate))
    real, steps = killed._step, []

    def step(batch):
        if len(steps) == kill_at:
            killed._save()
            raise KeyboardInterrupt
        steps.append(batch)
        real(batch)

    killed._step = step
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    again = world.trainer(tmp_path / "killed", world.criterion(rate))
    varying = {"seconds", "frames_per_s"}
    assert [{k: v for k, v in row.items() if k not in varying} for row in again.run()] == [
        {k: v for k, v in row.items() if k not in varying} for row in log
    ]
    assert same(weights(again.model), weights(whole.model))


@pytest.mark.parametrize("method", ["ddp", "gtc", "gtc+bmuf"])
def test_several_workers_train_one_model_and_the_first_judges_it(world, tmp_path, method):
    """Each learns from lattices of its own utterances; the log counts those of all."""
    judged, chosen = [], DistOptions(method=method, group_size=2, gtc=GTCOptions(density=0.2))
    size, sgd = 4 if method == "gtc+bmuf" else 2, SmbrOptimiserOptions(kind="sgd", lr=0.05)
    smbr = SMBR.model_copy(update={"optimiser": sgd})

    def work(comm):
        def rate(model):
            judged.append(comm.rank)
            return float(model.output.bias.abs().sum())

        trained = world.trainer(tmp_path, world.criterion(rate, options=smbr), Workers(chosen, comm))
        return trained.run(), weights(trained.model), trained.rate.state()

    results = run_emulated(size, work)
    log, model, rate = results[0]
    assert all(same(model, other) and rate == state for _, other, state in results)
    assert not same(model, weights(Network.load(world.folder / "network").model)) or log[0]["best"]
    assert judged == [0] * len(judged) and len(judged) >= len(log) == 4
    alone = world.trainer(tmp_path / "alone", world.criterion(falling())).run()
    assert [row.get("frames_transcribed") for row in log] == [row.get("frames_transcribed") for row in alone]


def break_lattice(sets, cut_id, how):
    """Lattice sets in which a cut's lattice is another's, or is not there."""
    files = dict(sets[0].files)
    others = {name for name in files if name != cut_id}
    if how == "missing":
        del files[cut_id]
    else:
        frames = sets[0].read(cut_id).lattice.num_frames
        files[cut_id] = files[next(c for c in others if sets[0].read(c).lattice.num_frames != frames)]
    return [replace(sets[0], files=files)]


@pytest.mark.parametrize(("how", "reason"), [("missing", "no lattice in"), ("other", "mismatch in time")])
def test_a_lattice_that_does_not_fit_is_named_counted_and_limited(world, tmp_path, how, reason):
    sets = break_lattice(world.sets(), "tone-3", how)
    criterion = world.criterion(falling(), sets, limit=0.2)
    world.trainer(tmp_path, criterion).run()
    assert [row["id"] for row in criterion.skips.rows] == ["tone-3"] and reason in criterion.skips.rows[0]["reason"]
    with pytest.raises(DataError, match=f"1 of 9 utterances skipped, more than the limit of 5 %: tone-3 .*{reason}"):
        world.trainer(tmp_path / "strict", world.criterion(falling(), sets)).run()


def loss_and_gradient(world, options):
    model = Network.load(world.folder / "network").model
    maker = BatchMaker(world.data.sources, world.data.frontend, SPEEDS, None, 1, CE.network.delay_frames)
    criterion = world.criterion(falling(), options=options)
    batch = criterion.batches(maker)[BatchPlan("transcribed", 0, (0, 1, 2))]
    logits = batch.rows(model(batch.frames, batch.lengths)).detach().requires_grad_()
    loss, counts = criterion.loss(model, logits, batch)
    loss.mean().backward()
    return loss.detach(), logits, batch, counts


def test_the_loss_is_the_share_of_errors_and_some_cross_entropy(world):
    plain = SMBR.model_copy(update={"ce_weight": 0.0})
    loss, logits, batch, counts = loss_and_gradient(world, plain)
    assert loss.shape == (batch.num_frames,)
    assert float(loss.sum()) == pytest.approx(batch.num_frames - counts["right"], rel=1e-5)
    smoothed, logits_too, _, _ = loss_and_gradient(world, SMBR.model_copy(update={"ce_weight": 0.3}))
    cross_entropy = torch.nn.functional.cross_entropy(logits.detach(), batch.senones, reduction="none")
    torch.testing.assert_close(smoothed, loss + 0.3 * cross_entropy)
    of_ce = (torch.softmax(logits.detach(), dim=1) - torch.nn.functional.one_hot(batch.senones, 4)) / len(loss)
    torch.testing.assert_close(logits_too.grad, logits.grad + 0.3 * of_ce, atol=1e-7, rtol=1e-4)


def test_a_loss_that_is_not_finite_is_left_to_the_loop(world):
    criterion = world.criterion(falling())
    model = Network.load(world.folder / "network").model
    maker = BatchMaker(world.data.sources, world.data.frontend, SPEEDS, None, 1, CE.network.delay_frames)
    batch = criterion.batches(maker)[BatchPlan("transcribed", 0, (0,))]
    loss, _ = criterion.loss(model, torch.full((batch.num_frames, 4), torch.nan), batch)
    assert torch.isnan(loss).all()
