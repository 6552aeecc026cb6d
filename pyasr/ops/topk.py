"""The k best posteriors of a frame in a few bytes: 50 for k = 20 and up to 4,096 senones."""

from __future__ import annotations

import torch

from pyasr import _core


def pack_topk(logits: torch.Tensor, k: int = 20, num_threads: int = 1) -> torch.Tensor:
    """Keep the k largest of each row, normalised over all S: uint8 (N, row_bytes).

    logits: float32 or bfloat16 (N, S) on the CPU, normalised or not; S to 65,535, k to 64. Of equal ones the
    lower id is kept. The row's format is in csrc/posterior/topk.h: ids, the mass of what was not kept, and the
    gaps between successive log-probabilities, 8 bits each.
    ValueError names the row of a NaN, of +infinity, or of nothing but -infinity; TypeError for other tensors.
    """
    if logits.dtype not in (torch.float32, torch.bfloat16) or logits.device.type != "cpu":
        raise TypeError(f"logits: {logits.dtype} on {logits.device}; float32 or bfloat16 on the CPU is needed")
    if logits.ndim != 2:
        raise ValueError(f"logits have shape {tuple(logits.shape)}; (N, S) is needed")
    array = logits.detach().float().contiguous().numpy()
    return torch.from_numpy(_core.pack_topk(array, k, num_threads))


def unpack_topk(packed: torch.Tensor, k: int, num_senones: int) -> tuple[torch.Tensor, torch.Tensor]:
    """ids int32 (N, k) and log-probabilities float32 (N, k), natural log, descending.

    packed: uint8 (N, row_bytes) of `pack_topk`. The probabilities of a row sum to less than 1; the rest is the
    mass of the senones that were not kept. ValueError when the length of a row or an id does not fit.
    """
    if packed.dtype != torch.uint8 or packed.device.type != "cpu":
        raise TypeError(f"packed: {packed.dtype} on {packed.device}; uint8 on the CPU is needed")
    if packed.ndim != 2:
        raise ValueError(f"packed has shape {tuple(packed.shape)}; (N, row_bytes) is needed")
    ids, logp = _core.unpack_topk(packed.contiguous().numpy(), k, num_senones)
    return torch.from_numpy(ids), torch.from_numpy(logp)


def packed_row_bytes(k: int, num_senones: int) -> int:
    """Bytes of a row; ValueError for k or num_senones out of range."""
    return _core.packed_row_bytes(k, num_senones)
