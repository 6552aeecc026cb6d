"""Extraction over many cuts: complete, ordered, the same for every executor, with listed skips."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import Recording

from pyasr.base.errors import DataError
from pyasr.base.executor import make_executor
from pyasr.features.archive import FeatureArchive
from pyasr.features.audio import load_samples
from pyasr.features.extract import extract_mfcc
from pyasr.features.mfcc import compute_mfcc
from pyasr.features.noise import NoisePool, NoiseSpec
from pyasr.features.options import FeatureOptions


@pytest.fixture
def cuts(make_cut, speech_like) -> list:
    return [make_cut(f"cut-{i:03d}", speech_like(1600 + 37 * i, seed=i)) for i in range(150)]


@pytest.fixture
def noise(tmp_path: Path) -> NoiseSpec:
    folder = tmp_path / "noise"
    folder.mkdir()
    soundfile.write(folder / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(30000), 16000)
    return NoiseSpec(NoisePool.open(folder), 10.0, seed=1)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_archive_holds_the_features(cuts: list, tmp_path: Path) -> None:
    summary = extract_mfcc(cuts, tmp_path / "out", FeatureOptions(), make_executor("serial"))
    archive = FeatureArchive.open(tmp_path / "out")
    assert list(archive) == [cut.id for cut in cuts]
    assert summary.cuts == 150 and summary.skips.count == 0
    assert summary.frames == archive.total_frames and summary.hours == pytest.approx(summary.frames / 360000)
    for cut in cuts[::17]:
        np.testing.assert_array_equal(archive[cut.id], compute_mfcc(load_samples(cut)))


@pytest.fixture(params=["processes", "dask"])
def workers(request: pytest.FixtureRequest) -> str:
    """Two, as --executor has them."""
    return "processes:2" if request.param == "processes" else request.getfixturevalue("dask_cluster").address()


def test_same_bytes_for_every_executor(cuts: list, noise: NoiseSpec, workers: str, tmp_path: Path) -> None:
    extract_mfcc(cuts, tmp_path / "serial", FeatureOptions(), make_executor("serial"), noise)
    with make_executor(workers) as executor:
        extract_mfcc(cuts, tmp_path / "two", FeatureOptions(), executor, noise)
    assert files(tmp_path / "serial") == files(tmp_path / "two")
    assert len(files(tmp_path / "two")) == 4  # three parts and the index


def test_noise_of_a_cut_does_not_depend_on_the_others(cuts: list, noise: NoiseSpec, tmp_path: Path) -> None:
    executor = make_executor("serial")
    extract_mfcc(cuts, tmp_path / "all", FeatureOptions(), executor, noise)
    extract_mfcc(cuts[:60:-1], tmp_path / "some", FeatureOptions(), executor, noise)
    some, everything = FeatureArchive.open(tmp_path / "some"), FeatureArchive.open(tmp_path / "all")
    for cut_id in some:
        np.testing.assert_array_equal(some[cut_id], everything[cut_id])


def test_skips_are_listed(cuts: list, make_cut, noise: NoiseSpec, tmp_path: Path) -> None:
    cuts = cuts[:60]
    Path(cuts[3].recording.sources[0].source).unlink()
    cuts.append(make_cut("short", np.full(40, 0.1)))
    cuts.append(make_cut("silent", np.zeros(16000)))
    options = FeatureOptions(skip_limit=0.1)
    summary = extract_mfcc(cuts, tmp_path / "out", options, make_executor("serial"), noise)
    assert summary.skips.by_reason() == {"unreadable audio": 1, "too short": 1, "silent audio": 1}
    assert [row["id"] for row in summary.skips.rows] == ["cut-003", "short", "silent"]
    assert summary.cuts == 59 and "short" not in FeatureArchive.open(tmp_path / "out")


def test_too_many_skips(cuts: list, tmp_path: Path) -> None:
    for cut in cuts[:9]:
        Path(cut.recording.sources[0].source).write_bytes(b"")
    with pytest.raises(DataError, match=r"9 of 150 utterances skipped.*cut-000"):
        extract_mfcc(cuts, tmp_path / "out", FeatureOptions(), make_executor("serial"))
    assert not (tmp_path / "out").exists()


def test_duplicate_ids_in_different_jobs(cuts: list, tmp_path: Path) -> None:
    cuts[-1].id = "cut-000"
    with pytest.raises(DataError, match="cut-000: two utterances"):
        extract_mfcc(cuts, tmp_path / "out", FeatureOptions(), make_executor("serial"))


def test_bad_noise_is_not_a_skip(cuts: list, noise: NoiseSpec, tmp_path: Path) -> None:
    noise.pool.clips[0].path.write_bytes(b"junk" * 100)
    with pytest.raises(DataError, match=r"a\.wav: cannot be read"):
        extract_mfcc(cuts, tmp_path / "out", FeatureOptions(), make_executor("serial"), noise)


def test_no_cuts(tmp_path: Path) -> None:
    summary = extract_mfcc([], tmp_path / "out", FeatureOptions(), make_executor("serial"))
    assert summary.cuts == 0 and len(FeatureArchive.open(tmp_path / "out")) == 0


def test_an4_audio(tmp_path: Path) -> None:
    an4 = os.environ.get("PYASR_AN4_DIR")
    if not an4:
        pytest.skip("PYASR_AN4_DIR is not set")
    paths = sorted((Path(an4) / "wav" / "an4test_clstk").rglob("*.flac"))[:20]
    cuts = [Recording.from_file(path, recording_id=path.stem).to_cut() for path in paths]
    extract_mfcc(cuts, tmp_path / "out", FeatureOptions(), make_executor("serial"))
    frames = np.concatenate(list(FeatureArchive.open(tmp_path / "out").values()))
    assert len(frames) > 2000
    assert 50 < frames[:, 0].mean() < 110  # energies of 16-bit audio, as Kaldi has them
    assert (frames.std(axis=0) > 5).all()
