"""The posterior store: what is put is read back, and damage of any kind is found and named."""

import multiprocessing
import os
import pickle
import random
import resource
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from pyasr.base.errors import DataError
from pyasr.ops import pack_topk, unpack_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.verify import verify

SENONES, K = 97, 5


def rows_of(cut_id, num_rows, num_senones=SENONES, k=K):
    generator = torch.Generator().manual_seed(sum(cut_id.encode()) + num_rows)
    return pack_topk(3 * torch.randn(num_rows, num_senones, generator=generator), k)


CUTS = {name: rows_of(name, n) for name, n in (("a", 10), ("b", 256), ("ü/c d", 700), ("e", 0), ("f", 257), ("g", 1))}


def make_store(folder, cuts=CUTS, **options):
    store = PosteriorStore.create(folder, SENONES, K)
    with store.writer(**options) as writer:
        for cut_id, packed in cuts.items():
            writer.put(cut_id, packed)
    return store


def assert_holds(store, cuts=CUTS):
    assert len(store) == len(cuts) and list(store) == sorted(cuts)
    for cut_id, packed in cuts.items():
        assert cut_id in store and store.num_rows(cut_id) == len(packed)
        assert torch.equal(store.packed(cut_id), packed)


def only_shard(folder):
    (path,) = (folder / "shards").iterdir()
    return path


@pytest.mark.parametrize("max_bytes", [1, 3000, 1 << 26])
def test_what_is_put_is_read_back(tmp_path, max_bytes):
    store = make_store(tmp_path / "s", max_bytes=max_bytes)
    assert_holds(store)
    assert_holds(PosteriorStore.open(tmp_path / "s"))
    shards = os.listdir(tmp_path / "s" / "shards")
    assert all(name.startswith("cuts.") for name in shards)
    assert len(shards) == {1: 6, 3000: 2, 1 << 26: 1}[max_bytes]
    assert list(verify(store)) == []


def test_frames_are_those_of_the_kernel_over_any_range(tmp_path):
    store = make_store(tmp_path / "s")
    for cut_id, packed in CUTS.items():
        ids, logp = unpack_topk(packed, K, SENONES)
        n = len(packed)
        for start, stop in {(0, n), (0, 0), (n, n), (n // 3, n // 2), (min(n, 255), min(n, 257)), (max(0, n - 1), n)}:
            got_ids, got_logp = store.frames(cut_id, start, stop)
            assert torch.equal(got_ids, ids[start:stop]) and torch.equal(got_logp, logp[start:stop])
            assert got_ids.dtype == torch.int32 and got_logp.dtype == torch.float32
            assert torch.equal(store.packed(cut_id, start, stop), packed[start:stop])
        assert torch.equal(store.frames(cut_id)[0], ids)
    for start, stop in ((-1, 3), (3, 2), (0, 701), (701, None)):
        with pytest.raises(DataError, match=r"cut ü/c d has 700 frames, .* is not in it"):
            store.frames("ü/c d", start, stop)


def test_numpy_and_strided_rows_can_be_put(tmp_path):
    store, packed = PosteriorStore.create(tmp_path, SENONES, K), CUTS["b"]
    with store.writer() as writer:
        writer.put("numpy", packed.numpy())
        writer.put("strided", torch.cat([packed, packed], 1)[:, : packed.shape[1]])
    assert torch.equal(store.packed("numpy"), packed) and torch.equal(store.packed("strided"), packed)
    store.packed("numpy")[:] = 0  # the reader's own copy
    assert torch.equal(store.packed("numpy"), packed)


def test_metadata_comes_back(tmp_path):
    metadata = {"teacher": "ab12", "phases": 3, "options": {"x": [1, 2.5, None], "ü": True}}
    PosteriorStore.create(tmp_path, 3183, 20, **metadata)
    store = PosteriorStore.open(tmp_path)
    assert (store.num_senones, store.k, store.row_bytes, store.metadata) == (3183, 20, 50, metadata)
    assert len(store) == 0 and list(store) == [] and store.missing(["x", "y"]) == ["x", "y"]
    for bad in (object(), float("nan"), b"x"):
        with pytest.raises(DataError, match="metadata must be what JSON can hold"):
            PosteriorStore.create(tmp_path / "new", 10, 5, bad=bad)


def test_creating_again_goes_on_or_is_refused(tmp_path):
    make_store(tmp_path)
    assert_holds(PosteriorStore.create(tmp_path, SENONES, K))
    for arguments, message in (
        ((SENONES + 1, K, {}), "num_senones is 97, not 98"),
        ((SENONES, K + 1, {}), "k is 5, not 6"),
        ((SENONES, K, {"teacher": "other"}), r"metadata is \{\}, not \{'teacher': 'other'\}"),
    ):
        with pytest.raises(DataError, match=message):
            PosteriorStore.create(tmp_path, arguments[0], arguments[1], **arguments[2])
    for num_senones, k in ((10, 11), (70000, 20), (100, 65), (10, 0)):
        with pytest.raises(ValueError):
            PosteriorStore.create(tmp_path / "new", num_senones, k)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        PosteriorStore.create(tmp_path / "file", SENONES, K)


def test_a_missing_or_damaged_manifest_is_named(tmp_path):
    with pytest.raises(DataError, match=r"store\.json: missing"):
        PosteriorStore.open(tmp_path / "nowhere")
    make_store(tmp_path / "s")
    manifest = tmp_path / "s" / "store.json"
    text = manifest.read_text()
    for damage in ("", "{", "[]", "{}", text.replace('"k": 5', '"k": 6'), text.replace('"format": 1', '"format": 2')):
        manifest.write_text(damage)
        with pytest.raises(DataError, match=r"store\.json: (not|damaged)"):
            PosteriorStore.open(tmp_path / "s")
    manifest.unlink()
    with pytest.raises(DataError, match=r"store\.json: missing"):
        PosteriorStore.open(tmp_path / "s")
    with pytest.raises(DataError, match=r"holds shards but no store\.json"):
        PosteriorStore.create(tmp_path / "s", SENONES, K)


def test_every_byte_of_the_manifest_counts(tmp_path):
    make_store(tmp_path)
    manifest = tmp_path / "store.json"
    text, draw = manifest.read_bytes(), random.Random(3)
    for position in range(len(text)):
        damaged = bytearray(text)
        damaged[position] ^= 1 << draw.randrange(8)
        manifest.write_bytes(damaged)
        with pytest.raises(DataError, match=r"store\.json"):
            PosteriorStore.open(tmp_path)


def test_damage_does_not_reach_other_blocks_and_cuts(tmp_path):
    store = make_store(tmp_path)
    shard = only_shard(tmp_path)
    name, packed = "ü/c d", CUTS["ü/c d"]
    index = store.shard(shard.name).index
    entry, offset = index.entry(2), int(index.offsets[2])
    assert entry.cut_id == name and len(entry.sizes) == 3
    content = bytearray(shard.read_bytes())
    content[offset + len(entry.header) + entry.sizes[0] + 5] ^= 1  # its second block
    shard.write_bytes(content)
    for start, stop in ((0, 256), (512, 700), (100, 101), (600, 700)):
        assert torch.equal(store.packed(name, start, stop), packed[start:stop])
    for start, stop in ((0, None), (256, 257), (255, 257), (511, 513)):
        with pytest.raises(DataError, match=r"cut ü/c d, frames 256\.\.511: damaged"):
            store.packed(name, start, stop)
    assert torch.equal(store.packed("b"), CUTS["b"]) and torch.equal(store.packed("g"), CUTS["g"])


def test_a_shard_cut_short_is_found_and_can_be_made_again(tmp_path):
    cuts = dict(CUTS)
    make_store(tmp_path, cuts, max_bytes=3000)
    opened_before = PosteriorStore.open(tmp_path)
    name = opened_before.shard_names()[1]
    lost = opened_before.shard(name).index.cut_ids
    assert len(opened_before) == len(cuts)
    shard = tmp_path / "shards" / name
    content = shard.read_bytes()
    for size in (0, 7, 20, 100, len(content) // 2, len(content) - 1):
        shard.write_bytes(content[:size])
        for use in (len, list, lambda store: store.packed("a"), lambda store: store.missing(["a"])):
            with pytest.raises(DataError, match=rf"{name}: damaged shard: .*pyasr\.targets repair"):
                use(PosteriorStore.open(tmp_path))
    assert lost == ["e", "f", "g"]
    with pytest.raises(DataError, match=r"cut f, frames 0\.\.255: cut short"):
        shard.write_bytes(content[:500])
        opened_before.packed("f")
    shard.unlink()
    store = PosteriorStore.open(tmp_path)
    assert store.missing(cuts) == lost and 0 < len(lost) < len(cuts)
    with store.writer() as writer:
        for cut_id in lost:
            writer.put(cut_id, cuts[cut_id])
    assert store.missing(cuts) == [] and list(verify(store)) == []
    assert_holds(store, cuts)


def test_a_shard_that_vanishes_is_named(tmp_path):
    store = PosteriorStore.open(make_store(tmp_path).folder)
    assert len(store) == len(CUTS)
    path = only_shard(tmp_path)
    path.unlink()
    assert torch.equal(store.packed("a"), CUTS["a"])  # it is open
    with pytest.raises(DataError, match=rf"{path.name}: cannot be read"):
        pickle.loads(pickle.dumps(store)).shard(path.name)
    store.refresh()
    assert len(store) == 0
    (tmp_path / "shards").rmdir()
    with pytest.raises(DataError, match="shards: cannot be listed"):
        store.refresh()


def test_a_shard_of_another_store_is_refused(tmp_path):
    make_store(tmp_path / "one")
    other = PosteriorStore.create(tmp_path / "two", SENONES, K, teacher="another")
    shard = only_shard(tmp_path / "one")
    os.replace(shard, tmp_path / "two" / "shards" / shard.name)
    with pytest.raises(DataError, match="belongs to another store"):
        len(other)


@pytest.mark.parametrize(
    "packed, message",
    [
        (rows_of("x", 3, k=K + 1), r"cut x does not fit a store of k = 5 and 97 senones: packed rows have 15 bytes"),
        (rows_of("x", 3, num_senones=5000), r"packed rows have 14 bytes, not 13"),
        (rows_of("x", 90, num_senones=3000), r"senone id \d+ of 97"),
        (rows_of("x", 3)[0], "1 dimensions"),
        (rows_of("x", 3).int(), r"torch\.int32"),
        (rows_of("x", 3).numpy().astype(np.int64), r"torch\.int64"),
        ([[1, 2]], "list"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, packed, message):
    store = PosteriorStore.create(tmp_path, SENONES, K)
    with store.writer() as writer:
        writer.put("a", CUTS["a"])
        with pytest.raises(DataError, match=message):
            writer.put("x", packed)
        writer.put("b", CUTS["b"])
    assert_holds(store, {"a": CUTS["a"], "b": CUTS["b"]})


def test_a_cut_is_stored_once(tmp_path):
    store = make_store(tmp_path, {"a": CUTS["a"]})
    with PosteriorStore.open(tmp_path).writer(max_bytes=1) as writer:
        for cut_id in ("a", "b", "b"):
            if cut_id not in store:
                writer.put(cut_id, CUTS["b"])
                store.refresh()
            else:
                with pytest.raises(DataError, match=f"cut {cut_id} is stored already"):
                    writer.put(cut_id, CUTS["b"])
    with store.writer() as writer:
        writer.put("c", CUTS["g"])
        with pytest.raises(DataError, match="cut c is stored already"):
            writer.put("c", CUTS["g"])
        for bad in ("", None, 3):
            with pytest.raises(DataError, match="is not a name"):
                writer.put(bad, CUTS["g"])
    assert_holds(store, {"a": CUTS["a"], "b": CUTS["b"], "c": CUTS["g"]})


def test_of_two_writers_the_first_to_seal_counts(tmp_path):
    store = PosteriorStore.create(tmp_path, SENONES, K)
    first, second = rows_of("first", 20), rows_of("second", 30)
    with store.writer() as late:
        late.put("x", second)
        late.put("y", second)
        with PosteriorStore.open(tmp_path).writer() as early:
            early.put("x", first)
        assert sorted(path.suffix for path in (tmp_path / "shards").iterdir()) == ["", ".shard"]
    assert_holds(store, {"x": first, "y": second})
    assert_holds(PosteriorStore.open(tmp_path), {"x": first, "y": second})


def test_nothing_is_seen_before_it_is_sealed_and_an_error_loses_no_whole_cut(tmp_path):
    store = PosteriorStore.create(tmp_path, SENONES, K)
    with pytest.raises(RuntimeError, match="the network failed"), store.writer() as writer:
        writer.put("a", CUTS["a"])
        assert "a" not in PosteriorStore.open(tmp_path)
        raise RuntimeError("the network failed")
    assert_holds(store, {"a": CUTS["a"]})
    with store.writer():
        pass
    assert only_shard(tmp_path).suffix == ".shard"
    with pytest.raises(RuntimeError, match="outside"):
        writer.put("b", CUTS["b"])
    with pytest.raises(ValueError, match="max_bytes is 0"):
        store.writer(max_bytes=0)


def test_unknown_cuts_are_named_and_late_ones_are_found(tmp_path):
    store = PosteriorStore.create(tmp_path, SENONES, K)
    assert len(store) == 0
    make_store(tmp_path)
    assert "a" not in store  # not looked again
    assert torch.equal(store.packed("a"), CUTS["a"]) and "b" in store
    with pytest.raises(DataError, match=f"{tmp_path}: no posteriors of cut nobody"):
        store.frames("nobody")


def test_leftovers_of_killed_writers_go_and_those_at_work_stay(tmp_path):
    store = PosteriorStore.create(tmp_path, SENONES, K)
    (tmp_path / "shards" / ".tmp-dead").write_bytes(b"half a shard")
    with store.writer() as at_work:
        at_work.put("a", CUTS["a"])
        (temporary,) = (tmp_path / "shards").iterdir()
        assert temporary.name != ".tmp-dead"
        with PosteriorStore.open(tmp_path).writer() as other:
            assert temporary.exists()
            other.put("b", CUTS["b"])
    assert [path.suffix for path in (tmp_path / "shards").iterdir()] == [".shard", ".shard"]
    assert_holds(store, {"b": CUTS["b"], "a": CUTS["a"]})


@pytest.mark.parametrize("when", ["put", "seal"])
def test_a_full_disk_is_named_and_keeps_what_is_sealed(tmp_path, when):
    """No file may grow past a size at which the rows do not fit, or the index does not."""
    cuts = {"first": rows_of("first", 100), "big": rows_of("big", 600)}
    make_store(tmp_path / "free", {"big": cuts["big"]})
    limit = only_shard(tmp_path / "free").stat().st_size - 10
    tmp_path = tmp_path / "full"
    store = make_store(tmp_path, {"first": cuts["first"]})
    assert only_shard(tmp_path).stat().st_size < limit // 2
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(DataError, match=r"cannot write to .*: File too large; free space .* sealed is kept"):  # noqa: SIM117
            with store.writer() as writer:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit // 2 if when == "put" else limit, hard))
                writer.put("big", cuts["big"])
                assert when == "seal"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert only_shard(tmp_path).suffix == ".shard"
    assert_holds(store, {"first": cuts["first"]})
    with store.writer() as writer:
        writer.put("big", cuts["big"])
    assert_holds(store, cuts)


def test_a_writer_whose_disk_was_full_takes_no_more(tmp_path):
    store = PosteriorStore.create(tmp_path, SENONES, K)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with store.writer() as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(DataError, match="File too large"):
                writer.put("b", CUTS["b"])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(RuntimeError):
            writer.put("a", CUTS["a"])
    assert len(store) == 0


def test_an_interrupt_while_sealing_leaves_nothing_half(tmp_path):
    """Ctrl-C between the rows and the index, raised by the file system call itself."""
    store, real = PosteriorStore.create(tmp_path, SENONES, K), os.fsync

    def interrupted(descriptor):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store.writer() as writer:
        writer.put("a", CUTS["a"])
        os.fsync = interrupted
        try:
            writer._seal()
        finally:
            os.fsync = real
    assert os.listdir(tmp_path / "shards") == [] and len(PosteriorStore.open(tmp_path)) == 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_can_hold_a_store(tmp_path, method):
    store = make_store(tmp_path, max_bytes=3000)
    assert torch.equal(store.packed("b"), CUTS["b"])  # a file is open when the others begin
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        for cut_id, packed in zip(CUTS, executor.map(store.packed, CUTS)):
            assert torch.equal(packed, CUTS[cut_id])


def test_a_pickle_carries_the_path_alone(tmp_path):
    store = make_store(tmp_path, {f"cut-{i}": CUTS["g"] for i in range(200)})
    data = pickle.dumps(store)
    assert len(store) == 200 and len(data) < 300 + len(str(tmp_path))
    copy = pickle.loads(data)
    assert copy.folder == Path(tmp_path) and torch.equal(copy.packed("cut-7"), CUTS["g"])


def test_threads_read_more_shards_than_stay_open(tmp_path):
    cuts = {f"cut-{i}": rows_of(f"cut-{i}", 20 + i) for i in range(40)}
    store, failed = make_store(tmp_path, cuts, max_bytes=1), []

    def read(seed):
        draw = random.Random(seed)
        try:
            for _ in range(300):
                cut_id = draw.choice(list(cuts))
                assert torch.equal(store.packed(cut_id), cuts[cut_id])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def write_in_child(folder, part):
    store = PosteriorStore.open(folder)
    with store.writer(max_bytes=2000) as writer:
        for i in range(part, 60, 4):
            writer.put(f"cut-{i}", rows_of(f"cut-{i}", 10 + i))


def test_many_writers_at_once(tmp_path):
    store = PosteriorStore.create(tmp_path, SENONES, K)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_in_child, args=(tmp_path, part)) for part in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    assert store.missing([f"cut-{i}" for i in range(60)]) == [] and len(store) == 60
    assert list(verify(store)) == []
    for i in range(60):
        assert torch.equal(store.packed(f"cut-{i}"), rows_of(f"cut-{i}", 10 + i))
    assert len(store.shard_names()) == len(os.listdir(tmp_path / "shards")) > 8
