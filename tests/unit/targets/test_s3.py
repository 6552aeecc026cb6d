"""A store on object storage: a server that speaks S3, in this process."""

import multiprocessing

import pytest
import torch

from pyasr.base.errors import DataError
from pyasr.ops import pack_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.merge import merge_stores
from pyasr.targets.repair import repair_store
from pyasr.targets.verify import verify

s3fs = pytest.importorskip("s3fs", reason="pip install '.[test]' brings s3fs, a client of S3")
moto_server = pytest.importorskip("moto.server", reason="pip install '.[test]' brings moto[server], a server of S3")

SENONES, K = 60, 4
CUTS = {
    f"cut-{n}": pack_topk(torch.randn(150 * n, SENONES, generator=torch.Generator().manual_seed(n)).cumsum(0), K)
    for n in range(5)
}
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def fs():
    server = moto_server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        s3fs.S3FileSystem.clear_instance_cache()
        fs = s3fs.S3FileSystem()
        fs.mkdir("bucket")
        yield fs
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def url(fs, request):
    return f"s3://bucket/{request.node.name}/store"


def put(writer, *cut_ids):
    for cut_id in cut_ids:
        writer.put(cut_id, CUTS[cut_id])


def spoil(fs, url, name, *positions):
    content = bytearray(fs.cat_file(f"{url}/shards/{name}"))
    for position in positions:
        content[position] ^= 1
    fs.pipe_file(f"{url}/shards/{name}", bytes(content))


def test_two_writers_at_once(url):
    with pytest.raises(DataError, match=r"store\.json: missing"):
        PosteriorStore.open(url)
    reader = PosteriorStore.create(url, SENONES, K)
    assert reader.shard_names() == [] and reader.missing(CUTS) == list(CUTS)
    stores = [PosteriorStore.create(url, SENONES, K) for _ in range(2)]
    with stores[0].writer() as one, stores[1].writer(part="other", max_bytes=1) as other:
        put(one, "cut-1", "cut-0")
        put(other, "cut-2", "cut-4")
        assert reader.missing(CUTS) == ["cut-0", "cut-1", "cut-3"], "only what is sealed is seen"
        put(one, "cut-3")
    assert reader.missing(CUTS) == [] and len(reader.shard_names()) == 3 and list(verify(reader)) == []
    store = PosteriorStore.open(url)
    for cut_id, packed in CUTS.items():
        assert torch.equal(store.packed(cut_id), packed)
    assert torch.equal(store.packed("cut-4", 250, 300), CUTS["cut-4"][250:300])
    assert list(PosteriorStore.open(url, part="other")) == ["cut-2", "cut-4"]


def test_a_forked_process_reads_the_store_of_its_parent(url):
    store = PosteriorStore.create(url, SENONES, K)
    with store.writer() as writer:
        put(writer, "cut-3")
    store.packed("cut-3")
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_compare, args=(store,), daemon=True)
    child.start()
    child.join(60)
    assert child.exitcode == 0


def _compare(store):
    assert torch.equal(store.packed("cut-3"), CUTS["cut-3"])


def test_repaired_and_merged(fs, url, tmp_path):
    store = PosteriorStore.create(url, SENONES, K)
    with store.writer() as writer:
        put(writer, "cut-1", "cut-2", "cut-3")
    (name,) = store.shard_names()
    index = store.shard(name).index
    block = int(index.offsets[1]) + len(index.entry(1).header)
    spoil(fs, url, name, block + 10, -1)  # a block, and the end: the index is not believed
    found = [damage for damage in verify(PosteriorStore.open(url)) if damage.cut_id]
    assert [(damage.cut_id, damage.frames) for damage in found] == [("cut-2", (0, 255))]
    assert repair_store(PosteriorStore.open(url)) == 1
    assert PosteriorStore.open(url).missing(CUTS) == ["cut-0", "cut-2", "cut-4"] and list(verify(store)) == []
    local = PosteriorStore.create(tmp_path / "local", SENONES, K)
    with local.writer() as writer:
        put(writer, "cut-2", "cut-4")
    for into in (tmp_path / "joint", url + "-joint"):
        joint = merge_stores(into, [url, local.folder])
        assert joint.missing(CUTS) == ["cut-0"] and list(verify(joint)) == []
        assert torch.equal(joint.packed("cut-2"), CUTS["cut-2"])


def test_a_shard_cut_short_anywhere_is_found_and_repaired(fs, url):
    store = PosteriorStore.create(url, SENONES, K)
    with store.writer() as writer:
        put(writer, "cut-1")
    (name,) = store.shard_names()
    content = fs.cat_file(f"{url}/shards/{name}")
    for size in (0, 30, 40, 52, len(content) - 1):  # 52: where the header's first 12 bytes end
        fs.pipe_file(f"{url}/shards/{name}", content[:size])
        assert list(verify(PosteriorStore.open(url))), size
    repair_store(PosteriorStore.open(url))
    assert PosteriorStore.open(url).missing(CUTS) == ["cut-0", "cut-2", "cut-3", "cut-4"]


def test_what_the_server_refuses_is_named(fs, url, monkeypatch):
    store = PosteriorStore.create(url, SENONES, K)
    with pytest.raises(DataError, match=r"gone\.shard: cannot be read \(FileNotFoundError: .*; check address"):
        store.shard_folder.read("gone.shard", 0, 10)
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match=r"store\.json: cannot be read \(NoCredentialsError"):
        PosteriorStore.open(url)
    s3fs.S3FileSystem.clear_instance_cache()
