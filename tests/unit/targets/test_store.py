import json
import multiprocessing
import os
import pickle
import signal

import numpy as np
import pytest
import torch

from pyasr.base.errors import DataError
from pyasr.base.seeds import rng
from pyasr.ops import pack_topk, unpack_topk
from pyasr.targets import PosteriorStore

SENONES, K = 50, 5


def packed(rows, seed=0):
    x = rng(seed, "store").standard_normal((rows, SENONES)).astype(np.float32) * 3
    return pack_topk(torch.from_numpy(x), K)


@pytest.fixture
def store(tmp_path):
    """Three cuts of 3, 700 and 0 rows."""
    store = PosteriorStore.create(tmp_path / "store", SENONES, K, teacher="abc", phases=3)
    with store.writer() as writer:
        for number, rows in enumerate((3, 700, 0)):
            writer.put(f"cut-{number}", packed(rows, number))
    return store


def shard_of(store):
    (path,) = (store.folder / "shards").iterdir()
    return path


def test_what_was_put_is_read_back(store):
    again = PosteriorStore.open(store.folder)
    for opened in (store, again, pickle.loads(pickle.dumps(again))):
        assert len(opened) == 3 and list(opened) == ["cut-0", "cut-1", "cut-2"] and "cut-1" in opened
        assert opened.metadata == {"teacher": "abc", "phases": 3} and opened.k == K
        assert torch.equal(opened.packed("cut-1"), packed(700, 1)) and opened.num_rows("cut-1") == 700
        ids, logp = opened.frames("cut-1")
        expected = unpack_topk(packed(700, 1), K, SENONES)
        assert torch.equal(ids, expected[0]) and torch.equal(logp, expected[1])
        assert opened.packed("cut-2").shape == (0, opened.row_bytes)
        assert opened.missing(["cut-1", "x", "cut-0", "y"]) == ["x", "y"]


@pytest.mark.parametrize("start, stop", [(0, 0), (0, 1), (255, 257), (256, 512), (600, 700), (700, None), (699, None)])
def test_any_range_can_be_read(store, start, stop):
    assert torch.equal(store.packed("cut-1", start, stop), packed(700, 1)[start:stop])
    assert torch.equal(store.frames("cut-1", start, stop)[0], store.frames("cut-1")[0][start:stop])


def test_a_range_outside_the_cut(store):
    for start, stop in ((0, 701), (5, 4), (-1, 3)):
        with pytest.raises(DataError, match="cut-1 has 700 rows"):
            store.packed("cut-1", start, stop)


def test_what_cannot_be_put(store):
    with store.writer() as writer:
        writer.put("new", packed(2))
        for cut_id in ("cut-0", "new"):
            with pytest.raises(DataError, match=f"{cut_id} is stored already"):
                writer.put(cut_id, packed(2))
        for rows in (packed(2)[:, :-1], packed(2).float(), packed(2)[0]):
            with pytest.raises(DataError, match="other: packed posteriors.*rows of 13 bytes"):
                writer.put("other", rows)
    assert "new" in store and "other" not in store
    with pytest.raises(DataError, match="there is a posterior store already"):
        PosteriorStore.create(store.folder, SENONES, K)


def test_an_error_leaves_nothing_of_the_open_shard(store):
    with pytest.raises(RuntimeError), store.writer() as writer:
        writer.put("lost", packed(2))
        raise RuntimeError
    assert len(list((store.folder / "shards").iterdir())) == 1
    assert "lost" not in PosteriorStore.open(store.folder)


def test_a_shard_is_sealed_when_it_is_large(tmp_path):
    store = PosteriorStore.create(tmp_path, SENONES, K)
    with pytest.raises(RuntimeError), store.writer(max_shard_bytes=1000) as writer:
        for number in range(5):
            writer.put(f"cut-{number}", packed(40, number))  # 520 bytes
        raise RuntimeError
    again = PosteriorStore.open(tmp_path)
    assert set(again) == {f"cut-{number}" for number in range(4)}
    assert torch.equal(again.packed("cut-3"), packed(40, 3))


def test_several_writers_at_once(store):
    with store.writer() as one, PosteriorStore.open(store.folder).writer() as two:
        one.put("both", packed(4, 9))
        two.put("both", packed(4, 9))
        two.put("two", packed(5, 8))
    again = PosteriorStore.open(store.folder)
    assert len(again) == 5 and torch.equal(again.packed("both"), packed(4, 9))


def test_every_flipped_bit_is_found(store):
    """Each byte of the shard in turn: the store cannot be opened, or every cut whose bytes they are is refused."""
    path = shard_of(store)
    whole = path.read_bytes()
    rows = {cut_id: store.packed(cut_id) for cut_id in store}
    for place in [*range(0, 60), *range(60, len(whole) - 200, 97), *range(len(whole) - 200, len(whole))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            opened = PosteriorStore.open(store.folder)
        except DataError as error:
            assert path.name in str(error) and "damaged shard" in str(error)
            continue
        refused = 0
        for cut_id in opened:
            try:
                assert torch.equal(opened.packed(cut_id), rows[cut_id])
            except DataError as error:
                refused += 1
                assert f"{path.name}: {cut_id}, rows" in str(error)
        assert refused == 1, place
    path.write_bytes(whole)


def test_damage_leaves_other_blocks_readable(store):
    path = shard_of(store)
    content = bytearray(path.read_bytes())
    content[8 + 3 * 13 + 300 * 13] ^= 1  # row 300 of cut-1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cut-1, rows 256\.\.511: damaged \(checksum\)"):
        store.packed("cut-1", 400, 401)
    assert torch.equal(store.packed("cut-1", 512, 700), packed(700, 1)[512:700])
    assert torch.equal(store.packed("cut-0"), packed(3, 0))


@pytest.mark.parametrize("length", [0, 5, 30, 400, -1])
def test_a_truncated_shard(store, length):
    path = shard_of(store)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=f"{path.name}: damaged shard .*label again"):
        PosteriorStore.open(store.folder)


@pytest.mark.parametrize("change", [{"version": 99}, {"k": "x"}, {"num_senones": None}, {"k": 4}, {"metadata": 3}])
def test_a_damaged_manifest(store, change):
    path = store.folder / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError):
        PosteriorStore.open(store.folder)


def test_no_store_and_no_cut(tmp_path, store):
    with pytest.raises(DataError, match=r"store\.json: missing"):
        PosteriorStore.open(tmp_path / "nothing")
    with pytest.raises(DataError, match="no posteriors of x; label it"):
        store.packed("x")


def test_a_full_disk(store):
    """/dev/full stands for it: every write fails with ENOSPC."""
    writer = store.writer()
    writer.put("a", packed(1))
    writer._shard._stream.close()
    with open("/dev/full", "wb", buffering=0) as full:
        writer._shard._stream = full
        with pytest.raises(DataError, match=r"cannot write .*No space left.*free space"):
            writer.put("b", packed(100))


def _write_all(folder):
    store = PosteriorStore.open(folder)
    with store.writer(max_shard_bytes=3000) as writer:
        for cut_id in store.missing([f"cut-{number}" for number in range(200)]):
            writer.put(cut_id, packed(rows_of(cut_id), number_of(cut_id)))


def number_of(cut_id):
    return int(cut_id.partition("-")[2])


def rows_of(cut_id):
    return int(rng(number_of(cut_id), "rows").integers(1, 60))


def test_killed_ten_times_it_ends_in_the_same_content(tmp_path):
    PosteriorStore.create(tmp_path, SENONES, K)
    draws, context = rng(5, "kills"), multiprocessing.get_context("fork")
    killed = 0
    while killed < 10:
        process = context.Process(target=_write_all, args=(tmp_path,))
        process.start()
        process.join(draws.uniform(0.0, 0.03))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.join()
        if process.exitcode == 0:  # it got to the end: begin anew, so that there is something to kill
            for path in (tmp_path / "shards").iterdir():
                path.unlink()
    _write_all(tmp_path)
    store = PosteriorStore.open(tmp_path)
    assert sorted(store, key=number_of) == [f"cut-{number}" for number in range(200)]
    for cut_id in store:
        assert torch.equal(store.packed(cut_id), packed(rows_of(cut_id), number_of(cut_id)))
