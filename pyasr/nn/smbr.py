"""State-level minimum Bayes risk: the expected number of frames in which a path of the lattice has the right senone.

Sources: Gibson and Hain, "Hypothesis spaces for minimum Bayes risk training" (Interspeech 2006); Vesely et al.,
"Sequence-discriminative training of deep neural networks" (Interspeech 2013), for networks and silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from pyasr.ops.lattice import Lattice, lattice_forward_backward

Silence = Literal["class", "senone", "ignore"]


def state_accuracies(
    lattice: Lattice, reference: np.ndarray, silence: np.ndarray, how: Silence = "class"
) -> np.ndarray:
    """float32 (A,): 1 for an arc whose senone is the reference's in its frame, else 0.

    reference: int (T,). silence: int, the senones of silence. how: "class": all of these are right where one of them
    is the reference; "senone": they are as others; "ignore": where one of them is the reference nothing is right, so
    that silence cannot be gained from.
    """
    takes_frame = lattice.arc_senone >= 0
    senones, wanted = lattice.arc_senone[takes_frame], reference[lattice.arc_time[takes_frame]]
    right = senones == wanted
    if how == "class":
        right |= np.isin(senones, silence) & np.isin(wanted, silence)
    elif how == "ignore":
        right &= ~np.isin(wanted, silence)
    elif how != "senone":
        raise ValueError(f"silence {how!r}: 'class', 'senone' or 'ignore'")
    values = np.zeros(len(lattice.arc_senone), np.float32)
    values[takes_frame] = right
    return values


def expected_accuracy(
    loglikes: Sequence[torch.Tensor],
    lattices: Sequence[Lattice],
    values: Sequence[np.ndarray],
    acoustic_scale: float,
    rejected: Sequence[np.ndarray] | None = None,
) -> torch.Tensor:
    """The mean over the paths of each lattice of the sum of their arcs' values: float64 (N,), differentiable.

    loglikes: (T, S), natural log, one a lattice, of any floating dtype and on any device. values: float32 (A,), see
    `state_accuracies`. A path is as likely as exp(acoustic_scale * its log-likelihoods - its costs) says.
    rejected: bool (T,), frames whose gradient is dropped. The gradient is that by the log-likelihoods; it sums to 0
    over the senones of a frame, so priors and the normaliser of a softmax may be added to them or left out.
    The kernel takes float32 log-likelihoods and computes in float64. Errors as `lattice_forward_backward`.
    """
    # One tensor: so the gradient of all utterances comes in one call.
    lengths = [len(rows) for rows in loglikes]
    masks = rejected if rejected is not None else [np.zeros(length, bool) for length in lengths]
    return _ExpectedValue.apply(torch.cat(list(loglikes)), lengths, lattices, values, acoustic_scale, masks)


class _ExpectedValue(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        loglikes: torch.Tensor,
        lengths: Sequence[int],
        lattices: Sequence[Lattice],
        values: Sequence[np.ndarray],
        acoustic_scale: float,
        rejected: Sequence[np.ndarray],
    ) -> torch.Tensor:
        matrices = [rows.numpy() for rows in loglikes.detach().float().cpu().split(list(lengths))]
        threads = torch.get_num_threads()
        found = lattice_forward_backward(lattices, matrices, values, acoustic_scale, threads)
        firsts = np.cumsum([0, *lengths[:-1]])
        kept = [~mask[result.frame] for result, mask in zip(found, rejected)]
        frame = np.concatenate([first + result.frame[k] for first, result, k in zip(firsts, found, kept)])
        senone = np.concatenate([result.senone[k] for result, k in zip(found, kept)])
        gradient = acoustic_scale * np.concatenate([result.gradient[k] for result, k in zip(found, kept)])
        owner = np.repeat(np.arange(len(found)), [k.sum() for k in kept])
        columns = (torch.from_numpy(column).long() for column in (frame, senone, owner))
        ctx.save_for_backward(*columns, torch.from_numpy(gradient))
        ctx.like = loglikes.new_empty(0), loglikes.shape
        return torch.tensor([result.expected for result in found], dtype=torch.float64, device=loglikes.device)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        frame, senone, owner, gradient = ctx.saved_tensors
        like, shape = ctx.like
        values = gradient * grad.cpu().double()[owner]
        dense = torch.zeros(shape, dtype=like.dtype)
        dense[frame, senone] = values.to(like.dtype)
        return dense.to(like.device), None, None, None, None, None
