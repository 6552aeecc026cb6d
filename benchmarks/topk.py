"""Packing the 20 best posteriors of a frame against torch's topk and logsumexp, on the same logits and threads.

The peer only selects and normalises, and leaves nothing packed. The bound is the reading of the logits once, at the
bandwidth that torch's sum reaches on the same matrix, which fits no cache. Ours, peer and bound take turns. Expected:
close to the bound where a row is long; sorting, coding and packing cost some 0.4 us a row whatever its length, which is
all there is to AN4's rows (98 and 284 senones). Half as many bytes (bfloat16) take as much arithmetic.

Unpacking, on one thread: against the same in NumPy, which checks nothing.

On a trained network's logits (AN4's teacher, say), and with them how far what is stored is from what was packed:

    python benchmarks/topk.py --model EXP/train/teacher/network --cuts EXP/data/test.jsonl.gz
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import gpu_medians_s, main, row

import pyasr.ops
from pyasr.corpora import read_cuts
from pyasr.features.audio import load_samples
from pyasr.nn.network import Network
from pyasr.ops import reference
from pyasr.targets.labeller import Labeller

K = 20
THREADS = 2
BYTES = 80_000_000
DIVERGENCE_AIM = 1.5e-4  # nats


def shaped_logits(num_rows: int, num_senones: int) -> torch.Tensor:
    """Gaussian noise minus 2 log rank: a highest posterior of about one half. At most 2000 distinct rows."""
    rng = np.random.default_rng(0)
    logits = np.empty((min(2000, num_rows), num_senones), np.float32)
    fall = 2 * np.log1p(np.arange(num_senones, dtype=np.float32))
    for frame in logits:
        frame[:] = 1.5 * rng.standard_normal(num_senones, dtype=np.float32) - rng.permutation(fall)
    return torch.from_numpy(logits).repeat(-(-num_rows // len(logits)), 1)[:num_rows]


def with_torch(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    highest, ids = logits.topk(K, dim=1)
    return highest - logits.logsumexp(dim=1, keepdim=True), ids


def unpack_with_numpy(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For 12-bit ids."""
    low, middle, high = (packed[:, i:-K:3].astype(np.int32) for i in range(3))
    ids = np.stack([low | (middle & 15) << 8, middle >> 4 | high << 4], 2).reshape(-1, K)
    v = 2 * packed[:, -K, None].astype(np.float64) + 1
    below = np.zeros((len(packed), K))
    np.cumsum(np.array(reference.TOPK_GAPS)[packed[:, 1 - K :]], axis=1, out=below[:, 1:])
    highest = -np.log1p(v**2 / (512 - v) ** 2) - np.log(np.exp(-below).sum(1, keepdims=True))
    return ids, (highest - below).astype(np.float32)


def best_in_turns_s(works: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Seconds of the fastest call of each."""
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for i, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def teacher_logits(model: Path, cuts: Path) -> torch.Tensor:
    """float32 (R, S) of all frames of the cuts, at every stacking phase, as labelling makes them."""
    network = Network.load(model)
    labeller = Labeller(network, K, phases=network.frontend.options.stack)
    return torch.cat([logits for cut in read_cuts(cuts) for logits in labeller.logits([load_samples(cut)])])


def mean_divergence(logits: torch.Tensor) -> float:
    """Mean over the rows of KL(exact || stored) of the k kept classes and the tail as one more, nats, in float64."""
    ids, stored = pyasr.ops.unpack_topk(pyasr.ops.pack_topk(logits, K), K, logits.shape[1])
    every, ids, stored = logits.double().log_softmax(dim=1), ids.long(), stored.double()
    exact, tail = every.gather(1, ids), every.scatter(1, ids, -torch.inf).logsumexp(dim=1)
    stored_tail = torch.log1p(-stored.exp().sum(dim=1))
    of_tail = torch.where(tail > -torch.inf, tail.exp() * (tail - stored_tail), 0.0)
    return ((exact.exp() * (exact - stored)).sum(dim=1) + of_tail).mean().item()


def measure_packing(logits: torch.Tensor, what: str) -> dict:
    num_senones = logits.shape[1]
    ours_ids, ours = pyasr.ops.unpack_topk(pyasr.ops.pack_topk(logits, K), K, num_senones)
    theirs, ids = with_torch(logits.float())
    same = ours_ids == ids  # torch leaves the order of equal logits open
    assert same.float().mean() > 0.5 and (ours - theirs)[same].abs().max() < 0.3
    as_floats = logits.view(torch.uint8).view(-1)[: logits.nbytes // 4 * 4].view(torch.float32)
    works = [lambda: pyasr.ops.pack_topk(logits, K), lambda: with_torch(logits), as_floats.sum]
    ours_s, peer_s, read_s = best_in_turns_s(works, repeats=3)
    return row(
        f"pack_topk, k = {K}, S = {num_senones}, {str(logits.dtype).removeprefix('torch.')}{what}",
        "frames/s",
        len(logits) / ours_s,
        len(logits) / peer_s,
        f"torch topk and logsumexp, {THREADS} threads",
        bound=len(logits) / read_s,
    )


def measure(model: str, cuts: str) -> list[dict]:
    torch.set_num_threads(THREADS)
    rows = []
    if model:
        logits = teacher_logits(Path(model), Path(cuts))
        of = f", {len(logits)} rows of {model}"
        rows.append(measure_packing(logits.repeat(-(-BYTES // logits.nbytes), 1), of))
        nats = mean_divergence(logits)
        print(f"mean KL of what is stored from what was packed{of}: {nats:.3g} nats")
        rows.append(row(f"1 / mean KL{of}", "1/nats", 1 / nats, 1 / DIVERGENCE_AIM, "aim"))
    for num_senones in (98, 284, 300, 3183, 60000):
        frames = shaped_logits(BYTES // 4 // num_senones, num_senones)
        rows += [measure_packing(logits, "") for logits in (frames, frames.bfloat16())]
    packed = pyasr.ops.pack_topk(shaped_logits(20000, 3183), K)
    ids, logp = pyasr.ops.unpack_topk(packed, K, 3183)
    numpy_ids, numpy_logp = unpack_with_numpy(packed.numpy())
    assert (ids.numpy() == numpy_ids).all() and np.abs(logp.numpy() - numpy_logp).max() < 1e-5
    works = [lambda: pyasr.ops.unpack_topk(packed, K, 3183, 1), lambda: unpack_with_numpy(packed.numpy())]
    ours_s, peer_s = best_in_turns_s(works, repeats=10)
    name = f"unpack_topk, k = {K}, S = 3183, 1 thread"
    rows.append(row(name, "frames/s", len(packed) / ours_s, len(packed) / peer_s, "the same in NumPy, unchecked"))
    return rows


def measure_on_gpu() -> list[dict]:
    """The bound is reading the logits at the bandwidth of a copy, bytes read and written."""
    rows = []
    for num_senones in (98, 284, 3183, 60000):
        frames = shaped_logits(5 * BYTES // 4 // num_senones, num_senones).cuda()
        for logits in (frames, frames.bfloat16()):
            ours_ids, ours = pyasr.ops.unpack_topk(pyasr.ops.pack_topk(logits, K), K, num_senones)
            theirs, ids = with_torch(logits.float())
            same = ours_ids == ids
            assert same.float().mean() > 0.5 and (ours - theirs)[same].abs().max() < 0.3
            copied = torch.empty_like(logits)
            ours_s, peer_s, copy_s = gpu_medians_s(
                lambda x=logits: pyasr.ops.pack_topk(x, K),
                lambda x=logits: with_torch(x),
                lambda x=logits, y=copied: y.copy_(x),
            )
            name = f"pack_topk, k = {K}, S = {num_senones}, {str(logits.dtype).removeprefix('torch.')}, GPU"
            bound, n = 2 * len(logits) / copy_s, len(logits)
            what = "torch topk and logsumexp, GPU"
            rows.append(row(name, "frames/s", n / ours_s, n / peer_s, what, bound, on_gpu=True))
    return rows


if __name__ == "__main__":
    main(
        __doc__.splitlines()[0],
        measure,
        lambda model, cuts: measure_on_gpu(),
        model=("", "folder of a network whose logits to pack, too; none: shaped ones alone"),
        cuts=("", "manifest of the cuts that it is given"),
    )
