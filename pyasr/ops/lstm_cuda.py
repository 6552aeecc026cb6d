"""The recurrence of `pyasr.ops.lstm` on a GPU: float32 step by step around cuBLAS's products, bfloat16 in one kernel.

csrc/lstm/lstm_cuda.h says how, and what limits it. In bfloat16 the cells, the sums and the gradients of cells are
float32 all the same. Where the one kernel cannot run (units that are no multiple of 8, or weights that do not fit into
the shared memory of all multiprocessors together), bfloat16 goes step by step, too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyasr.ops import cuda


def forward(
    projected: list[Tensor],
    weight_hh: list[Tensor],
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor,
    results: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    persistent: bool = True,
) -> None:
    """Fill output, h_n, c_n, gates and cells (empty: not wanted), shaped as `pyasr.ops.lstm` says."""
    output, h_n, c_n, gates, cells = results
    projected, weight_hh = [p.contiguous() for p in projected], [_aligned(w) for w in weight_hh]
    h_0, c_0, sizes = _aligned(h_0), c_0.contiguous(), _sizes(projected[0], weight_hh)
    directions = [
        (
            p.data_ptr(), w.data_ptr(), h_0[d].data_ptr(), c_0[d].data_ptr(), _columns(output, d, w).data_ptr(),
            h_n[d].data_ptr(), c_n[d].data_ptr(), gates[d].data_ptr() if gates.numel() else 0,
            cells[d].data_ptr() if cells.numel() else 0,
        )
        for d, (p, w) in enumerate(zip(projected, weight_hh))
    ]  # fmt: skip
    here, kind, units = cuda.place(h_0.device), _kind(h_0), sizes[2]
    if persistent and _fits(h_0, sizes, backward=False):
        scratch = torch.empty(cuda.kernels.LSTM_SCRATCH_BYTES, dtype=torch.uint8, device=h_0.device)
        cuda.kernels.lstm_persistent_forward(*here, sizes, lengths.data_ptr(), directions, scratch.data_ptr())
        return
    recurrent = h_0.new_empty(sizes[1], 4 * units)
    for d, (direction, weight) in enumerate(zip(directions, weight_hh)):
        cuda.kernels.lstm_cell_start(*here, kind, sizes, direction)
        for step in range(sizes[0]):
            torch.mm(h_n[d], weight.t(), out=recurrent)
            cuda.kernels.lstm_cell_forward(
                *here, kind, sizes, d == 1, step, lengths.data_ptr(), recurrent.data_ptr(), direction
            )


def backward(
    d_output: Tensor,
    d_h_n: Tensor,
    d_c_n: Tensor,
    weight_hh: list[Tensor],
    c_0: Tensor,
    lengths: Tensor,
    gates: Tensor,
    cells: Tensor,
    d_projected: Tensor,
    d_c_0: Tensor,
    persistent: bool = True,
) -> None:
    """Fill the gradients of projected (D, T, N, 4 H) and c_0 (D, N, H)."""
    weight_hh = [_aligned(w) for w in weight_hh]
    d_output, d_h_n, d_c_n, c_0 = (tensor.contiguous() for tensor in (d_output, d_h_n, d_c_n, c_0))
    sizes = _sizes(gates[0], weight_hh)
    directions = [
        (
            w.data_ptr(), c_0[d].data_ptr(), gates[d].data_ptr(), cells[d].data_ptr(),
            _columns(d_output, d, w).data_ptr(), d_h_n[d].data_ptr(), d_c_n[d].data_ptr(), d_projected[d].data_ptr(),
            d_c_0[d].data_ptr(),
        )
        for d, w in enumerate(weight_hh)
    ]  # fmt: skip
    here, kind, frames = cuda.place(gates.device), _kind(gates), sizes[0]
    if persistent and _fits(gates, sizes, backward=True):
        scratch = torch.empty(cuda.kernels.LSTM_SCRATCH_BYTES, dtype=torch.uint8, device=gates.device)
        cuda.kernels.lstm_persistent_backward(*here, sizes, lengths.data_ptr(), directions, scratch.data_ptr())
        return
    from_next = gates.new_empty(sizes[1], sizes[2])
    for d, (direction, weight) in enumerate(zip(directions, weight_hh)):
        cuda.kernels.lstm_cell_backward_start(*here, sizes, direction)
        for step in reversed(range(frames)):
            if step + 1 < frames:
                after = step + 1 if d == 0 else frames - 2 - step
                torch.mm(d_projected[d, after], weight, out=from_next)
            cuda.kernels.lstm_cell_backward(
                *here, kind, sizes, d == 1, step, lengths.data_ptr(), from_next.data_ptr(), direction
            )


def _sizes(projected: Tensor, weight_hh: list[Tensor]) -> tuple[int, int, int, int]:
    return projected.shape[0], projected.shape[1], weight_hh[0].shape[1], len(weight_hh)


def _fits(tensor: Tensor, sizes: tuple[int, int, int, int], backward: bool) -> bool:
    if tensor.dtype != torch.bfloat16:
        return False
    return cuda.kernels.lstm_plan(tensor.device.index, sizes, backward)[0] > 0


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _columns(output: Tensor, direction: int, weight: Tensor) -> Tensor:
    return output[:, :, direction * weight.shape[1] :]


def _aligned(tensor: Tensor) -> Tensor:
    """Contiguous, and where 16 bytes at a time are read from it."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()
