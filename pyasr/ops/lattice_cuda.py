"""`pyasr.ops.lattice` on a GPU: a batch of lattices that lies there, ready for the log-likelihoods of a network.

The order of states and arcs that threads need is found once, on the CPU (csrc/hmm/lattice_plan.h); a batch can be used
again and again with new log-likelihoods. Sums are float64 in the order of the arcs, so results are the same bits in
each run, and those of the CPU to some roundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyasr import _core
from pyasr.base.errors import DataError
from pyasr.ops import cuda
from pyasr.ops.lattice import Lattice, LatticePosteriors, lattice_arrays

_ARCS = ("arc_src", "arc_dst", "arc_senone", "arc_time", "arc_cost")


@dataclass(frozen=True)
class BatchPosteriors:
    """What `LatticeBatch.forward_backward` finds, on the GPU; see `pyasr.ops.lattice.LatticePosteriors`.

    log_total, expected: float64 (B,). arc_posteriors: float64, the arcs of all lattices one behind the other.
    gradient: float64 (G,), for the batch's utterance, frame and senone. NaN for a lattice without a result, whose
    status, int64 (B,), is not 0: `check` waits for it and raises.
    """

    batch: LatticeBatch
    log_total: Tensor
    expected: Tensor
    arc_posteriors: Tensor
    gradient: Tensor
    status: Tensor

    def add_gradient_to(self, out: Tensor, weight: float) -> None:
        """Adds weight * gradient to `out` (B, T, S), on the same GPU and of any floating dtype."""
        batch = self.batch
        out[batch.utterance, batch.frame, batch.senone] += (weight * self.gradient).to(out.dtype)

    def check(self) -> None:
        """Wait, and raise the CPU's ValueError for the first lattice without a result."""
        bad = self.status.cpu().numpy().nonzero()[0]
        if len(bad) == 0:
            return
        reason, arc = divmod(int(self.status[bad[0]]), 2**32)
        texts = {
            cuda.kernels.LATTICE_BAD_SCORE: f"score of arc {arc} is NaN, +inf, or beyond +-100000",
            cuda.kernels.LATTICE_BAD_VALUE: f"value of arc {arc} is not finite",
            cuda.kernels.LATTICE_FORBIDDEN: "log-likelihoods of -inf forbid every path",
        }
        raise ValueError(f"lattice {bad[0]}: {texts[reason]}")

    def split(self) -> list[LatticePosteriors]:
        """Wait, check, and copy the results of each lattice to the CPU."""
        self.check()
        batch = self.batch
        arcs = np.split(self.arc_posteriors.cpu().numpy(), batch.arc_offset[1:-1])
        gradients, frames, senones = (
            np.split(x.cpu().numpy(), batch.pair_offset[1:-1]) for x in (self.gradient, batch.frame, batch.senone)
        )
        numbers = zip(self.log_total.tolist(), arcs, self.expected.tolist(), frames, senones, gradients)
        return [LatticePosteriors(t, a, e, f.astype(np.int32), s.astype(np.int32), g) for t, a, e, f, s, g in numbers]


class LatticeBatch:
    """B lattices on a GPU, of utterances of at most num_frames frames and of num_senones senones.

    utterance, frame, senone: int64 (G,), where log-likelihoods count: the gradient's places.
    DataError for a damaged lattice, or one of other frames or senones, naming its index; ValueError for another device.
    """

    def __init__(self, lattices: Sequence[Lattice], num_frames: int, num_senones: int, device: torch.device) -> None:
        if not lattices:
            raise ValueError("there are no lattices")
        arrays, plans = [], []
        for index, lattice in enumerate(lattices):
            if lattice.num_frames > num_frames:
                raise DataError(f"lattice {index}: it has {lattice.num_frames} frames, the batch {num_frames}")
            arrays.append(dict(zip((*_ARCS, "final_cost"), lattice_arrays(lattice))))
            try:
                plans.append(_core.lattice_plan(tuple(arrays[-1].values()), lattice.num_frames, num_senones))
            except _core.LatticeError as error:
                raise DataError(f"lattice {index}: {error}") from None
        self.shape = (len(lattices), num_frames, num_senones)
        self.device = device
        state, level, out_begin, in_begin, in_arc, frame, senone, pair_begin, pair_arc = zip(*plans)
        self.arc_offset, self.pair_offset = _offsets(in_arc), _offsets(frame)
        offsets = (
            _offsets(state), self.arc_offset, _offsets(level) - np.arange(len(plans) + 1), self.pair_offset,
            _offsets(pair_arc),
        )  # fmt: skip
        self.num_states, self.num_arcs = int(offsets[0][-1]), int(offsets[1][-1])
        joined = [np.concatenate([a[name] for a in arrays]) for name in (*_ARCS, "final_cost")]
        joined += [np.concatenate(parts) for parts in (state, level, out_begin, in_begin, in_arc, pair_begin, pair_arc)]
        self._on_device = [self._send(array) for array in (*offsets, *joined)]
        utterance = np.repeat(np.arange(len(plans)), np.diff(self.pair_offset))
        self.utterance, self.frame, self.senone = (
            self._send(array.astype(np.int64)) for array in (utterance, np.concatenate(frame), np.concatenate(senone))
        )
        self.device = self.frame.device  # with its number

    def send_values(self, arc_values: Sequence[np.ndarray]) -> Tensor:
        """Values of the arcs of each lattice, float32 (A,) each, as `forward_backward` takes them."""
        return self._send(np.concatenate(arc_values).astype(np.float32))

    def forward_backward(self, loglikes: Tensor, arc_values: Tensor, acoustic_scale: float) -> BatchPosteriors:
        """As `pyasr.ops.lattice.lattice_forward_backward`, put on the current stream; nothing waits.

        loglikes: float32 (B, T, S) on the batch's GPU, natural log; what lies behind an utterance's end is not read.
        arc_values: float32 (A,), of all arcs, one lattice behind the other (`send_values`).
        ValueError and TypeError for other shapes, devices, dtypes and scales. That posteriors of a frame sum to 1 is
        not checked here, as it is on the CPU.
        """
        expected = {"loglikes": (loglikes, self.shape), "arc_values": (arc_values, (self.num_arcs,))}
        for name, (tensor, shape) in expected.items():
            if tensor.dtype != torch.float32:
                raise TypeError(f"{name} is {tensor.dtype}, not torch.float32")
            if tensor.shape != shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, not {shape}")
            cuda.check_device(name, tensor, self.device)
        loglikes = loglikes.detach() if loglikes.stride(2) == 1 else loglikes.detach().contiguous()
        values = arc_values.contiguous()

        def empty(size: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.empty(size, dtype=dtype, device=self.device)

        size = self.shape[0]
        scratch = empty(cuda.kernels.lattice_scratch_doubles(self.num_states, self.num_arcs))
        results = (empty(size), empty(size), empty(self.num_arcs), empty(len(self.frame)), empty(size, torch.int64))
        cuda.kernels.lattice_forward_backward(
            *cuda.place(self.device), size, [t.data_ptr() for t in self._on_device], loglikes.data_ptr(),
            loglikes.stride(0), loglikes.stride(1), acoustic_scale, values.data_ptr(), scratch.data_ptr(),
            self.num_states, self.num_arcs, [t.data_ptr() for t in results],
        )  # fmt: skip
        return BatchPosteriors(self, *results)

    def _send(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        cuda.check_device("the lattices", tensor)
        return tensor


def _offsets(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.cumsum([0, *map(len, arrays)]).astype(np.int64)
