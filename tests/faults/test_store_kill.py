"""A posterior store whose writers are killed, again and again, ends with the content of one that was left alone."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyasr.ops import pack_topk
from pyasr.targets import PosteriorStore

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

WRITER = Path(__file__).resolve().parent / "store_writer.py"
KILLS = 10
SEED = 7


def write(folder, when="never", number=0):
    command = [sys.executable, str(WRITER), str(folder), when, str(number)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def content(folder):
    store = PosteriorStore.open(folder)
    return {cut_id: store.packed(cut_id).numpy().tobytes() for cut_id in store}


def test_a_store_killed_ten_times_ends_in_the_same_content(tmp_path):
    ended = write(tmp_path / "undisturbed")
    assert ended.returncode == 0, ended.stderr
    calls = {kind: int(count) for kind, count in (word.split("=") for word in ended.stdout.split())}
    expected = content(tmp_path / "undisturbed")
    assert len(expected) == 120 and calls["replaced"] > 15

    draw, folder, moments, sealed = random.Random(SEED), tmp_path / "killed", [], 0
    while len(moments) < KILLS:
        when = ("write", "fsync", "replace", "replaced", "time")[len(moments) % 5]
        # At most a fifth of the calls at once, so that there is work for all kills.
        number = draw.randint(1, 30) if when == "time" else draw.randint(1, max(1, calls[when] // 5))
        ended = write(folder, when, number)
        moments.append((when, number))
        assert ended.returncode == -signal.SIGKILL, f"{moments}: {ended.stdout}{ended.stderr}"
        found = content(folder)
        assert sealed <= len(found) < 120, moments  # what was sealed is kept
        assert all(expected[cut_id] == rows for cut_id, rows in found.items())
        sealed = len(found)
    assert sealed > 20
    leftover = write(folder, "write", 3)  # leaves half a shard behind
    assert leftover.returncode == -signal.SIGKILL
    assert any(name.startswith(".tmp-") for name in os.listdir(folder / "shards"))
    last = write(folder)
    assert last.returncode == 0, f"{moments}: {last.stderr}"
    assert content(folder) == expected
    assert not list(folder.rglob(".tmp-*"))


def test_a_killed_writer_does_not_disturb_one_at_work(tmp_path):
    store = PosteriorStore.create(tmp_path, 300, 20, teacher="a")
    rows = {
        f"mine-{i}": pack_topk(torch.randn(50 + i, 300, generator=torch.Generator().manual_seed(i))) for i in (0, 1)
    }
    with store.writer() as writer:
        for cut_id, packed in rows.items():
            assert write(tmp_path, "write", 4).returncode == -signal.SIGKILL
            writer.put(cut_id, packed)
        assert write(tmp_path).returncode == 0  # removes what the killed ones left, not what is being written here
    store.refresh()
    assert len(store) == 122
    assert all(torch.equal(store.packed(cut_id), packed) for cut_id, packed in rows.items())
    assert not list(tmp_path.rglob(".tmp-*"))
