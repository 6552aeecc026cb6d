"""Lazy training data: each cut once an epoch, the same from any place on, and few manifests read."""

import itertools

import pytest
import torch

from pyasr.base.errors import DataError
from pyasr.corpora import write_cuts
from pyasr.features.augment import AugmentOptions
from pyasr.ops import pack_topk, unpack_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.parted import PartedStore
from pyasr.train import lazy
from pyasr.train.data import BatchMaker
from pyasr.train.lazy import LazyOptions, LazySource, Manifests, Place, interleave, lazy_batches
from pyasr.train.targets import num_stacks

NUM_SENONES, K = 30, 5
OPTIONS = LazyOptions(batch_s=3.0, seed=1, buffer=2)


@pytest.fixture
def corpus(tones, tmp_path):
    """Seven manifests of the tones, each with ids of its own; the store has a part for each."""
    (tmp_path / "cuts").mkdir()
    store = PosteriorStore.create(tmp_path / "store", NUM_SENONES, K, phases=1)
    for number in range(7):
        cuts = [cut.with_id(f"{number}-{cut.id}") for cut in tones.cuts[: 2 + number % 2]]
        write_cuts(tmp_path / "cuts" / f"part.{number}.jsonl.gz", cuts)
        with store.writer(part=f"part_{number}") as writer:
            for cut in cuts:
                rows = num_stacks(len(tones.senones[cut.id[2:]]), 3, 1)
                logits = torch.randn(rows, NUM_SENONES, generator=torch.Generator().manual_seed(sum(cut.id.encode())))
                writer.put(cut.id, pack_topk(logits, K))
    return tmp_path


def ids_of(plans):
    return [(plan.epoch, *((line.part, line.number) for line in plan.cuts)) for plan, _ in plans]


def until_epoch(batches, epoch):
    return list(itertools.takewhile(lambda made: made[0].epoch < epoch, batches))


def test_every_cut_once_an_epoch_in_another_order(corpus):
    manifests = Manifests(corpus / "cuts")
    plans = until_epoch(lazy_batches(manifests, "untranscribed", OPTIONS), 2)
    epochs = [[line for plan, _ in plans if plan.epoch == epoch for line in plan.cuts] for epoch in (0, 1)]
    assert len(epochs[0]) == 17 and len(set(epochs[0])) == 17 and set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]
    assert all(plan.source == "untranscribed" and plan.cuts for plan, _ in plans)


def test_the_same_from_any_place_on_reading_its_window_alone(corpus, monkeypatch):
    manifests = Manifests(corpus / "cuts")
    plans = until_epoch(lazy_batches(manifests, "x", OPTIONS), 2)
    read, real = [], lazy.iterate_lines
    monkeypatch.setattr(lazy, "iterate_lines", lambda path: read.append(path) or real(path))
    for number in range(0, len(plans) - 1, 3):
        read.clear()
        batches = lazy_batches(manifests, "x", OPTIONS, start=plans[number][1])
        assert ids_of([next(batches)]) == ids_of(plans[number + 1 : number + 2])
        assert len(read) <= 2 * OPTIONS.buffer  # its window; and the next, when it was the last of one
        rest = until_epoch(batches, 2)
        assert ids_of(rest) == ids_of(plans[number + 2 :])


def test_seed_and_source_change_the_order(corpus):
    manifests = Manifests(corpus / "cuts")
    first = [
        ids_of(until_epoch(lazy_batches(manifests, source, LazyOptions(3.0, seed, 2)), 1))
        for source, seed in (("x", 1), ("y", 1), ("x", 2), ("x", 1))
    ]
    assert first[0] == first[3] and first[0] != first[1] and first[0] != first[2]


def test_sources_are_interleaved_and_go_on(corpus):
    manifests = Manifests(corpus / "cuts")
    streams = {name: lazy_batches(manifests, name, OPTIONS) for name in ("transcribed", "untranscribed")}
    first = list(interleave(streams, {"transcribed": 2, "untranscribed": 6}))
    assert [plan.source[0] for plan, _ in first] == list("utuuutuu")
    places = {plan.source: place for plan, place in first}
    second = list(interleave(streams, {"transcribed": 2, "untranscribed": 6}, block_batches=2))
    resumed = {name: lazy_batches(manifests, name, OPTIONS, place) for name, place in places.items()}
    assert ids_of(interleave(resumed, {"transcribed": 2, "untranscribed": 6}, 2)) == ids_of(second)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_made_of_lines_and_parts(corpus, tones, workers):
    source = LazySource.of(Manifests(corpus / "cuts"), corpus / "store", open_parts=2)
    maker = BatchMaker({"x": source}, tones.frontend, AugmentOptions(stack_phase=False), None, seed=1, delay=0)
    plans = [plan for plan, _ in until_epoch(lazy_batches(Manifests(corpus / "cuts"), "x", OPTIONS), 1)]
    store = PosteriorStore.open(corpus / "store")
    loader = torch.utils.data.DataLoader(maker, batch_size=None, sampler=plans, num_workers=workers)
    for batch in loader:
        expected = unpack_topk(torch.cat([store.packed(cut_id) for cut_id in batch.cut_ids]), K, NUM_SENONES)
        assert torch.equal(batch.ids, expected[0].long()) and torch.equal(batch.logp, expected[1])


def test_few_parts_are_open_and_others_are_named(corpus):
    store = PartedStore(corpus / "store", open_parts=2)
    for number in (0, 1, 2):
        store.open_part(f"part_{number}")
        assert f"{number}-tone-0" in store
    assert "0-tone-0" not in store and store.metadata == {"phases": 1}
    with pytest.raises(DataError, match="no posteriors of cut 0-tone-0 in parts part_1, part_2"):
        store.packed("0-tone-0")
    with pytest.raises(DataError, match="no posteriors of part part; label its manifest"):
        store.open_part("part")


def test_bad_manifests_are_named(tmp_path):
    with pytest.raises(DataError, match="cannot be listed"):
        Manifests(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no manifests"):
        Manifests(tmp_path)
    (tmp_path / "part.jsonl").write_text('{"duration": 1.0}\n{"id": 3}\n')
    with pytest.raises(DataError, match=r"part:2: not a Lhotse cut \(KeyError"):
        next(lazy_batches(Manifests(tmp_path), "x", OPTIONS, Place()))
