"""The recurrence of an LSTM layer, forward and backward, as operators of torch.

A layer is its input product, one large product over all frames, which is torch's, and the recurrence

    i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of (projected[t] + h[t-1] W_hh^T)
    c[t] = f c[t-1] + i g,   h[t] = o tanh(c[t])                     (Hochreiter & Schmidhuber 1997, Gers et al. 2000)

which is ours (csrc/lstm): the product of a step, the four gates, the cell and the output in one pass over packed
weights. The gradient of the recurrent weights is one large product again, and so torch's. `pyasr.ops.lstm_cuda` is the
same on a GPU.

Time comes first here: with batch first, the rows h[t-1] that belong to the rows of the gates' gradients would not lie
in one matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyasr import _core
from pyasr.ops import cuda, lstm_cuda


def lstm_recurrence(
    projected: list[Tensor],
    weight_hh: list[Tensor],
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor,
    bf16_gradient: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs (T, N, D H) and the final h and c (D, N, H) of D = 1 or 2 directions, the second backwards in time.

    projected: for each direction (T, N, 4 H), the input times W_ih^T and both biases, gates in the order i, f, g, o.
    weight_hh: for each direction (4 H, H). h_0, c_0: (D, N, H). lengths: int64 (N,), 0 to T frames of each sequence;
    the second direction begins at a sequence's own end. Frames behind it are not read; their outputs and gradients are
    zeros. All but lengths are float32, all are on one device, and contiguous or else copied. On a GPU projected,
    weight_hh and h_0, and with them outputs and h, may be bfloat16; c is float32 always. bf16_gradient: round the
    operands of the product that gives the gradient of weight_hh to bfloat16; it is summed in float32.

    Differentiable once in all but lengths; runs on torch's number of threads, which changes the speed only.
    TypeError for another dtype, ValueError for another device, shape or length. On a GPU, where nothing waits
    (`pyasr.ops.cuda`), a length outside [0, T] is taken for the nearer end of it.
    """
    tensors = {"h_0": h_0, "c_0": c_0, "lengths": lengths}
    for d, (p, w) in enumerate(zip(projected, weight_hh)):
        tensors |= {f"projected[{d}]": p, f"weight_hh[{d}]": w}
    half = h_0.is_cuda and h_0.dtype == torch.bfloat16
    dtypes = {"lengths": torch.int64, "c_0": torch.float32}
    for name, tensor in tensors.items():
        dtype = dtypes.get(name, torch.bfloat16 if half else torch.float32)
        cuda.check_tensor(name, tensor, dtype, like=h_0.device)
    if len(weight_hh) not in (1, 2) or len(projected) != len(weight_hh):
        raise ValueError(
            f"{len(projected)} projected inputs and {len(weight_hh)} recurrent weights, not 1 or 2 of each"
        )
    if h_0.is_cuda:
        _check_shapes(projected, weight_hh, h_0, c_0, lengths)
    save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors.values())
    return _forward(projected, weight_hh, h_0, c_0, lengths, save, bf16_gradient)[:3]


@torch.library.custom_op("pyasr::lstm_recurrence", mutates_args=(), device_types=("cpu", "cuda"))
def _forward(
    projected: list[Tensor],
    weight_hh: list[Tensor],
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor,
    save: bool,
    bf16_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Output, h_n, c_n, and for the backward pass gates (D, T, N, 4 H) and cells (D, T, N, H): empty without `save`."""
    results = _empty_results(projected, weight_hh, h_0, save)
    if h_0.is_cuda:
        lstm_cuda.forward(projected, weight_hh, h_0, c_0, lengths.contiguous(), results)
        return results
    _core.lstm_forward(
        [_array(p) for p in projected],
        [_array(w) for w in weight_hh],
        *(_array(tensor) for tensor in (h_0, c_0, lengths)),
        *(tensor.numpy() for tensor in results),
        torch.get_num_threads(),
    )
    return results


@_forward.register_fake
def _(projected, weight_hh, h_0, c_0, lengths, save, bf16_gradient):
    return _empty_results(projected, weight_hh, h_0, save)


def _empty_results(
    projected: list[Tensor], weight_hh: list[Tensor], h_0: Tensor, save: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    directions, units = len(weight_hh), weight_hh[0].shape[1]
    frames, batch, _ = projected[0].shape
    saved = (directions, frames, batch) if save else (0, 0, 0)
    return (
        h_0.new_empty(frames, batch, directions * units),
        h_0.new_empty(directions, batch, units),
        h_0.new_empty(directions, batch, units, dtype=torch.float32),
        h_0.new_empty(*saved, 4 * units),
        h_0.new_empty(*saved, units, dtype=torch.float32),
    )


@torch.library.custom_op("pyasr::lstm_recurrence_backward", mutates_args=(), device_types=("cpu", "cuda"))
def _backward(
    d_output: Tensor,
    d_h_n: Tensor,
    d_c_n: Tensor,
    weight_hh: list[Tensor],
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor,
    output: Tensor,
    gates: Tensor,
    cells: Tensor,
    bf16_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of projected (D, T, N, 4 H), weight_hh (D, 4 H, H), h_0 and c_0 (D, N, H)."""
    d_projected, d_weight, d_h_0, d_c_0 = _empty_gradients(weight_hh, h_0, gates)
    if gates.is_cuda:
        lengths = lengths.contiguous()
        lstm_cuda.backward(d_output, d_h_n, d_c_n, weight_hh, c_0, lengths, gates, cells, d_projected, d_c_0)
    else:
        _core.lstm_backward(
            [_array(w) for w in weight_hh],
            *(_array(tensor) for tensor in (c_0, lengths, gates, cells, d_output, d_h_n, d_c_n)),
            d_projected.numpy(),
            d_c_0.numpy(),
            torch.get_num_threads(),
        )
    finish_gradients(d_h_n, weight_hh, h_0, lengths, output, d_projected, d_weight, d_h_0, bf16_gradient)
    return d_projected, d_weight, d_h_0, d_c_0


def finish_gradients(
    d_h_n: Tensor,
    weight_hh: list[Tensor],
    h_0: Tensor,
    lengths: Tensor,
    output: Tensor,
    d_projected: Tensor,
    d_weight: Tensor,
    d_h_0: Tensor,
    bf16_gradient: bool,
) -> None:
    """Fill the gradients that are products of those of projected, on any device, without waiting for it."""
    frames, batch, _ = output.shape
    units = h_0.shape[2]
    sequences, empty = torch.arange(batch, device=lengths.device), lengths <= 0
    for d, d_gates in enumerate(d_projected):
        h = output[:, :, d * units : (d + 1) * units].reshape(frames * batch, units)
        rows = d_gates.reshape(frames * batch, 4 * units)
        # The h before a frame is one frame, which is `batch` rows, off; behind the ends all rows are zeros.
        later, earlier = (rows[batch:], h[:-batch]) if d == 0 else (rows[:-batch], h[batch:])
        if bf16_gradient:
            d_weight[d].copy_(torch.mm(later.bfloat16().t(), earlier.bfloat16()))
        else:
            torch.mm(later.t(), earlier, out=d_weight[d])
        first = torch.zeros_like(lengths) if d == 0 else (lengths - 1).clamp(min=0, max=max(frames - 1, 0))
        d_first = d_gates[first, sequences] if frames else h_0.new_zeros(batch, 4 * units)
        d_weight[d].addmm_(d_first.t(), h_0[d])
        torch.mm(d_first, weight_hh[d], out=d_h_0[d])
        d_h_0[d] = torch.where(empty[:, None], d_h_n[d], d_h_0[d])


@_backward.register_fake
def _(d_output, d_h_n, d_c_n, weight_hh, h_0, c_0, lengths, output, gates, cells, bf16_gradient):
    return _empty_gradients(weight_hh, h_0, gates)


def _empty_gradients(weight_hh: list[Tensor], h_0: Tensor, gates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        gates.new_empty(gates.shape),
        gates.new_empty(len(weight_hh), *weight_hh[0].shape),
        h_0.new_empty(h_0.shape),
        h_0.new_empty(h_0.shape, dtype=torch.float32),
    )


def _save(ctx: Any, inputs: tuple, output: tuple) -> None:
    _, weight_hh, h_0, c_0, lengths, _, ctx.bf16_gradient = inputs
    y, _, _, gates, cells = output
    ctx.save_for_backward(h_0, c_0, lengths, y, gates, cells, *weight_hh)
    ctx.set_materialize_grads(False)  # nobody differentiates gates and cells


def _differentiate(ctx: Any, d_output: Tensor | None, d_h_n: Tensor | None, d_c_n: Tensor | None, *_: None) -> tuple:
    h_0, c_0, lengths, y, gates, cells, *weight_hh = ctx.saved_tensors
    given = [
        torch.zeros_like(like) if gradient is None else gradient
        for gradient, like in ((d_output, y), (d_h_n, h_0), (d_c_n, c_0))
    ]
    gradients = _backward(*given, weight_hh, h_0, c_0, lengths, y, gates, cells, ctx.bf16_gradient)
    d_projected, d_weight, d_h_0, d_c_0 = gradients
    return list(d_projected), list(d_weight), d_h_0, d_c_0, None, None, None


_forward.register_autograd(_differentiate, setup_context=_save)


def _check_shapes(
    projected: list[Tensor], weight_hh: list[Tensor], h_0: Tensor, c_0: Tensor, lengths: Tensor
) -> None:
    """As the binding of the kernel on the CPU does."""
    if weight_hh[0].ndim != 2 or projected[0].ndim != 3:
        raise ValueError("weight_hh has not 2 dimensions, or projected not 3")
    (frames, batch, _), units = projected[0].shape, weight_hh[0].shape[1]
    if units == 0:
        raise ValueError("weight_hh has no units")
    state = (len(weight_hh), batch, units)
    expected = [("projected", p, (frames, batch, 4 * units)) for p in projected]
    expected += [("weight_hh", w, (4 * units, units)) for w in weight_hh]
    for name, tensor, shape in [*expected, ("first_state", h_0, state), ("first_cell", c_0, state)]:
        if tensor.ndim != len(shape):
            raise ValueError(f"dimensions of {name}: {tensor.ndim} is not {len(shape)}")
        for i, (size, wanted) in enumerate(zip(tensor.shape, shape)):
            if size != wanted:
                raise ValueError(f"size of dimension {i} of {name}: {size} is not {wanted}")
    if lengths.shape != (batch,):
        raise ValueError(f"number of lengths: {lengths.numel()} is not {batch}")


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()
