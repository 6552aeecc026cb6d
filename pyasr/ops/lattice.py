"""Posteriors of lattices and the expected value of their paths with its gradient: the kernel under sMBR.

The mathematics stands in csrc/hmm/lattice_forward_backward.h. Sources: Povey, "Discriminative training for large
vocabulary speech recognition" (thesis, 2003), chapter 6; Vesely et al., "Sequence-discriminative training of deep
neural networks" (Interspeech 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyasr import _core
from pyasr.base.errors import DataError
from pyasr.ops.arrays import checked


@dataclass(frozen=True)
class Lattice:
    """The paths that a search kept of one utterance, as an acyclic graph of n states (0 is the start) and A arcs.

    arc_src, arc_dst: int32 (A,), states; sorted by arc_src, and arc_dst > arc_src.
    arc_senone: int32 (A,), senone of the frame that the arc takes; -1 for an arc that takes none.
    arc_time: int32 (A,), frames taken before the arc (0 from the start state): the frame it takes.
    arc_cost: float32 (A,), graph cost (negated natural log), without the acoustic part.
    final_cost: float32 (n,), +inf where a path must not end.

    States are in the order of their times too, every state lies on a path, and all paths take the same frames.
    DataError says which arc or state breaks this, or that the lattice is empty; TypeError and ValueError are for other
    dtypes and ranks.
    """

    arc_src: np.ndarray
    arc_dst: np.ndarray
    arc_senone: np.ndarray
    arc_time: np.ndarray
    arc_cost: np.ndarray
    final_cost: np.ndarray

    def __post_init__(self) -> None:
        arrays = lattice_arrays(self)
        try:
            _core.check_lattice(arrays, self.num_frames)
        except _core.LatticeError as error:
            raise DataError(f"damaged lattice: {error}") from None

    @property
    def num_frames(self) -> int:
        """T, the frames of each path."""
        last = slice(-1, None)
        return int(self.arc_time[last].sum()) + int((self.arc_senone[last] >= 0).sum())


@dataclass(frozen=True)
class LatticePosteriors:
    """What `lattice_forward_backward` finds of one lattice.

    log_total: natural log of the sum over all paths of exp(score).
    arc_posteriors: float64 (A,), the probability that a path takes the arc.
    expected: the mean over paths of the sum of their arcs' values.
    frame, senone: int32 (G,), the frames and senones that occur, each pair once, in the order of frames.
    gradient: float64 (G,), the derivative of `expected` by acoustic_scale * loglikes[frame, senone]: the sum over arcs
        of posterior * (mean value of the paths through the arc - expected). It is 0 everywhere else, and sums to 0 over
        the senones of a frame; so it is that by acoustic_scale * logits, too, where loglikes = log_softmax(logits) - c.
    """

    log_total: float
    arc_posteriors: np.ndarray
    expected: float
    frame: np.ndarray
    senone: np.ndarray
    gradient: np.ndarray

    def add_gradient_to(self, out: np.ndarray, weight: float) -> None:
        """Adds weight * gradient to `out` (T, S), of any floating dtype."""
        out[self.frame, self.senone] += (weight * self.gradient).astype(out.dtype)


def lattice_forward_backward(
    lattices: Sequence[Lattice],
    loglikes: Sequence[np.ndarray],
    arc_values: Sequence[np.ndarray],
    acoustic_scale: float,
    num_threads: int = 1,
) -> list[LatticePosteriors]:
    """Posteriors of each lattice's arcs, its paths' expected value, and the gradient of that.

    loglikes: float32 (T, S), natural log, one a lattice.
    arc_values: float32 (A,), one a lattice, summed along a path; for sMBR 1 where the arc's senone is the reference's.
    score of a path = acoustic_scale * sum of loglikes[arc_time, arc_senone] - sum of arc_cost - final_cost;
    its probability is proportional to exp(score). acoustic_scale > 0.
    Computed in float64, in the order of the arcs; num_threads (over lattices) changes the speed only. Time and memory
    are linear in arcs. That posteriors of each frame sum to 1 and gradients to 0 is checked (RuntimeError: a bug).

    DataError names the lattice's index when it is damaged or has not T frames or a senone not in [0, S). ValueError
    names it for a log-likelihood of NaN or +inf (-inf forbids an arc), an arc's score beyond +-1e5, a value that is not
    finite, and when every path is forbidden. ValueError and TypeError for other wrong arguments.
    """
    if not len(lattices) == len(loglikes) == len(arc_values):
        raise ValueError(f"{len(lattices)} lattices, {len(loglikes)} loglikes and {len(arc_values)} arc_values")
    utterances = []
    for index, (lattice, matrix, values) in enumerate(zip(lattices, loglikes, arc_values)):
        try:
            matrix = checked("loglikes", matrix, np.float32, 2)
            utterances.append((lattice_arrays(lattice), matrix, checked("arc_values", values, np.float32, 1)))
        except (TypeError, ValueError) as error:
            raise type(error)(f"lattice {index}: {error}") from None
    try:
        results = _core.lattice_forward_backward(utterances, acoustic_scale, num_threads)
    except _core.LatticeError as error:
        raise DataError(str(error)) from None
    return [LatticePosteriors(*result) for result in results]


def lattice_arrays(lattice: Lattice) -> tuple[np.ndarray, ...]:
    """The arrays of a lattice in their order, checked for type and rank; sizes and values are checked by the kernel."""
    return (
        checked("arc_src", lattice.arc_src, np.int32, 1),
        checked("arc_dst", lattice.arc_dst, np.int32, 1),
        checked("arc_senone", lattice.arc_senone, np.int32, 1),
        checked("arc_time", lattice.arc_time, np.int32, 1),
        checked("arc_cost", lattice.arc_cost, np.float32, 1),
        checked("final_cost", lattice.final_cost, np.float32, 1),
    )
