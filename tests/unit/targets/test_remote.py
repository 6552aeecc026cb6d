"""A store on a file system that is none: fsspec's memory."""

import uuid

import fsspec
import pytest
import torch

from pyasr.base.errors import DataError
from pyasr.ops import pack_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.merge import merge_stores
from pyasr.targets.repair import repair_shard
from pyasr.targets.verify import verify

SENONES, K = 60, 4


@pytest.fixture
def url():
    name = f"memory://{uuid.uuid4().hex}/store"
    yield name
    fsspec.filesystem("memory").store.clear()


def rows_of(num_rows, seed):
    return pack_topk(torch.randn(num_rows, SENONES, generator=torch.Generator().manual_seed(seed)).cumsum(0), K)


CUTS = {f"cut-{n}": rows_of(100 * n, n) for n in range(5)}


def fill(store, cut_ids, **options):
    with store.writer(**options) as writer:
        for cut_id in cut_ids:
            writer.put(cut_id, CUTS[cut_id])


def test_written_and_read_back(url):
    store = PosteriorStore.create(url, SENONES, K, teacher="x")
    assert len(store) == 0 and store.missing(CUTS) == list(CUTS)
    fill(store, ["cut-1", "cut-0"], max_bytes=1)
    fill(PosteriorStore.create(url, SENONES, K, teacher="x"), ["cut-2", "cut-4", "cut-3"])
    store = PosteriorStore.open(url)
    assert store.missing(CUTS) == [] and len(store.shard_names()) == 3 and list(verify(store)) == []
    for cut_id, packed in CUTS.items():
        assert torch.equal(store.packed(cut_id), packed)
    assert torch.equal(store.packed("cut-4", 250, 300), CUTS["cut-4"][250:300])
    with pytest.raises(DataError, match="k is 4, not 5"):
        PosteriorStore.create(url, SENONES, 5, teacher="x")
    with pytest.raises(DataError, match=r"store\.json: missing"):
        PosteriorStore.open(url + "-nowhere")


def test_nothing_appears_before_it_is_sealed(url):
    store = PosteriorStore.create(url, SENONES, K)
    with pytest.raises(KeyboardInterrupt), store.writer() as writer:
        writer.put("cut-1", CUTS["cut-1"])
        assert PosteriorStore.open(url).shard_names() == []
        writer._discard()
        raise KeyboardInterrupt
    assert PosteriorStore.open(url).shard_names() == []


def test_repaired_and_merged_across_file_systems(url, tmp_path):
    store = PosteriorStore.create(url, SENONES, K)
    fill(store, ["cut-1", "cut-2", "cut-3"])
    fs, (name,) = fsspec.filesystem("memory"), store.shard_names()
    path = f"{url}/shards/{name}"
    content = bytearray(fs.cat_file(path))
    offset = int(store.shard(name).index.offsets[1]) + len(store.shard(name).index.entry(1).header)
    content[offset + 10] ^= 1
    fs.pipe_file(path, bytes(content))
    (damage,) = verify(PosteriorStore.open(url))
    assert (damage.cut_id, damage.frames) == ("cut-2", (0, 199))
    repair_shard(PosteriorStore.open(url), name)
    assert PosteriorStore.open(url).missing(CUTS) == ["cut-0", "cut-2", "cut-4"]
    local = PosteriorStore.create(tmp_path / "local", SENONES, K)
    fill(local, ["cut-2", "cut-4"])
    for into in (tmp_path / "joint", url + "-joint"):
        joint = merge_stores(into, [url, local.folder])
        assert joint.missing(CUTS) == ["cut-0"] and list(verify(joint)) == []
        assert torch.equal(joint.packed("cut-2"), CUTS["cut-2"])


def test_an_unknown_file_system_is_named():
    with pytest.raises(DataError, match="nonsense://x: cannot be reached"):
        PosteriorStore.open("nonsense://x")
