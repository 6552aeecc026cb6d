"""Verification finds every changed byte and says where; repair drops just that, and labelling again makes it whole."""

import random

import pytest
import torch

from pyasr.ops import pack_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.merge import merge_stores
from pyasr.targets.repair import repair_shard
from pyasr.targets.shard import BEGIN, TRAILER
from pyasr.targets.verify import verify, verify_shard

SENONES, K = 40, 3


def rows_of(num_rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return pack_topk(torch.randn(num_rows, SENONES, generator=generator).cumsum(0), K)


CUTS = {"a": rows_of(5), "b/ü": rows_of(300, 1), "empty": rows_of(0), "c": rows_of(2, 2)}


def make_store(folder, cuts=CUTS, **options):
    store = PosteriorStore.create(folder, SENONES, K)
    with store.writer(**options) as writer:
        for cut_id, packed in cuts.items():
            writer.put(cut_id, packed)
    (name,) = store.shard_names()
    return store, folder / "shards" / name


def places(store):
    """What a byte of the only shard is: (what, cut, frames), in order."""
    index = store.shard(store.shard_names()[0]).index
    found = [("head", None, None)] * BEGIN
    for number in range(len(index)):
        entry = index.entry(number)
        assert index.offsets[number] == len(found)
        found += [("header", entry.cut_id, None)] * len(entry.header)
        for block, size in enumerate(entry.sizes):
            frames = (256 * block, min(256 * block + 256, entry.num_rows) - 1)
            found += [("block", entry.cut_id, frames)] * size
    return found + [("index", None, None)] * (store.shard(store.shard_names()[0]).num_bytes - len(found))


def assert_found(store, shard, content, position, value, place):
    what, cut_id, frames = place
    damaged = bytearray(content)
    damaged[position] = value
    shard.write_bytes(damaged)
    store.shard_folder.forget()
    found = list(verify_shard(store, shard.name))
    assert found, (position, value)
    if what in ("header", "block"):
        assert [(damage.cut_id, damage.frames) for damage in found] == [(cut_id, frames)]
        assert f"cut {cut_id}" in str(found[0])
    else:
        assert all(damage.cut_id is None for damage in found) and len(found) == 1
    assert shard.name in str(found[0])


def test_every_byte_that_changes_is_found(tmp_path):
    still = rows_of(1).expand(260, -1)  # two blocks of few bytes
    store, shard = make_store(tmp_path, {"a": CUTS["a"], "b": still, "empty": CUTS["empty"]})
    content, draw = shard.read_bytes(), random.Random(1)
    where = places(store)
    assert len(where) == len(content) and list(verify(store)) == []
    for position, byte in enumerate(content):
        assert_found(store, shard, content, position, byte ^ draw.randrange(1, 256), where[position])


@pytest.mark.full
def test_every_change_of_every_byte_is_found(tmp_path):
    store, shard = make_store(tmp_path, {"a": CUTS["a"], "b": rows_of(20, 1)})
    content, where = shard.read_bytes(), places(store)
    for position, byte in enumerate(content):
        for change in range(1, 256):
            assert_found(store, shard, content, position, byte ^ change, where[position])


def test_a_shard_that_is_cut_short_or_longer_is_found(tmp_path):
    _, shard = make_store(tmp_path)
    content = shard.read_bytes()
    for size in range(0, len(content), 29):
        shard.write_bytes(content[:size])
        assert list(verify(PosteriorStore.open(tmp_path))), size
    shard.write_bytes(content + b"\0")
    assert list(verify(PosteriorStore.open(tmp_path)))


def damage(shard, position):
    content = bytearray(shard.read_bytes())
    content[position] ^= 16
    shard.write_bytes(content)


def repaired(folder):
    store = PosteriorStore.open(folder)
    found = [damage for name in store.shard_names() for damage in repair_shard(store, name)]
    store = PosteriorStore.open(folder)
    assert list(verify(store)) == [] and len(list((folder / "shards").iterdir())) == len(store.shard_names())
    return found, store


def test_repair_drops_a_damaged_block_and_nothing_else(tmp_path):
    store, shard = make_store(tmp_path)
    damage(shard, places(store).index(("block", "b/ü", (256, 299))) + 3)
    found, store = repaired(tmp_path)
    assert [(d.cut_id, d.frames) for d in found] == [("b/ü", (256, 299))]
    assert store.missing(CUTS) == ["b/ü"] and len(store) == 4
    assert torch.equal(store.packed("b/ü", 0, 256), CUTS["b/ü"][:256])
    with pytest.raises(Exception, match=r"cut b/ü, frames 256\.\.299: dropped by a repair; label again"):
        store.packed("b/ü")
    for cut_id in ("a", "empty", "c"):
        assert torch.equal(store.packed(cut_id), CUTS[cut_id])
    with store.writer() as writer:
        writer.put("b/ü", CUTS["b/ü"])
    store = PosteriorStore.open(tmp_path)
    assert store.missing(CUTS) == [] and torch.equal(store.packed("b/ü"), CUTS["b/ü"])
    assert repaired(tmp_path)[0] == []


def test_repair_of_a_cut_that_lost_all(tmp_path):
    store, shard = make_store(tmp_path)
    damage(shard, places(store).index(("block", "a", (0, 4))))
    _, store = repaired(tmp_path)
    assert store.missing(CUTS) == ["a"] and list(store) == sorted(CUTS), "that it was there is not forgotten"
    with pytest.raises(Exception, match=r"cut a, frames 0\.\.4: dropped by a repair; label again"):
        store.packed("a")
    with store.writer() as writer:
        writer.put("a", CUTS["a"])
    assert PosteriorStore.open(tmp_path).missing(CUTS) == []


def test_repair_of_a_damaged_header_or_index_loses_nothing(tmp_path):
    for number, position in enumerate((3, BEGIN + 20, -TRAILER.size - 5, -1)):
        folder = tmp_path / str(number)
        _, shard = make_store(folder)
        damage(shard, position)
        found, store = repaired(folder)
        assert len(found) == 1 and found[0].frames is None and store.missing(CUTS) == []
        assert all(torch.equal(store.packed(cut_id), packed) for cut_id, packed in CUTS.items())


def test_repair_of_a_header_and_the_index_loses_that_cut(tmp_path):
    store, shard = make_store(tmp_path)
    damage(shard, places(store).index(("header", "b/ü", None)) + 5)
    damage(shard, -TRAILER.size - 5)
    _, store = repaired(tmp_path)
    assert store.missing(CUTS) == ["b/ü"]
    assert torch.equal(store.packed("c"), CUTS["c"])


def test_repair_of_a_shard_without_anything_whole_removes_it(tmp_path):
    _, shard = make_store(tmp_path)
    shard.write_bytes(b"nothing of this was ever a shard" * 10)
    _, store = repaired(tmp_path)
    assert len(store) == 0 and store.shard_names() == []


def test_a_shard_of_another_store_is_not_adopted(tmp_path):
    store = PosteriorStore.create(tmp_path / "one", SENONES, K, teacher="another")
    _, shard = make_store(tmp_path / "two")
    shard.rename(tmp_path / "one" / "shards" / shard.name)
    with pytest.raises(Exception, match="belongs to another store; move it there"):
        repair_shard(store, shard.name)


def test_merging_links_shards_and_goes_on(tmp_path):
    parts = [{"a": CUTS["a"], "c": CUTS["c"]}, {"b/ü": CUTS["b/ü"], "c": rows_of(9, 5)}]
    made = [make_store(tmp_path / str(number), cuts) for number, cuts in enumerate(parts)]
    sources = [store.folder for store, _ in made]
    for wanted in (sources[:1], sources, sources):
        store = merge_stores(tmp_path / "joint", wanted)
    assert len(store.shard_names()) == 2 and set(store) == {"a", "b/ü", "c"}
    assert torch.equal(store.packed("c"), CUTS["c"])  # the one that was sealed first
    assert all((tmp_path / "joint" / "shards" / path.name).samefile(path) for _, path in made)
    PosteriorStore.create(tmp_path / "other", SENONES, K, teacher="x")
    with pytest.raises(Exception, match=r"other and .*0 hold posteriors of different kinds: .*'teacher': 'x'"):
        merge_stores(tmp_path / "joint", [sources[0], tmp_path / "other"])
