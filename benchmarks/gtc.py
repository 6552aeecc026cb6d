"""Gradient threshold compression against torch and NumPy, on the same data, timed in turn.

Encoding reads 8 bytes an element and writes 4: its bound is the bandwidth that torch's copy_ reaches in this process
with as many threads (8 bytes an element counted, though a copy may read what it overwrites). Adding messages touches
most lines of memory at density 1e-2, whose bound is out.add_(1), one reading and writing of everything; at 1e-3 it
touches one line in nine, at random. Coding runs on one core; the aim is 60 M words/s.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from common import best_s, gpu_medians_s, main, row

from pyasr.ops import gtc_compress, gtc_decode_add, gtc_decompress, gtc_encode

N = 24_000_000
WORKERS = 8
THREADS = 2
TAU = 1.0


def in_turn(*work: Callable[[], object], rounds: int = 7) -> list[float]:
    """Seconds of the fastest call of each, timed alternately: what disturbs the machine disturbs all."""
    return np.min([[best_s(call, repeats=1) for call in work] for _ in range(rounds)], axis=0).tolist()


def message(density: float, seed: int) -> torch.Tensor:
    """Independent positions and signs."""
    rng = np.random.default_rng(seed)
    index = np.flatnonzero(rng.random(N, np.float32) < density)
    return torch.from_numpy((index << 1 | rng.integers(0, 2, len(index))).astype(np.int32))


# Encoding: each peer leaves the words, and the residual without them.


def encode_with_torch(grad: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    residual += grad
    index = (residual.abs() > TAU).nonzero().squeeze(1)
    positive = residual[index] > 0
    residual[index] -= torch.where(positive, TAU, -TAU)
    return (index << 1 | positive).int()


def encode_with_numpy(grad: np.ndarray, residual: np.ndarray) -> np.ndarray:
    residual += grad
    index = np.flatnonzero((residual > TAU) | (residual < -TAU))
    positive = residual[index] > 0
    residual[index] -= np.where(positive, np.float32(TAU), np.float32(-TAU))
    return (index << 1 | positive).astype(np.int32)


def measure_encode(density: float) -> list[dict]:
    """The same weights are sent in every step; the gradients of the others change their sign, and cancel."""
    even = torch.rand(N, generator=torch.Generator().manual_seed(0)) - 0.5
    odd = -even
    index = message(density, 0).long() >> 1
    even[index] = odd[index] = torch.where(index % 2 == 0, 1.25, -1.25)
    residuals, steps = [torch.zeros(N) for _ in range(3)], [0, 0, 0]

    def step(i: int, encode: Callable) -> None:
        words = encode(odd if steps[i] % 2 else even, residuals[i])
        steps[i] += 1
        assert len(words) == len(index)

    source, target = torch.rand(N), torch.zeros(N)
    ours, with_torch, with_numpy, copy = in_turn(
        lambda: step(0, lambda g, r: gtc_encode(g, r, TAU)[0]),
        lambda: step(1, encode_with_torch),
        lambda: step(2, lambda g, r: encode_with_numpy(g.numpy(), r.numpy())),
        lambda: target.copy_(source),
    )
    assert torch.equal(residuals[0], residuals[1]) and torch.equal(residuals[0], residuals[2])
    peer, what = min((with_torch, f"torch, {THREADS} threads"), (with_numpy, "NumPy"))
    name = f"gtc_encode, n = {N}, density {density:.0e}, {THREADS} threads"
    return [row(name, "elements/s", N / ours, N / peer, what, bound=8 * N / copy / 12)]


# Adding messages


def split(words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return words >> 1, (words & 1) * (2 * TAU) - TAU


def add_with_index_add(messages: list[torch.Tensor], out: torch.Tensor) -> None:
    for words in messages:
        index, values = split(words)
        out.index_add_(0, index, values)


def add_with_scatter(messages: list[torch.Tensor], out: torch.Tensor) -> None:
    index, values = split(torch.cat(messages))
    out.scatter_add_(0, index.long(), values)


def add_with_numpy(messages: list[np.ndarray], out: np.ndarray) -> None:
    """Within a message no index comes twice, so += on chosen elements is right."""
    for words in messages:
        out[words >> 1] += (words & 1).astype(np.float32) * np.float32(2 * TAU) - np.float32(TAU)


def add_with_add_at(messages: list[np.ndarray], out: np.ndarray) -> None:
    for words in messages:
        np.add.at(out, words >> 1, (words & 1).astype(np.float32) * np.float32(2 * TAU) - np.float32(TAU))


def measure_decode(density: float) -> list[dict]:
    messages = [message(density, seed) for seed in range(WORKERS)]
    arrays = [words.numpy() for words in messages]
    outs, whole = [torch.zeros(N) for _ in range(5)], torch.zeros(N)
    peers = {
        f"torch index_add_, {THREADS} threads": lambda: add_with_index_add(messages, outs[1]),
        f"torch scatter_add_, {THREADS} threads": lambda: add_with_scatter(messages, outs[2]),
        "NumPy indexing": lambda: add_with_numpy(arrays, outs[3].numpy()),
        "NumPy add.at": lambda: add_with_add_at(arrays, outs[4].numpy()),
    }
    ours, once, *theirs = in_turn(
        lambda: gtc_decode_add(messages, TAU, outs[0]), lambda: whole.add_(1), *peers.values()
    )
    assert all(torch.equal(outs[0], out) for out in outs)
    total = sum(len(words) for words in messages)
    peer, what = min(zip(theirs, peers))
    name = f"gtc_decode_add of {WORKERS} messages, n = {N}, density {density:.0e}, {THREADS} threads"
    bound = total / once if density >= 1e-2 else None
    return [row(name, "words/s", total / ours, total / peer, what, bound)]


# Golomb-Rice code


def measure_coding(density: float) -> list[dict]:
    words = message(density, 0)
    data = gtc_compress(words, N)
    assert torch.equal(gtc_decompress(data), words)
    repeats = max(1, 100_000 // len(words))  # calls a timing; of few words most is Python's time

    def repeated(work: Callable[[], object]) -> Callable[[], None]:
        return lambda: [work() for _ in range(repeats)] and None

    compress, decompress = in_turn(
        repeated(lambda: gtc_compress(words, N)), repeated(lambda: gtc_decompress(data)), rounds=15
    )
    p = len(words) / N
    entropy = 1 - (p * math.log2(p) + (1 - p) * math.log2(1 - p)) / p
    return [
        row(f"gtc_compress, density {density:.0e}", "words/s", repeats * len(words) / compress, 60e6, "aim"),
        row(f"gtc_decompress, density {density:.0e}", "words/s", repeats * len(words) / decompress, 60e6, "aim"),
        row(f"words a bit of gtc_compress, density {density:.0e}", "words/bit", len(words) / (8 * len(data)),
            1 / entropy, "entropy of independent positions and signs"),
    ]  # fmt: skip


def measure() -> list[dict]:
    torch.set_num_threads(THREADS)
    return [
        *(r for density in (1e-3, 1e-2) for r in measure_encode(density)),
        *(r for density in (1e-3, 1e-2) for r in measure_decode(density)),
        *(r for density in (1e-2, 1e-3, 1e-4, 1e-5) for r in measure_coding(density)),
    ]


# The same on a GPU, against torch there; the bound of encoding is the bandwidth of a copy, bytes read and written


def measure_encode_on_gpu(density: float) -> list[dict]:
    even = (torch.rand(N, generator=torch.Generator().manual_seed(0)) - 0.5).cuda()
    odd = -even
    index = message(density, 0).long().cuda() >> 1
    even[index] = odd[index] = torch.where(index % 2 == 0, 1.25, -1.25)
    residuals, steps = [torch.zeros(N, device="cuda") for _ in range(2)], [0, 0]
    words = torch.empty(N, dtype=torch.int32, device="cuda")

    def step(i: int, encode: Callable) -> None:
        encode(odd if steps[i] % 2 else even, residuals[i])
        steps[i] += 1

    source, target = even.clone(), odd.clone()
    ours, peer, copy = gpu_medians_s(
        lambda: step(0, lambda g, r: gtc_encode(g, r, TAU, out=words)),
        lambda: step(1, encode_with_torch),
        lambda: target.copy_(source),
    )
    assert torch.equal(*residuals)
    name = f"gtc_encode, n = {N}, density {density:.0e}, GPU"
    return [row(name, "elements/s", N / ours, N / peer, "torch, GPU", bound=8 * N / copy / 12, on_gpu=True)]


def measure_decode_on_gpu(density: float) -> list[dict]:
    messages = [message(density, seed).cuda() for seed in range(WORKERS)]
    outs = [torch.zeros(N, device="cuda") for _ in range(2)]
    ours, peer = gpu_medians_s(
        lambda: gtc_decode_add(messages, TAU, outs[0]), lambda: add_with_index_add(messages, outs[1])
    )
    assert torch.equal(*outs)
    total = sum(len(words) for words in messages)
    name = f"gtc_decode_add of {WORKERS} messages, n = {N}, density {density:.0e}, GPU"
    return [row(name, "words/s", total / ours, total / peer, "torch index_add_, GPU", on_gpu=True)]


def measure_on_gpu() -> list[dict]:
    return [
        r for work in (measure_encode_on_gpu, measure_decode_on_gpu) for density in (1e-3, 1e-2) for r in work(density)
    ]


if __name__ == "__main__":
    main(__doc__.splitlines()[0], measure, measure_on_gpu)
