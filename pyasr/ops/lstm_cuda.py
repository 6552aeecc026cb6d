"""The recurrence of `pyasr.ops.lstm` on a GPU: float32 step by step around cuBLAS's products, bfloat16 in one kernel.

csrc/lstm/lstm_cuda.h says how, and what limits it. In bfloat16 the cells, the sums and the gradients of cells are
float32 all the same. Hopper GPUs have a kernel of their own, for 64 to 768 units, a multiple of 64. Where no one kernel
can run (units that are no multiple of 8, or weights that do not fit into the shared memory of all multiprocessors
together), bfloat16 goes step by step, too.
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch import Tensor

from pyasr.ops import cuda

Way = Literal["hopper", "persistent", "steps"]
# addresses of a layer's tensors (LstmCudaForward or LstmCudaBackward), whether backwards in time, first step, steps
Part = tuple[tuple[int, ...], bool, int, int]
Sizes = tuple[int, int, int, int]  # frames, batch, units, directions


def forward(
    projected: list[Tensor],
    weight_hh: list[Tensor],
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor,
    results: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    way: Way | None = None,
    tile: int = 0,
) -> None:
    """Fill output, h_n, c_n, gates and cells (empty: not wanted), shaped as `pyasr.ops.lstm` says.

    way: the first that can run of those of `Way`, or this one; tile: see `launch`.
    """
    output, h_n, c_n, gates, cells = results
    projected, weight_hh = [aligned(p) for p in projected], [aligned(w) for w in weight_hh]
    h_0, c_0, sizes = aligned(h_0), aligned(c_0), _sizes(projected[0], weight_hh)
    directions = [
        (
            p.data_ptr(), w.data_ptr(), h_0[d].data_ptr(), c_0[d].data_ptr(), _columns(output, d, w).data_ptr(),
            h_n[d].data_ptr(), c_n[d].data_ptr(), gates[d].data_ptr() if gates.numel() else 0,
            cells[d].data_ptr() if cells.numel() else 0,
        )
        for d, (p, w) in enumerate(zip(projected, weight_hh))
    ]  # fmt: skip
    here, kind, units = cuda.place(h_0.device), _kind(h_0), sizes[2]
    way = way or _way(h_0, sizes, backward=False)
    if way == "hopper":
        launch(sizes, lengths, [(d, i == 1, 0, sizes[0]) for i, d in enumerate(directions)], False, tile)
        return
    if way == "persistent":
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
    way: Way | None = None,
    tile: int = 0,
) -> None:
    """Fill the gradients of projected (D, T, N, 4 H) and c_0 (D, N, H)."""
    weight_hh = [aligned(w) for w in weight_hh]
    d_output, d_h_n, d_c_n, c_0 = (aligned(tensor) for tensor in (d_output, d_h_n, d_c_n, c_0))
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
    way = way or _way(gates, sizes, backward=True)
    if way == "hopper":
        launch(sizes, lengths, [(d, i == 1, 0, frames) for i, d in enumerate(directions)], True, tile)
        return
    if way == "persistent":
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


@torch.compiler.assume_constant_result
def can_launch(device: torch.device, units: int, parts: int) -> bool:
    """Whether `launch` can run so many parts of so many units at once, forward and backward."""
    return cuda.is_built() and all(_plan(device.index, 1, units, parts, backward, 0)[0] for backward in (False, True))


def launch(sizes: Sizes, lengths: Tensor, parts: list[Part], backward: bool, tile: int = 0) -> None:
    """Parts of bfloat16 recurrences beside each other on a Hopper GPU.

    tile: how many sequences are multiplied together; 0: the best.
    """
    planned, scratch_bytes = _plan(lengths.device.index, *sizes[1:3], len(parts), backward, tile)
    if not planned:
        raise ValueError(f"no kernel for {len(parts)} parts of {sizes[2]} units in tiles of {tile or 'any size'} here")
    scratch = torch.empty(scratch_bytes, dtype=torch.uint8, device=lengths.device)
    run = cuda.kernels.lstm_hopper_backward if backward else cuda.kernels.lstm_hopper_forward
    run(*cuda.place(lengths.device), sizes, lengths.data_ptr(), parts, planned, scratch.data_ptr(), scratch_bytes)


@functools.lru_cache(maxsize=1024)
def _plan(device: int, batch: int, units: int, parts: int, backward: bool, tile: int) -> tuple[int, int]:
    """Of any number of frames: tile, 0 if it cannot run, and bytes of scratch.

    The driver takes its time to say how many clusters of each tile fit; a launch asks about its own tile alone.
    """
    return cuda.kernels.lstm_hopper_plan(device, (1, batch, units, 1), parts, backward, tile)


def aligned(tensor: Tensor) -> Tensor:
    """Contiguous, and where 16 bytes at a time are read from it."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _way(tensor: Tensor, sizes: Sizes, backward: bool) -> Way:
    if tensor.dtype != torch.bfloat16:
        return "steps"
    device, (frames, *layer) = tensor.device.index, sizes
    if 0 < frames <= cuda.kernels.LSTM_MOST_FRAMES and _plan(device, *layer, backward, 0)[0]:
        return "hopper"
    return "persistent" if cuda.kernels.lstm_plan(device, sizes, backward)[0] else "steps"


def _sizes(projected: Tensor, weight_hh: list[Tensor]) -> Sizes:
    return projected.shape[0], projected.shape[1], weight_hh[0].shape[1], len(weight_hh)


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _columns(output: Tensor, direction: int, weight: Tensor) -> Tensor:
    return output[:, :, direction * weight.shape[1] :]
