"""The k highest posteriors of a frame and the mass of the others, packed: what a teacher leaves for a student.

A row holds k senone ids and k bytes of values, 50 bytes at k = 20 and up to 4,096 senones; csrc/posterior/format.h
has the layout and the formulas. A byte codes the tail (the probability of all senones that were not kept), k - 1
bytes code the ratios of neighbours, and the highest probability follows, so that the k unpacked ones and the tail sum
to exactly 1. Rounding each log-probability to one of 256 even steps instead makes the k sum to 1 or more in 56 % of
peaked rows, which leaves no mass for a tail.

The error of that format: Kullback-Leibler divergence of the unpacked k + 1 classes from the exact ones in nats, mean
and highest, k = 20, of Gaussian logits (flat: standard deviation 0.3, random: 3) and of Gaussian logits minus a
multiple of log rank, which fall off as a trained network's do (between: 2, peaked: 4).

    rows       S = 300, tail and KL         S = 3183, tail and KL        S = 60000, tail and KL
    flat       0.89   8.0e-6 (2.2e-5)       0.99   4.0e-6 (1.2e-5)       1.00   1.4e-6 (4.7e-6)
    random     0.11   1.3e-5 (3.3e-5)       0.38   1.4e-5 (3.6e-5)       0.70   1.2e-5 (3.2e-5)
    between    0.03   9.7e-6 (2.6e-5)       0.03   1.0e-5 (2.9e-5)       0.03   9.8e-6 (2.3e-5)
    peaked     4e-5   5.5e-6 (2.1e-5)       4e-5   5.8e-6 (1.8e-5)       3e-5   5.5e-6 (2.1e-5)

Fourth powers of even steps as ratios cost little over squares (which save at most 5e-6 nats) and leave the log of the
least of the k within 0.06 nats where squares are up to 0.3 off: a temperature raises the weight of small ones.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from pyasr import _core
from pyasr.base.errors import DataError
from pyasr.ops import cuda

_REFUSED_ROW = 255  # every byte of it, which no row that is packed can be


def pack_topk(logits: torch.Tensor, k: int = 20, num_threads: int | None = None) -> torch.Tensor:
    """The k highest of each row's log-probabilities, packed: uint8 (N, row_bytes).

    logits: float32 or bfloat16 (N, S), any finite numbers or -inf; normalised over all S here, so scores
    and log-probabilities give the same bytes. 1 <= k <= min(64, S), S <= 65535. Of equal logits the lower senone id
    is kept, and comes first. num_threads: torch's own number unless given; it changes the speed only.
    Rows with a stride are read as they lie; no gradient flows.
    TypeError for another dtype; ValueError for another shape or device, and naming the first row that holds NaN or
    +inf, or nothing but -inf.

    On a GPU the result is there too, the same bytes but for tails on the border of two codes, and nothing waits
    (`pyasr.ops.cuda`): a row that would be refused is one of 255s, which `unpack_topk` refuses; `check_packed` waits
    and names it.
    """
    if not isinstance(logits, torch.Tensor):
        raise TypeError(f"logits is a {type(logits).__name__}, not a torch tensor")
    if logits.dtype not in (torch.float32, torch.bfloat16):
        raise TypeError(f"logits is {logits.dtype}, not torch.float32 or torch.bfloat16")
    rows = _rows("logits", logits)
    if rows.is_cuda:
        return _pack_on_gpu(rows, k)
    threads = torch.get_num_threads() if num_threads is None else num_threads
    if rows.dtype == torch.float32:
        packed = _core.pack_topk_float32(rows.numpy(), k, threads)
    else:
        packed = _core.pack_topk_bfloat16(rows.view(torch.int16).numpy().view(np.uint16), k, threads)
    return torch.from_numpy(packed)


def unpack_topk(
    packed: torch.Tensor, k: int, num_senones: int, num_threads: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `pack_topk` packed: senone ids int32 (N, k) and log-probabilities float32 (N, k), natural log.

    packed: uint8 (N, row_bytes). Log-probabilities are finite and descend along a row; their exponentials
    sum to less than 1 (at most 1 - 2^-18 before rounding), and 1 minus that sum is the tail. A logit of -inf, or one
    that is 22.2 nats or more below its neighbour, comes back as 22.2 nats below it.
    TypeError for another dtype; ValueError for a k or number of senones that cannot be. DataError for bytes that
    `pack_topk` cannot have written: rows of another length, an id outside [0, num_senones), one that comes twice.

    On a GPU nothing waits (`pyasr.ops.cuda`): a row that would be refused has ids of -1 and log-probabilities of NaN;
    `check_unpacked` waits and names it.
    """
    rows = _packed_rows(packed, k, num_senones)
    if rows.is_cuda:
        return _unpack_on_gpu(rows, k, num_senones)
    threads = torch.get_num_threads() if num_threads is None else num_threads
    if threads < 1:
        raise ValueError(f"num_threads is {threads}")
    try:
        ids, logp = _core.unpack_topk(rows.numpy(), k, num_senones, threads)
    except ValueError as error:
        raise DataError(f"packed posteriors are damaged, or of another number of senones: {error}") from None
    return torch.from_numpy(ids), torch.from_numpy(logp)


def summarise_topk(packed: torch.Tensor, k: int, num_senones: int) -> tuple[float, float, float]:
    """How sure a teacher was, means over the N frames, 0 of none: the highest probability; the entropy in nats of the
    k classes and the tail as one; the probability of the k.

    packed: uint8 (N, row_bytes) on the CPU. Errors as of `unpack_topk`.
    """
    rows = _packed_rows(packed, k, num_senones)
    try:
        return _core.summarise_topk(rows.numpy(), k, num_senones)
    except ValueError as error:
        raise DataError(f"packed posteriors are damaged, or of another number of senones: {error}") from None


def check_packed(packed: torch.Tensor, logits: torch.Tensor) -> None:
    """Wait for what `pack_topk` made of logits on a GPU; its ValueError for the first row that it refused."""
    row = _first_row((packed == _REFUSED_ROW).all(1))
    if row is not None:
        x = logits[row].float()
        wrong = (~(x < torch.inf)).nonzero()
        if len(wrong) == 0:
            raise ValueError(f"row {row}: all {len(x)} logits are -inf")
        senone = int(wrong[0])
        raise ValueError(f"row {row}: logit of senone {senone} is {x[senone].item()}")


def check_unpacked(ids: torch.Tensor) -> None:
    """Wait for ids that `unpack_topk` made on a GPU; its DataError for the first row that it refused."""
    row = _first_row((ids < 0).any(1))
    if row is not None:
        raise DataError(f"packed posteriors are damaged, or of another number of senones: row {row}")


def _first_row(wrong: torch.Tensor) -> int | None:
    rows = wrong.nonzero()
    return int(rows[0]) if len(rows) else None


def packed_row_bytes(k: int, num_senones: int) -> int:
    """Bytes of a packed row: ids of max(12, bits of num_senones - 1) bits, then k bytes of values. ValueError for a
    k outside [1, min(64, num_senones)] or more than 65535 senones."""
    return _core.packed_row_bytes(k, num_senones)


def _packed_rows(packed: torch.Tensor, k: int, num_senones: int) -> torch.Tensor:
    if not isinstance(packed, torch.Tensor):
        raise TypeError(f"packed is a {type(packed).__name__}, not a torch tensor")
    if packed.dtype != torch.uint8:
        raise TypeError(f"packed is {packed.dtype}, not torch.uint8")
    rows, row_bytes = _rows("packed", packed), packed_row_bytes(k, num_senones)
    if rows.shape[1] != row_bytes:
        raise DataError(
            f"packed rows have {rows.shape[1]} bytes, not {row_bytes} as k = {k} of {num_senones} senones take;"
            " they were packed with other sizes"
        )
    return rows


def _pack_on_gpu(logits: torch.Tensor, k: int) -> torch.Tensor:
    num_rows, num_senones = logits.shape
    packed = torch.empty(num_rows, packed_row_bytes(k, num_senones), dtype=torch.uint8, device=logits.device)
    pack = cuda.kernels.pack_topk_float32 if logits.dtype == torch.float32 else cuda.kernels.pack_topk_bfloat16
    levels = _levels_on(logits.device)
    pack(
        *cuda.place(logits.device), logits.data_ptr(), logits.stride(0), num_rows, k, num_senones, levels.data_ptr(),
        packed.data_ptr(),
    )  # fmt: skip
    return packed


def _unpack_on_gpu(packed: torch.Tensor, k: int, num_senones: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.empty(len(packed), k, dtype=torch.int32, device=packed.device)
    logp = torch.empty(len(packed), k, device=packed.device)
    levels = _levels_on(packed.device)
    cuda.kernels.unpack_topk(
        *cuda.place(packed.device), packed.data_ptr(), packed.stride(0), len(packed), k, num_senones,
        levels.data_ptr(), ids.data_ptr(), logp.data_ptr(),
    )  # fmt: skip
    return ids, logp


@lru_cache
def _levels_on(device: torch.device) -> torch.Tensor:
    """The tables of csrc/posterior/format.h, copied once: constants, which live as long as the process."""
    return torch.frombuffer(bytearray(cuda.kernels.topk_levels()), dtype=torch.uint8).to(device)


def _rows(name: str, matrix: torch.Tensor) -> torch.Tensor:
    """The matrix as the kernels read it: without gradient, elements of a row side by side and aligned."""
    if matrix.ndim != 2:
        raise ValueError(f"{name} has {matrix.ndim} dimensions, not 2")
    cuda.check_device(name, matrix)
    matrix = matrix.detach()
    if matrix.stride(1) != 1:
        matrix = matrix.contiguous()
    return matrix if matrix.data_ptr() % matrix.element_size() == 0 else matrix.clone()
