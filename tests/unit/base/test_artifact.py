import os

import numpy as np
import pytest

from pyasr.base import artifact
from pyasr.base.config import Options
from pyasr.base.errors import DataError


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    artifact.write_text(target, "old")
    with pytest.raises(RuntimeError), artifact.atomic_path(target) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("killed")
    assert target.read_text() == "old"
    assert os.listdir(target.parent) == ["file.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "folder"
    for name in ("a", "b"):
        with artifact.atomic_dir(target) as temporary:
            (temporary / name).write_text(name)
    assert os.listdir(target) == ["b"]
    with pytest.raises(RuntimeError), artifact.atomic_dir(target) as temporary:
        (temporary / "c").write_text("c")
        raise RuntimeError("killed")
    assert os.listdir(target) == ["b"]


def test_leftovers_of_a_kill_are_removed(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".tmp-1-file").write_text("")
    (tmp_path / ".tmp-2-dir").mkdir()
    (tmp_path / "keep").write_text("")
    assert artifact.remove_leftovers(tmp_path) == 2
    assert sorted(os.listdir(tmp_path)) == ["keep", "x"]


def test_a_full_disk_is_named(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    message, path = r"cannot write .*/file: No space left on device; free space", tmp_path / "file"
    with pytest.raises(DataError, match=message), artifact.atomic_path(path), open("/dev/full", "w") as full:
        full.write("x")
    assert os.listdir(tmp_path) == []


def test_json_round_trip_and_damage(tmp_path):
    path = tmp_path / "x.json"
    artifact.write_json(path, {"a": np.float64(1.5), "b": [np.int64(2)], "ü": tmp_path})
    assert artifact.read_json(path) == {"a": 1.5, "b": [2], "ü": str(tmp_path)}
    path.write_text("{")
    with pytest.raises(DataError, match=r"x\.json: not valid JSON"):
        artifact.read_json(path)
    with pytest.raises(DataError, match=r"y\.json: missing"):
        artifact.read_json(tmp_path / "y.json")
    with pytest.raises(ValueError):
        artifact.write_json(path, {"a": float("nan")})


def test_jsonl_names_the_damaged_line(tmp_path):
    path = tmp_path / "x.jsonl"
    artifact.write_jsonl(path, [{"a": 1}, {"a": 2}])
    assert artifact.read_jsonl(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a"')
    with pytest.raises(DataError, match=r"x\.jsonl:2"):
        artifact.read_jsonl(path)


def test_arrays_round_trip_and_damage(tmp_path):
    path = tmp_path / "x.npz"
    arrays = {"a": np.arange(1000, dtype=np.int32), "b": np.zeros((0, 3)), "names": np.array(["x", "yy"])}
    artifact.save_arrays(path, **arrays)
    loaded = artifact.load_arrays(path)
    assert all(
        np.array_equal(loaded[name], array) and loaded[name].dtype == array.dtype for name, array in arrays.items()
    )
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npz: damaged"):
        artifact.load_arrays(path)
    path.write_bytes(content[:300])
    with pytest.raises(DataError, match=r"x\.npz: damaged"):
        artifact.load_arrays(path)
    with pytest.raises(TypeError, match="'a' holds Python objects"):
        artifact.save_arrays(path, a=np.array([{}]))


def test_digest_depends_on_content_not_order():
    class Some(Options):
        a: int = 1
        b: str = "x"

    assert artifact.digest({"a": 1, "b": "x"}) == artifact.digest({"b": "x", "a": 1}) == artifact.digest(Some())
    assert artifact.digest(Some(a=2)) != artifact.digest(Some())
