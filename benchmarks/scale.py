"""The student's data path over manifests of 10 to 1,000,000 hours: start, memory and cuts a second must not change.

Synthetic, for this benchmark alone: two manifests of 10 hours (3,600 cuts of 10 s, all of one recording of noise) and
the posteriors of random logits for each, linked under as many names as make the hours. What is read is read as in a
training: manifests, audio, features, stored posteriors; one process a size, no workers, features of a small front end.
Start: processor time from the imports to the first batch, listing the folders included. Memory: the highest
resident size, after --batches batches of 8 cuts. The peer is the same over 10 hours: ratios of 1 are what is hoped for.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from common import main, row
from lhotse import MonoCut, Recording

from pyasr.corpora import write_cuts
from pyasr.features.augment import AugmentOptions
from pyasr.features.network import NetworkFrontend
from pyasr.features.options import LfbeOptions
from pyasr.ops import pack_topk
from pyasr.targets import PosteriorStore
from pyasr.train.data import BatchMaker
from pyasr.train.lazy import LazyOptions, LazySource, Manifests, lazy_batches

HOURS_EACH, CUT_S, DISTINCT = 10, 10, 2
SIZES = (10, 1_000, 100_000, 1_000_000)
K, NUM_SENONES = 20, 300


def make_frontend() -> NetworkFrontend:
    return NetworkFrontend(LfbeOptions(num_mel_bins=16), np.zeros(16, np.float32), np.ones(16, np.float32))


def make_distinct(folder: Path) -> None:
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal(16000 * CUT_S).astype(np.float32)
    soundfile.write(folder / "noise.flac", samples, 16000)
    rows = len(make_frontend().stacked(samples))
    recording = Recording.from_file(folder / "noise.flac", recording_id="noise")
    store = PosteriorStore.create(folder / "store", NUM_SENONES, K, phases=1)
    packed = [pack_topk(torch.from_numpy(rng.standard_normal((rows, NUM_SENONES), np.float32)), K) for _ in range(8)]
    for number in range(DISTINCT):
        cuts = [
            MonoCut(f"{number}-{n}", 0.0, float(CUT_S), 0, recording=recording)
            for n in range(3600 * HOURS_EACH // CUT_S)
        ]
        write_cuts(folder / f"part{number}.jsonl.gz", cuts)
        with store.writer(part=f"part{number}") as writer:
            for n, cut in enumerate(cuts):
                writer.put(cut.id, packed[n % len(packed)])


def link(source: Path, target: Path, hours: int) -> None:
    for name in ("cuts", "store/shards"):
        (target / name).mkdir(parents=True)
    os.link(source / "store" / "store.json", target / "store" / "store.json")
    shards = [source / "store" / "shards" / name for name in PosteriorStore.open(source / "store").shard_names()]
    for number in range(hours // HOURS_EACH):
        kind = number % DISTINCT
        os.link(source / f"part{kind}.jsonl.gz", target / "cuts" / f"m{number:06d}.jsonl.gz")
        for shard in (s for s in shards if s.name.startswith(f"part{kind}.")):
            os.link(shard, target / "store" / "shards" / f"m{number:06d}.{shard.name.split('.', 1)[1]}")


def measure_one(folder: Path, num_batches: int) -> dict[str, float]:
    """In a process of its own."""
    begun = time.process_time()
    manifests = Manifests(folder / "cuts")
    source = LazySource.of(manifests, folder / "store")
    augment = AugmentOptions(stack_phase=False)
    maker = BatchMaker({"untranscribed": source}, make_frontend(), augment, None, seed=1, delay=0)
    batches = lazy_batches(manifests, "untranscribed", LazyOptions(batch_s=80.0, seed=1, buffer=1))
    maker[next(batches)[0]]
    start_s = time.process_time() - begun
    cuts, begun = 0, time.process_time()
    for _ in range(num_batches):
        cuts += len(maker[next(batches)[0]].cut_ids)
    seconds = time.process_time() - begun
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"start_s": start_s, "cuts_per_s": cuts / seconds, "peak_mb": peak_mb}


def measure(batches: int) -> list[dict]:
    found = {}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "distinct"
        source.mkdir()
        make_distinct(source)
        for hours in SIZES:
            target = Path(name) / str(hours)
            link(source, target, hours)
            command = [sys.executable, __file__, "--one", str(target), str(batches)]
            found[hours] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            print(f"{hours:>9,} h: {found[hours]}", flush=True)
    rows = []
    for hours in SIZES[1:]:
        ours, peer = found[hours], found[SIZES[0]]
        what = f"{SIZES[0]} h"
        rows.append(row(f"cuts a second, {hours:,} h", "cuts/s", ours["cuts_per_s"], peer["cuts_per_s"], what))
        memory = (1024 / result["peak_mb"] for result in (ours, peer))
        rows.append(row(f"1 / resident memory, {hours:,} h", "1/GB", *memory, what))
        rows.append(row(f"1 / start, {hours:,} h", "1/s", 1 / ours["start_s"], 1 / peer["start_s"], what))
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        torch.set_num_threads(1)
        print(json.dumps(measure_one(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        main(__doc__.splitlines()[0], measure, batches=(60, "batches to read at each size"))
