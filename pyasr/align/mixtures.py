"""Re-estimation and growth of the mixtures, as Kaldi's gmm-est."""

from __future__ import annotations

import heapq

import numpy as np

from pyasr.align.gmm import DiagGmm, GmmStats
from pyasr.align.options import MixtureOptions


def estimate(
    gmm: DiagGmm, stats: GmmStats, variance_floor: np.ndarray, options: MixtureOptions, remove: bool = True
) -> tuple[DiagGmm, int]:
    """Maximum-likelihood mixtures from statistics; components with too few frames are removed.

    variance_floor: (D,). A pdf without frames, and the last component of a pdf with too few, keep their
    mean and variance. remove=False keeps all components so.
    Returns the mixtures and how many components were removed.
    """
    total = gmm.pdf_sums(stats.occupancy)
    owner = np.repeat(np.arange(gmm.num_pdfs), np.diff(gmm.offsets))
    share = stats.occupancy / np.maximum(total[owner], 1e-300)
    enough = (stats.occupancy >= options.min_gaussian_occupancy) & (share >= options.min_gaussian_weight)
    count = np.where(enough, stats.occupancy, 1.0)[:, None]
    means = np.where(enough[:, None], stats.sum / count, gmm.means)
    spread = _smoothed(gmm, stats, means, options.variance_smoothing)
    variances = np.where(enough[:, None], np.maximum(spread, variance_floor), gmm.variances)

    seen = total[owner] > 0
    keep = enough | ~seen
    largest = np.lexsort((np.arange(len(share)), -share, owner))[gmm.offsets[:-1]]
    keep[largest] = True
    if not remove:
        keep[:] = True
    weights = np.where(seen, np.maximum(share, options.min_gaussian_weight), gmm.weights)[keep]
    offsets = np.concatenate([[0], np.cumsum(np.add.reduceat(keep.astype(np.int64), gmm.offsets[:-1]))])
    weights /= np.add.reduceat(weights, offsets[:-1])[owner[keep]]
    return DiagGmm(weights, means[keep], variances[keep], offsets), int((~keep).sum())


def _smoothed(gmm: DiagGmm, stats: GmmStats, means: np.ndarray, frames: float) -> np.ndarray:
    """Variances (G, D) with `frames` frames added that have the average variance within the components of the pdf."""
    count = stats.occupancy[:, None]
    squares = np.maximum(stats.sumsq - means * (2 * stats.sum - count * means), 0.0)
    pooled = np.add.reduceat(np.concatenate([squares, count], axis=1), gmm.offsets[:-1])
    average = pooled[:, :-1] / np.maximum(pooled[:, -1:], 1e-10)
    return (squares + frames * np.repeat(average, np.diff(gmm.offsets), axis=0)) / np.maximum(count + frames, 1e-10)


def growth_targets(
    occupancy: np.ndarray, sizes: np.ndarray, num_gauss: int, power: float, min_occupancy: float
) -> np.ndarray:
    """How many components each pdf should have, num_gauss together: as even as possible in occupancy^power.

    occupancy: frames (P,). sizes: components now (P,), never lowered. A component needs min_occupancy
    frames. (Kaldi's GetSplitTargets.)
    """
    targets = sizes.astype(np.int64).copy()
    worth = np.maximum(occupancy, 1e-20) ** power
    queue = [(-worth[pdf] / targets[pdf], pdf) for pdf in range(len(targets))]
    heapq.heapify(queue)
    missing = num_gauss - int(targets.sum())
    while missing > 0 and queue:
        _, pdf = queue[0]
        if (targets[pdf] + 1) * min_occupancy >= occupancy[pdf]:
            heapq.heappop(queue)
            continue
        targets[pdf] += 1
        missing -= 1
        heapq.heapreplace(queue, (-worth[pdf] / targets[pdf], pdf))
    return targets


def grow(
    gmm: DiagGmm, occupancy: np.ndarray, num_gauss: int, options: MixtureOptions, random: np.random.Generator
) -> DiagGmm:
    """Split the heaviest components until there are num_gauss (or too few frames for more).

    occupancy: frames of each pdf (P,). A component with weight w becomes two with w / 2 and means a little
    apart along a direction drawn from `random`.
    """
    sizes = np.diff(gmm.offsets)
    targets = growth_targets(occupancy, sizes, num_gauss, options.split_power, options.min_split_occupancy)
    parts = [gmm]
    for pdf in np.flatnonzero(targets > sizes):
        parts.append(_split(gmm, int(pdf), int(targets[pdf]), options.split_perturbation, random))
    if len(parts) == 1:
        return gmm
    return _merge(parts, np.flatnonzero(targets > sizes), targets)


def _split(gmm: DiagGmm, pdf: int, target: int, perturbation: float, random: np.random.Generator) -> DiagGmm:
    """The grown mixture of one pdf, as a bank of one."""
    owned = slice(gmm.offsets[pdf], gmm.offsets[pdf + 1])
    size = gmm.offsets[pdf + 1] - gmm.offsets[pdf]
    weights = np.concatenate([gmm.weights[owned], np.zeros(target - size)])
    means = np.concatenate([gmm.means[owned], np.zeros((target - size, gmm.dim))])
    variances = np.concatenate([gmm.variances[owned], np.ones((target - size, gmm.dim))])
    for new in range(size, target):
        old = int(np.argmax(weights[:new]))
        step = perturbation * np.sqrt(variances[old]) * random.standard_normal(gmm.dim)
        weights[old] = weights[new] = weights[old] / 2
        variances[new] = variances[old]
        means[new] = means[old] + step
        means[old] -= step
    return DiagGmm(weights, means, variances, np.array([0, target]))


def _merge(parts: list[DiagGmm], grown: np.ndarray, targets: np.ndarray) -> DiagGmm:
    """parts[0] with the mixtures of the `grown` pdfs replaced by the further parts."""
    first, further = parts[0], dict(zip(grown.tolist(), parts[1:]))

    def joined(name: str) -> np.ndarray:
        values = getattr(first, name)
        return np.concatenate(
            [
                getattr(further[pdf], name) if pdf in further else values[first.offsets[pdf] : first.offsets[pdf + 1]]
                for pdf in range(first.num_pdfs)
            ]
        )

    offsets = np.concatenate([[0], np.cumsum(targets)])
    return DiagGmm(joined("weights"), joined("means"), joined("variances"), offsets)

