"""Float32 products on the CPU by oneDNN: the input product of a recurrent layer, with its gradients.

torch gives float32 products to MKL. oneDNN, which torch brings too and which its own LSTM computes with, is faster on
AMD's processors: (512 rows, 768) by (768, 3072) with AVX-512 (Zen 4) and 2 threads runs at 205 GFLOP/s instead of 178,
its gradient for the rows at 217 instead of 188; the gradient for the weights is as fast by either and stays with torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_HAS_ONEDNN = torch.backends.mkldnn.is_available()


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (..., D) weight (E, D)^T + bias (E,), as torch.nn.functional.linear; differentiable once where oneDNN does it.

    That is for float32 on the CPU without autocast, if torch was built with oneDNN; else it is torch's own.
    """
    by_onednn = (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.shape[-1] > 0
        and not torch.is_autocast_enabled("cpu")
        and _HAS_ONEDNN
    )
    return _linear(x, weight, bias) if by_onednn else torch.nn.functional.linear(x, weight, bias)


@torch.library.custom_op("pyasr::linear", mutates_args=(), device_types="cpu")
def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _product(x, weight, bias)


@_linear.register_fake
def _(x, weight, bias):
    return x.new_empty(*x.shape[:-1], len(weight))


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight)


def _differentiate(ctx: Any, d_y: Tensor) -> tuple:
    x, weight = ctx.saved_tensors
    wanted, rows = ctx.needs_input_grad, d_y.reshape(-1, len(weight))
    return (
        _product(d_y, weight.t(), None) if wanted[0] else None,
        rows.t() @ x.reshape(-1, x.shape[-1]) if wanted[1] else None,
        rows.sum(0) if wanted[2] else None,
    )


_linear.register_autograd(_differentiate, setup_context=_save)
