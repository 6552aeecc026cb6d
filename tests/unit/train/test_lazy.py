"""Training data in many manifests: each cut once a pass, the same from any place on, few manifests read; and training
on it, killed and continued, and by two workers."""

import contextlib
import shutil
from collections import Counter

import pytest
import torch

from pyasr.base.artifact import read_jsonl
from pyasr.base.errors import DataError
from pyasr.corpora import write_cuts
from pyasr.dist.comm import Alone
from pyasr.dist.emulate import run_emulated
from pyasr.dist.options import DistOptions
from pyasr.dist.workers import Workers
from pyasr.features.augment import AugmentOptions
from pyasr.nn.model import AcousticModel
from pyasr.nn.options import NetworkOptions
from pyasr.ops import pack_topk, unpack_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.parted import PartedStore
from pyasr.train import lazy
from pyasr.train.data import BatchMaker
from pyasr.train.feed import make_batches
from pyasr.train.lazy import LazySource, Manifests
from pyasr.train.loop import Trainer, TrainingData
from pyasr.train.options import PhaseOptions, TrainOptions
from pyasr.train.source import Source
from pyasr.train.targets import HardTargets, num_stacks

NUM_SENONES, K = 30, 5
PARTS, CUTS = 7, 17


@pytest.fixture
def corpus(tones, tmp_path):
    """Seven manifests of the tones, each with ids of its own; the store has a part for each."""
    (tmp_path / "cuts").mkdir()
    store = PosteriorStore.create(tmp_path / "store", NUM_SENONES, K, phases=1)
    for number in range(PARTS):
        cuts = [cut.with_id(f"{number}-{cut.id}") for cut in tones.cuts[: 2 + number % 2]]
        write_cuts(tmp_path / "cuts" / f"part.{number}.jsonl.gz", cuts)
        with store.writer(part=f"part_{number}") as writer:
            for cut in cuts:
                rows = num_stacks(len(tones.senones[cut.id[2:]]), 3, 1)
                logits = torch.randn(rows, NUM_SENONES, generator=torch.Generator().manual_seed(sum(cut.id.encode())))
                writer.put(cut.id, pack_topk(logits * (1 + number), K))  # surer and surer
    return tmp_path


def source_of(corpus, buffer=2, **options):
    return LazySource.of_store(Manifests(corpus / "cuts"), corpus / "store", buffer, **options)


def plans_of(source, begin=0.0, end=1.0, first=0, name="untranscribed", seed=1):
    return [plan for stretch in source.stretches(name, 3.0, seed, begin, end, first) for plan in stretch.batches]


def ids_of(plans):
    return [(plan.epoch, *((line.part, line.number) for line in plan.cuts)) for plan in plans]


def test_every_cut_once_a_pass_in_another_order(corpus):
    write_cuts(corpus / "cuts" / "empty.jsonl.gz", [])
    plans = plans_of(source_of(corpus), end=2.0)
    epochs = [[line for plan in plans if plan.epoch == epoch for line in plan.cuts] for epoch in (0, 1)]
    assert len(epochs[0]) == CUTS and len(set(epochs[0])) == CUTS and set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]
    assert all(plan.source == "untranscribed" and plan.cuts for plan in plans)


def test_any_stretch_is_the_same_whatever_came_before_and_reads_its_manifests_alone(corpus, monkeypatch):
    read, real = [], lazy.iterate_lines
    monkeypatch.setattr(lazy, "iterate_lines", lambda path: read.append(path) or real(path))
    whole = list(source_of(corpus).stretches("x", 3.0, 1, 0.0, 2.0))
    assert len(whole) == 2 * 4 and [stretch.number for stretch in whole] == list(range(8))
    for number, expected in enumerate(whole):
        read.clear()
        stretch = next(source_of(corpus).stretches("x", 3.0, 1, 0.0, 2.0, number))
        assert stretch == expected and len(read) <= 2
    assert ids_of(plans_of(source_of(corpus), 0.25, 0.5, name="x")) == ids_of(whole[1].batches)


def test_seed_and_source_change_the_order(corpus):
    keys = (("x", 1), ("y", 1), ("x", 2), ("x", 1))
    first = [ids_of(plans_of(source_of(corpus), name=name, seed=seed)) for name, seed in keys]
    assert first[0] == first[3] and first[0] != first[1] and first[0] != first[2]


def test_cuts_that_the_teacher_is_not_sure_of_are_left_out(corpus):
    store = PosteriorStore.open(corpus / "store")
    sureness = {cut_id: store.summary(cut_id).max_posterior for cut_id in store}
    least = sorted(sureness.values())[CUTS // 2]
    source = source_of(corpus, min_posterior=least)
    found = {source.cuts[line].id for plan in plans_of(source) for line in plan.cuts}
    assert found == {cut_id for cut_id, sure in sureness.items() if sure >= least} and 0 < len(found) < CUTS
    with pytest.raises(DataError, match=r"cuts: none of 17 utterances of a sub-epoch has targets.*min_posterior"):
        plans_of(source_of(corpus, min_posterior=1.0))


@pytest.mark.parametrize("readers", [0, 2])
def test_batches_are_made_of_lines_and_parts(corpus, tones, readers):
    source = source_of(corpus, buffer=1)
    maker = BatchMaker({"x": source}, tones.frontend, AugmentOptions(stack_phase=False), None, seed=1, delay=0)
    store, seen = PosteriorStore.open(corpus / "store"), []
    for batch in make_batches(maker, plans_of(source, name="x"), readers):
        expected = unpack_topk(torch.cat([store.packed(cut_id) for cut_id in batch.cut_ids]), K, NUM_SENONES)
        assert torch.equal(batch.ids, expected[0].long()) and torch.equal(batch.logp, expected[1])
        seen += batch.cut_ids
    assert sorted(seen) == list(store)


@pytest.fixture
def data(corpus, tones):
    """transcribed: also of a folder, with alignments."""
    (corpus / "transcribed").mkdir()
    for number in range(3):
        write_cuts(corpus / "transcribed" / f"{number}.jsonl.gz", tones.cuts[3 * number : 3 * number + 3])
    targets = HardTargets(tones.senones)
    transcribed = LazySource(Manifests(corpus / "transcribed"), targets, buffer=1)
    sources = {"transcribed": transcribed, "untranscribed": source_of(corpus)}
    return TrainingData(sources, Source(tones.cuts[9:], targets), tones.frontend)


def trainer(data, folder, comm=None, **changed):
    values = {
        "network": NetworkOptions(layers=1, units=8, delay_frames=1, dropout=0.1),
        "phases": (PhaseOptions(transcribed=0.5, untranscribed=1.5, max_sub_epochs=2),),
        "augment": AugmentOptions(stack_phase=False),
        "batch_s": 3.0,
        "workers": 0,
        "threads": 1,
        "checkpoint_s": 1e-9,
        **changed,
    }
    options, method = TrainOptions(**values), "none" if comm is None else "ddp"
    torch.manual_seed(1)
    model = AcousticModel(data.frontend.dim, NUM_SENONES, options.network)
    workers = Workers(DistOptions(method=method, deterministic=comm is not None), comm)
    return Trainer(model, data, options, 1, folder, "test", device="cpu", workers=workers)


class Killed(Exception):
    """In the place of SIGKILL."""


def train(made, stop_after=None):
    """(weights, dev losses, sources and ids in order), as far as it came; a checkpoint is made after every step."""
    seen, to_step = [], made._step

    def step(batch):
        if len(seen) == stop_after:
            raise Killed
        seen.append((batch.source, batch.cut_ids))
        to_step(batch)

    made._step = step
    with contextlib.suppress(Killed):
        made.run()
    return [p.tolist() for p in made.model.parameters()], [row["dev_loss"] for row in made.log], seen


@pytest.mark.parametrize("readers", [0, 2])
def test_training_killed_anywhere_goes_on_exactly(data, tmp_path, readers):
    weights, losses, seen = train(trainer(data, tmp_path / "whole", workers=readers))
    assert len(losses) == 2 and all(loss > 0 for loss in losses)
    counts = Counter(cut_id for source, ids in seen if source == "untranscribed" for cut_id in ids)
    assert len(counts) == CUTS and set(counts.values()) == {3}, "2 sub-epochs of 1.5 passes"
    for after in (len(seen) // 2,) if readers else (len(seen) // 3, len(seen) - 2):
        _, _, before = train(trainer(data, tmp_path / f"{after}", workers=readers), after)
        resumed = train(trainer(data, tmp_path / f"{after}", workers=readers))
        assert before + resumed[2] == seen and resumed[:2] == (weights, losses), after


def test_a_training_that_goes_on_reads_no_manifest_of_what_is_done(data, tmp_path, monkeypatch):
    phases = (PhaseOptions(transcribed=0.0, untranscribed=3.0, max_sub_epochs=1),)
    killed = trainer(data, tmp_path, phases=phases)
    train(killed, 24)
    window, _ = killed.position.places["untranscribed"]
    read, real = [], lazy.iterate_lines
    monkeypatch.setattr(lazy, "iterate_lines", lambda path: read.append(path) or real(path))
    train(trainer(data, tmp_path, phases=phases))
    sizes = [2, 2, 2, 1] * 3  # manifests of the windows of three passes
    assert window > 4 and len(read) == sum(sizes[window:])


def test_two_workers_read_other_data_and_go_on_as_one(data, tmp_path):
    phases = (PhaseOptions(transcribed=1.0, untranscribed=2.0, max_sub_epochs=1),)

    def worker(comm, folder, stop_after=None):
        return train(trainer(data, folder, comm, phases=phases), stop_after)

    def counts(results):
        return Counter((source, cut_id) for _, _, seen in results for source, ids in seen for cut_id in ids)

    whole = run_emulated(2, lambda comm: worker(comm, tmp_path / "whole"))
    assert whole[0][:2] == whole[1][:2]
    (row,) = read_jsonl(tmp_path / "whole" / "log.jsonl")
    found = counts(whole)
    assert max(found.values()) == 2 and sum(found.values()) == 2 * CUTS + 9 - row["left_out"] and row["left_out"] < 3
    before = run_emulated(2, lambda comm: worker(comm, tmp_path / "killed", 3))
    shutil.copytree(tmp_path / "killed", tmp_path / "fewer")
    after = run_emulated(2, lambda comm: worker(comm, tmp_path / "killed"))
    assert [row[:2] for row in after] == [row[:2] for row in whole]
    assert [b[2] + a[2] for b, a in zip(before, after)] == [seen for _, _, seen in whole]
    alone = worker(Alone(), tmp_path / "fewer")
    found = counts([*before, alone])
    assert {n for (source, _), n in found.items() if source == "untranscribed"} == {2} and len(found) == CUTS + 9


def test_few_parts_are_open_and_others_are_named(corpus):
    store = PartedStore(corpus / "store", open_parts=2)
    for number in (0, 1, 2):
        store.open_part(f"part_{number}")
        assert f"{number}-tone-0" in store
    assert "0-tone-0" not in store and store.metadata == {"phases": 1}
    assert store.summary("2-tone-0") == PosteriorStore.open(corpus / "store").summary("2-tone-0")
    with pytest.raises(DataError, match="no posteriors of cut 0-tone-0 in parts part_1, part_2"):
        store.packed("0-tone-0")
    with pytest.raises(DataError, match="no posteriors of part part; label its manifest"):
        store.open_part("part")


def test_bad_manifests_are_named(tmp_path):
    with pytest.raises(DataError, match="cannot be listed"):
        Manifests(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no manifests"):
        Manifests(tmp_path)
    (tmp_path / "part.jsonl").write_text('{"id": "a", "duration": 1.0}\n{"id": 3}\n')
    with pytest.raises(DataError, match=r"part:2: not a Lhotse cut \(KeyError"):
        plans_of(LazySource(Manifests(tmp_path), HardTargets({"a": None})))
