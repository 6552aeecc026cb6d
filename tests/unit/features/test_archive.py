"""The feature archive: what is written is read back, and damage is an error."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from pyasr.base.errors import DataError
from pyasr.features.archive import FeatureArchive


def rows(num: int = 5) -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    return [(f"cut-{i}", rng.normal(size=(i * 3, 13)).astype(np.float32)) for i in range(num)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    FeatureArchive.write(tmp_path / "archive", rows())
    return tmp_path / "archive"


def test_round_trip(folder: Path) -> None:
    archive = FeatureArchive.open(folder)
    assert list(archive) == [cut_id for cut_id, _ in rows()] and len(archive) == 5
    assert "cut-3" in archive and "cut-9" not in archive
    assert archive.dim == 13 and archive.total_frames == 30 and archive.num_frames("cut-3") == 9
    for cut_id, matrix in rows():
        np.testing.assert_array_equal(archive[cut_id], matrix)
        assert archive[cut_id].dtype == np.float32
    with pytest.raises(KeyError):
        archive["cut-9"]


def test_views_are_read_only(folder: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        FeatureArchive.open(folder)["cut-2"][0, 0] = 1.0


def test_pickles_as_its_path(folder: Path) -> None:
    archive = FeatureArchive.open(folder)
    _ = archive["cut-4"]
    data = pickle.dumps(archive)
    assert len(data) < 500
    np.testing.assert_array_equal(pickle.loads(data)["cut-4"], archive["cut-4"])


def test_empty(tmp_path: Path) -> None:
    archive = FeatureArchive.write(tmp_path / "a", [])
    assert len(archive) == 0 and list(archive) == []


def test_replaces_an_old_archive(folder: Path) -> None:
    FeatureArchive.write(folder, rows(2))
    assert len(FeatureArchive.open(folder)) == 2


def test_failed_write_leaves_the_old_one(folder: Path) -> None:
    def broken():
        yield rows()[1]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        FeatureArchive.write(folder, broken())
    assert len(FeatureArchive.open(folder)) == 5
    assert [path.name for path in folder.parent.iterdir()] == ["archive"]


def test_duplicate_ids(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cut-1"):
        FeatureArchive.write(tmp_path / "a", [rows()[1], rows()[1]])


def test_values_not_finite(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bad-cut.*finite"):
        FeatureArchive.write(tmp_path / "a", [("bad-cut", np.full((2, 3), np.nan, np.float32))])


def edit_index(folder: Path, edit) -> None:
    path = folder / "index.json"
    index = json.loads(path.read_text())
    edit(index)
    path.write_text(json.dumps(index))


def test_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index.json: missing"):
        FeatureArchive.open(tmp_path / "none")


def test_missing_part(folder: Path) -> None:
    (folder / "part-00000.f32").unlink()
    with pytest.raises(DataError, match=r"part-00000.f32: missing"):
        FeatureArchive.open(folder)


@pytest.mark.parametrize("cut", [1, 4, 52])
def test_truncated_part(folder: Path, cut: int) -> None:
    path = folder / "part-00000.f32"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match="bytes instead of"):
        FeatureArchive.open(folder)


def test_changed_byte(folder: Path) -> None:
    path = folder / "part-00000.f32"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"part-00000.f32: content differs"):
        FeatureArchive.open(folder)["cut-1"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda index: index["parts"][0]["cuts"].pop(),
        lambda index: index["parts"][0]["cuts"][2].__setitem__(1, 7),
        lambda index: index.update(dim=12),
        lambda index: index.update(version=2),
        lambda index: index.pop("dim"),
        lambda index: index.update(parts=3),
        lambda index: index["parts"][0].pop("sha256"),
        lambda index: index["parts"][0]["cuts"][0].__setitem__(0, "cut-1"),
    ],
)
def test_index_does_not_match(folder: Path, edit) -> None:
    edit_index(folder, edit)
    with pytest.raises(DataError, match=r"archive"):
        FeatureArchive.open(folder)


def test_index_not_json(folder: Path) -> None:
    path = folder / "index.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(DataError, match=r"index.json: not valid JSON"):
        FeatureArchive.open(folder)
