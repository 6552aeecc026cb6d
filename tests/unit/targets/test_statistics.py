"""What a store holds, said with one part of it in memory."""

import tracemalloc

import torch
from lhotse import MonoCut

from pyasr.corpora import write_cuts
from pyasr.ops import pack_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.coverage import coverage
from pyasr.targets.repair import repair_shard
from pyasr.targets.statistics import statistics

SENONES, K = 40, 3
ROWS = pack_topk(torch.randn(20, SENONES, generator=torch.Generator().manual_seed(0)), K)


def put(store, part, cut_ids, rows=ROWS):
    with store.writer(part=part) as writer:
        for cut_id in cut_ids:
            writer.put(cut_id, rows)


def manifest(path, cut_ids):
    write_cuts(path, [MonoCut(cut_id, 0.0, 36.0, 0) for cut_id in cut_ids])
    return path


def spoil(store, part):
    """Damage the first cut of a part's only shard, and repair that."""
    (name,) = PosteriorStore.open(store.folder, part).shard_names()
    shard, path = store.shard(name), store.folder / "shards" / name
    content = bytearray(path.read_bytes())
    content[int(shard.index.offsets[0]) + len(shard.index.entry(0).header)] ^= 1
    path.write_bytes(content)
    store.shard_folder.forget()
    repair_shard(store, name)


def peak_of(function, *arguments):
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_parts(tmp_path):
    store, none, manifests, peaks = PosteriorStore.create(tmp_path / "store", SENONES, K), ROWS[:0], [], []
    for number in range(8):
        cut_ids = [f"{number:04d}-{cut:060d}" for cut in range(600)]
        put(PosteriorStore.open(store.folder, f"m_{number}"), None, cut_ids, none)
        manifests.append(manifest(tmp_path / f"m.{number}.jsonl.gz", cut_ids))
        if number in (1, 7):
            peaks.append([peak_of(statistics, store), peak_of(coverage, store, manifests)])
    assert statistics(store).cuts == 4800 and coverage(store, manifests).stored == 4800
    for few, many in zip(*peaks):
        assert many < 1.2 * few, peaks


def test_cuts_are_counted_once_a_part(tmp_path):
    store = PosteriorStore.create(tmp_path, SENONES, K)
    put(store, "x", ["a", "b"])
    put(store, "y", ["c"])
    found = statistics(store)
    assert (found.cuts, found.doubled, found.incomplete, found.frames) == (3, 0, 0, 60)


def test_a_cut_that_was_labelled_again_is_not_incomplete(tmp_path):
    store = PosteriorStore.create(tmp_path, SENONES, K)
    long = ROWS.repeat(20, 1)
    put(store, "x", ["a", "b"], long)
    spoil(store, "x")
    found = statistics(store)
    assert (found.cuts, found.doubled, found.incomplete) == (2, 0, 1)
    put(PosteriorStore.open(tmp_path), "x", ["a"], long)
    found = statistics(store)
    assert (found.cuts, found.doubled, found.incomplete) == (2, 1, 0)


def test_coverage_looks_where_labelling_puts_cuts(tmp_path):
    store = PosteriorStore.create(tmp_path / "store", SENONES, K)
    put(store, "m_1", ["a", "b"], ROWS.repeat(20, 1))
    put(store, None, ["c"])  # as a recipe with one manifest does
    spoil(store, "m_1")
    manifests = [manifest(tmp_path / "m.1.jsonl.gz", ["a", "b"]), manifest(tmp_path / "rest.jsonl.gz", ["c", "d"])]
    found = coverage(store, manifests)
    assert (found.cuts, found.stored, found.missing, found.more) == (4, 2, ["a", "d"], False)
    assert abs(found.hours - 0.04) < 1e-9 and abs(found.share - 0.5) < 1e-9
