"""Lattice forward-backward with gradient against NumPy, a frame at a time in the log domain, one thread each.

The lattices have the shape that a search gives: the active states of each frame, most arcs to near states of the next,
senones drawn anew for each frame. Results must agree before anything is timed. The bound is the traffic of about 90
bytes an arc (csrc/hmm/lattice_forward_backward.h) at the bandwidth of a copy in this process, for lattices that fit
no cache; the arithmetic is nearer. That arcs/s hardly fall from row to row is the linearity in arcs.
"""

from __future__ import annotations

import numpy as np
from common import best_s, main, row

from pyasr.ops.lattice import Lattice, lattice_forward_backward

NUM_SENONES = 3000
SCALE = 0.3
BYTES_PER_ARC = 90
# frames, states a frame, arcs a state: 3 thousand to 4 million arcs
SIZES = [(300, 5, 2), (500, 40, 3), (1000, 300, 3), (2000, 700, 3)]


def search_lattice(rng: np.random.Generator, frames: int, width: int, fan_out: int) -> Lattice:
    """`width` states at each frame but the first and the last, each with `fan_out` arcs to near ones of the next."""
    widths = np.r_[1, np.full(frames - 1, width), 1]
    first = np.r_[0, np.cumsum(widths)]
    src, dst, senone, time = [], [], [], []
    for t in range(frames):
        here, there = widths[t], widths[t + 1]
        of_frame = rng.integers(NUM_SENONES, size=max(4, width // 4))
        at = np.repeat(np.arange(here), fan_out if here > 1 else there)
        # The first arc of a state leads straight on, so that every state of the next frame is reached.
        aside = np.where(np.diff(at, prepend=-1), 0, rng.integers(-3, 4, len(at))) if here > 1 else np.arange(there)
        src.append(first[t] + at)
        dst.append(first[t + 1] + (at + aside) % there)
        senone.append(rng.choice(of_frame, len(at)))
        time.append(np.full(len(at), t))
    src, dst, senone, time = (np.concatenate(x).astype(np.int32) for x in (src, dst, senone, time))
    final_cost = np.full(first[-1], np.inf, np.float32)
    final_cost[-1] = 0
    return Lattice(src, dst, senone, time, rng.exponential(2, len(src)).astype(np.float32), final_cost)


class LogDomain:
    """The usual recursions, each frame's arcs at once; what depends on the lattice alone is prepared beforehand."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        ends = np.searchsorted(lattice.arc_time, np.arange(lattice.num_frames + 1))
        self.frames = []
        for begin, end in zip(ends, ends[1:]):
            src, dst = lattice.arc_src[begin:end], lattice.arc_dst[begin:end]
            order = np.argsort(dst, kind="stable")
            dst_begin = np.flatnonzero(np.diff(dst[order], prepend=-1))
            src_begin = np.flatnonzero(np.diff(src, prepend=-1))
            self.frames.append((slice(begin, end), src, dst, order, dst[order][dst_begin], dst_begin, src_begin))

    def __call__(self, loglikes: np.ndarray, values: np.ndarray) -> tuple[float, float, np.ndarray]:
        lattice, num_states = self.lattice, len(self.lattice.final_cost)
        w = SCALE * loglikes[lattice.arc_time, lattice.arc_senone].astype(np.float64) - lattice.arc_cost
        alpha, before = np.zeros(num_states), np.zeros(num_states)
        beta, after = -lattice.final_cost.astype(np.float64), np.zeros(num_states)
        for arcs, src, _, order, dst, begin, _ in self.frames:
            src, w_t, v_t = src[order], w[arcs][order], values[arcs][order]
            alpha[dst], before[dst] = _log_sum(alpha[src] + w_t, before[src] + v_t, begin)
        for arcs, src, dst, _, _, _, begin in reversed(self.frames):
            at = src[begin]
            beta[at], after[at] = _log_sum(w[arcs] + beta[dst], values[arcs] + after[dst], begin)
        src, dst = lattice.arc_src, lattice.arc_dst
        of_arcs = np.exp(alpha[src] + w + beta[dst] - beta[0]) * (before[src] + values + after[dst] - after[0])
        gradient = np.zeros(loglikes.shape, np.float32)
        np.add.at(gradient, (lattice.arc_time, lattice.arc_senone), of_arcs)
        return beta[0], after[0], gradient


def _log_sum(x: np.ndarray, values: np.ndarray, begin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each segment the log of the sum of exp(x), and the mean value by these weights."""
    highest = np.maximum.reduceat(x, begin)
    p = np.exp(x - np.repeat(highest, np.diff(begin, append=len(x))))
    total = np.add.reduceat(p, begin)
    return highest + np.log(total), np.add.reduceat(p * values, begin) / total


def copy_bandwidth() -> float:
    """Bytes a second, read and written ones together."""
    source = np.ones(25_000_000)
    target = np.empty_like(source)
    return 2 * source.nbytes / best_s(lambda: np.copyto(target, source))


def measure() -> list[dict]:
    rng = np.random.default_rng(0)
    bandwidth = copy_bandwidth()
    rows = []
    for frames, width, fan_out in SIZES:
        lattice = search_lattice(rng, frames, width, fan_out)
        num_arcs = len(lattice.arc_src)
        loglikes = rng.normal(-4, 2, (frames, NUM_SENONES)).astype(np.float32)
        values = (rng.random(num_arcs) < 0.3).astype(np.float32)
        peer = LogDomain(lattice)
        copies = max(1, 100_000 // num_arcs)  # small ones as they come: many at once

        def ours(lattice=lattice, loglikes=loglikes, values=values, copies=copies):
            return lattice_forward_backward([lattice] * copies, [loglikes] * copies, [values] * copies, SCALE)

        result = ours()[0]
        log_total, expected, gradient = peer(loglikes, values)
        np.testing.assert_allclose([result.log_total, result.expected], [log_total, expected], rtol=1e-9)
        np.testing.assert_allclose(result.gradient, gradient[result.frame, result.senone], atol=1e-6)
        ours_s, peer_s = best_s(ours) / copies, best_s(lambda f=peer, x=loglikes, v=values: f(x, v), repeats=2)
        name = f"lattice_forward_backward with gradient, {num_arcs} arcs"
        rows.append(
            row(name, "arcs/s", num_arcs / ours_s, num_arcs / peer_s, "NumPy by frames", bandwidth / BYTES_PER_ARC)
        )
    return rows


if __name__ == "__main__":
    main(__doc__.splitlines()[0], measure)
