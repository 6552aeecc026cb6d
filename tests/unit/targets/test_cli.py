"""`python -m pyasr.targets`: what is shown, and the exit codes."""

import json

import pytest
import torch
import typer.testing
from lhotse import MonoCut, Recording

from pyasr.base.errors import ConfigError, DataError
from pyasr.corpora import write_cuts
from pyasr.ops import pack_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.cli import app
from pyasr.targets.repair import repair_store


@pytest.fixture
def store(tmp_path):
    store = PosteriorStore.create(tmp_path / "store", 50, 5, teacher="abc")
    with store.writer() as writer:
        for name, scale in (("sure", 20.0), ("unsure", 0.1)):
            logits = scale * torch.randn(300, 50, generator=torch.Generator().manual_seed(1))
            writer.put(name, pack_topk(logits, 5))
    return store


def run(*arguments):
    return typer.testing.CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


def test_help_teaches():
    assert "Look after a posterior store" in run("--help").stdout
    for command in ("stat", "list", "verify", "repair", "merge", "label"):
        shown = run(command, "--help").stdout
        assert "DIR" in shown and (command == "list" or f"-m pyasr.targets {command} " in " ".join(shown.split()))


def test_stat_shows_sizes_sureness_and_coverage(store, tmp_path):
    recording = Recording("r", [], 16000, 16000 * 3600, 3600.0)
    cuts = [MonoCut(name, 0.0, 1800.0, 0, recording=recording) for name in ("sure", "unsure", "lost")]
    write_cuts(tmp_path / "cuts.jsonl.gz", cuts)
    shown = run("stat", store.folder, "--manifest", tmp_path / "cuts.jsonl.gz").stdout
    for text in ("k = 5 of 50 senones", '"teacher": "abc"', "600", "a frame", "mean kept mass", "nats", "##"):
        assert text in shown
    assert "3 cuts, 1.50 h" in shown and "2 cuts, 1.00 h (66.67%)" in shown and "lost" in shown


def test_stat_lists_every_missing_or_incomplete_cut(store, tmp_path):
    spoil(store.folder / "shards" / store.shard_names()[0], 150)
    run("repair", store.folder)
    names = [[f"lost-{number}" for number in range(30)], ["unsure", "sure", "last/ü"]]
    manifests = [tmp_path / "first.jsonl.gz", tmp_path / "second.jsonl.gz"]
    for path, cut_ids in zip(manifests, names):
        write_cuts(path, [MonoCut(cut_id, 0.0, 60.0, 0) for cut_id in cut_ids])
    listing = tmp_path / "missing.txt"
    options = [option for path in manifests for option in ("--manifest", path)]
    shown = run("stat", store.folder, *options, "--missing", listing).stdout
    assert listing.read_text(encoding="utf-8").splitlines() == [*names[0], "sure", "last/ü"]
    assert "33 cuts" in shown and "1 cuts" in shown
    listing.write_text("as it was")
    with pytest.raises(DataError, match="nowhere"):  # an unfinished list takes no other's place
        run("stat", store.folder, *options, "--manifest", tmp_path / "nowhere.jsonl", "--missing", listing)
    assert listing.read_text() == "as it was"
    with pytest.raises(ConfigError, match="--missing needs --manifest"):
        run("stat", store.folder, "--missing", listing)


def test_list_gives_a_line_a_cut(store):
    rows = {row["id"]: row for row in map(json.loads, run("list", store.folder).stdout.splitlines())}
    assert set(rows) == {"sure", "unsure"} and rows["sure"]["frames"] == 300 and rows["sure"]["complete"]
    assert rows["sure"]["max_posterior"] > 0.9 > rows["unsure"]["max_posterior"]
    assert rows["sure"]["entropy"] < rows["unsure"]["entropy"] and rows["unsure"]["kept"] < rows["sure"]["kept"] <= 1


def test_verify_and_repair(store, tmp_path):
    assert "1 shards are as they were written" in run("verify", store.folder).stdout
    (name,) = store.shard_names()
    path = store.folder / "shards" / name
    spoil(path, 150)
    with pytest.raises(DataError, match=r"1 places are damaged; python -m pyasr\.targets repair"):
        run("verify", store.folder)
    shown = run("repair", store.folder, "--relabel", tmp_path / "relabel.jsonl").stdout
    assert f"{name}: cut sure, frames 0..255: damaged (checksum)" in shown and "1 cuts are to be labelled" in shown
    (row,) = map(json.loads, (tmp_path / "relabel.jsonl").read_text().splitlines())
    assert row["cut_id"] == "sure" and row["frames"] == [0, 255]
    assert "1 shards are as" in run("verify", store.folder).stdout
    assert PosteriorStore.open(store.folder).missing(["sure", "unsure"]) == ["sure"]


def spoil(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def test_a_repair_that_is_interrupted_forgets_nothing(store, tmp_path):
    shards, listing = store.folder / "shards", tmp_path / "relabel.jsonl"
    spoil(shards / store.shard_names()[0], 150)
    with store.writer(part="later") as writer:
        writer.put("short", store.packed("unsure", 0, 20))
    spoil(shards / store.shard_names()[1], 150)
    other = PosteriorStore.create(tmp_path / "other", 50, 5, teacher="another")
    with other.writer(part="later") as writer:
        writer.put("alien", store.packed("unsure", 0, 20))
    (name,) = other.shard_names()
    alien = (other.folder / "shards" / name).rename(shards / name)

    def listed():
        rows = map(json.loads, listing.read_text().splitlines())
        return [(row["cut_id"], row["what"]) for row in rows]

    with pytest.raises(DataError, match="belongs to another store"):  # when two shards are repaired already
        run("repair", store.folder, "--relabel", listing)
    damaged = [("sure", "damaged (checksum)"), ("short", "damaged (checksum)")]
    assert listed() == damaged
    alien.unlink()
    dropped = [("sure", "dropped by an earlier repair"), ("short", "dropped by an earlier repair")]
    for _ in range(2):
        shown = run("repair", store.folder, "--relabel", listing).stdout
        assert "2 places are damaged or dropped; 2 cuts are to be labelled again" in shown
        assert listed() == damaged + dropped, "each place once"
    with PosteriorStore.open(store.folder).writer() as writer:
        writer.put("sure", store.packed("unsure"))
    assert "1 cuts are to be labelled again" in run("repair", store.folder).stdout
    assert run("verify", store.folder).exit_code == 0


def test_a_shard_is_listed_before_it_is_replaced(store):
    path = store.folder / "shards" / store.shard_names()[0]
    spoil(path, 150)
    damaged = path.read_bytes()
    with pytest.raises(OSError, match="disk full"):
        repair_store(store, lambda damages: (_ for _ in ()).throw(OSError("disk full")))
    assert path.read_bytes() == damaged


def test_merge(store, tmp_path):
    assert "joint: 1 shards" in run("merge", tmp_path / "joint", store.folder).stdout
    assert PosteriorStore.open(tmp_path / "joint").missing(["sure", "unsure"]) == []


def test_merge_opens_no_shard(store, tmp_path):
    (name,) = store.shard_names()
    (store.folder / "shards" / name).write_bytes(b"what is in it does not matter")
    assert "joint: 1 shards" in run("merge", tmp_path / "joint", store.folder).stdout
