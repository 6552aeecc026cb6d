"""A stack of forward-only LSTM layers as a wavefront: on a Hopper GPU, in bfloat16, as an operator of torch.

Between two frames of a layer its multiprocessors wait for each other about as long as they compute, and few sequences
do not occupy them all. So all layers run at once, each a stretch of time behind the layer below it; between stretches
torch multiplies what the layers have put out by the input weights of the next ones, which therefore need not stay in
the multiprocessors' memory. The recurrence is that of `pyasr.ops.lstm`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pyasr.ops import cuda, lstm_cuda
from pyasr.ops.lstm import finish_gradients

# Frames whose time a launch and the input products' start take: what sets the length of stretches.
_FRAMES_OF_A_LAUNCH = 16


def most_layers(device: torch.device, units: int, wanted: int) -> int:
    """How many of so many layers can run at once there; 0: none, as `pyasr.ops.lstm_cuda.can_launch` says."""
    return next((n for n in range(wanted, 0, -1) if lstm_cuda.can_launch(device, units, n)), 0)


def lstm_wavefront(
    frames: Tensor,
    weight_ih: list[Tensor],
    weight_hh: list[Tensor],
    bias: list[Tensor],
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs (T, N, H) of the last layer and the final h and c (L, N, H) of L layers, at most `most_layers`.

    frames: (T, N, D), T and N not 0. weight_ih: for each layer (4 H, D or H), weight_hh: (4 H, H), bias: (4 H,), the
    sum of torch's two. h_0, c_0: (L, N, H). All bfloat16 on one GPU, but c_0 and c float32. lengths: int64 (N,), as
    `pyasr.ops.lstm.lstm_recurrence` takes them; what lies in frames behind a sequence's end has to be finite.
    Differentiable once in all but lengths. TypeError for another dtype, ValueError for another device or shape, or
    where there is no such kernel.
    """
    _check(frames, list(zip(weight_ih, weight_hh, bias, strict=True)), h_0, c_0, lengths)
    tensors = [frames, *weight_ih, *weight_hh, *bias, h_0, c_0]
    save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return _forward(frames, weight_ih, weight_hh, bias, h_0, c_0, lengths, save)[:3]


@torch.library.custom_op("pyasr::lstm_wavefront", mutates_args=(), device_types="cuda")
def _forward(
    frames: Tensor,
    weight_ih: list[Tensor],
    weight_hh: list[Tensor],
    bias: list[Tensor],
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Output, h_n, c_n, the outputs of the other layers (L - 1, T, N, H), and for the backward pass gates and cells."""
    results = _empty_results(frames, weight_hh, h_0, save)
    output, h_n, c_n, inner, gates, cells = results
    frames, lengths = frames.contiguous(), lengths.contiguous()
    weight_hh, h_0, c_0 = [lstm_cuda.aligned(w) for w in weight_hh], lstm_cuda.aligned(h_0), lstm_cuda.aligned(c_0)
    outputs = [*inner, output]
    layers, (num_frames, batch, units) = len(weight_hh), output.shape
    stretch = _stretch(layers, num_frames)
    # Gates take the place of what the inputs gave, frame by frame.
    projected = gates if save else frames.new_empty(layers, stretch, batch, 4 * units)
    for at_once in _schedule(layers, num_frames, stretch):
        parts = []
        for layer, first, count in at_once:
            inputs = (outputs[layer - 1] if layer else frames)[first : first + count].flatten(0, 1)
            begin = first if save else 0
            sums = projected[layer, begin : begin + count].view(count * batch, 4 * units)
            torch.addmm(bias[layer], inputs, weight_ih[layer].t(), out=sums)
            addresses = (
                _at_frame_0(sums, first, batch), weight_hh[layer].data_ptr(), h_0[layer].data_ptr(),
                c_0[layer].data_ptr(), outputs[layer].data_ptr(), h_n[layer].data_ptr(), c_n[layer].data_ptr(),
                gates[layer].data_ptr() if save else 0, cells[layer].data_ptr() if save else 0,
            )  # fmt: skip
            parts.append((addresses, False, first, count))
        lstm_cuda.launch((num_frames, batch, units, 1), lengths, parts, backward=False)
    return results


@_forward.register_fake
def _(frames, weight_ih, weight_hh, bias, h_0, c_0, lengths, save):
    return _empty_results(frames, weight_hh, h_0, save)


def _empty_results(
    frames: Tensor, weight_hh: list[Tensor], h_0: Tensor, save: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    (num_frames, batch, _), layers, units = frames.shape, len(weight_hh), weight_hh[0].shape[1]
    saved = (layers, num_frames, batch) if save else (0, 0, 0)
    return (
        h_0.new_empty(num_frames, batch, units),
        h_0.new_empty(h_0.shape),
        h_0.new_empty(h_0.shape, dtype=torch.float32),
        h_0.new_empty(layers - 1, num_frames, batch, units),
        h_0.new_empty(*saved, 4 * units),
        h_0.new_empty(*saved, units, dtype=torch.float32),
    )


@torch.library.custom_op("pyasr::lstm_wavefront_backward", mutates_args=(), device_types="cuda")
def _backward(
    d_output: Tensor,
    d_h_n: Tensor,
    d_c_n: Tensor,
    frames: Tensor,
    weight_ih: list[Tensor],
    weight_hh: list[Tensor],
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor,
    output: Tensor,
    inner: Tensor,
    gates: Tensor,
    cells: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of frames, weight_ih of the first and of the other layers (L - 1, 4 H, H), weight_hh (L, 4 H, H), bias
    (L, 4 H), h_0 and c_0."""
    gradients = _empty_gradients(frames, weight_ih, weight_hh, h_0)
    d_frames, d_first_ih, d_weight_ih, d_weight_hh, d_bias, d_h_0, d_c_0 = gradients
    d_output, d_h_n, d_c_n, c_0 = (lstm_cuda.aligned(tensor) for tensor in (d_output, d_h_n, d_c_n, c_0))
    aligned_hh, lengths = [lstm_cuda.aligned(w) for w in weight_hh], lengths.contiguous()
    layers, (num_frames, batch, units) = len(weight_hh), output.shape
    stretch = _stretch(layers, num_frames)
    d_projected = torch.empty_like(gates)
    d_outputs = frames.new_empty(layers - 1, stretch, batch, units)
    for at_once in reversed(list(_schedule(layers, num_frames, stretch))):
        parts = []
        for layer, first, count in at_once:
            d_above = d_output[first : first + count].flatten(0, 1)
            if layer + 1 < layers:
                d_above = d_outputs[layer, :count].flatten(0, 1)
                d_sums = d_projected[layer + 1, first : first + count].flatten(0, 1)
                torch.mm(d_sums, weight_ih[layer + 1], out=d_above)
            addresses = (
                aligned_hh[layer].data_ptr(), c_0[layer].data_ptr(), gates[layer].data_ptr(), cells[layer].data_ptr(),
                _at_frame_0(d_above, first, batch), d_h_n[layer].data_ptr(), d_c_n[layer].data_ptr(),
                d_projected[layer].data_ptr(), d_c_0[layer].data_ptr(),
            )  # fmt: skip
            parts.append((addresses, False, first, count))
        lstm_cuda.launch((num_frames, batch, units, 1), lengths, parts, backward=True)
    outputs = [*inner, output]
    for layer in range(layers):
        one, d_sums = slice(layer, layer + 1), d_projected[layer].flatten(0, 1)
        finish_gradients(
            d_h_n[one], [weight_hh[layer]], h_0[one], lengths, outputs[layer], d_projected[one], d_weight_hh[one],
            d_h_0[one], False,
        )  # fmt: skip
        inputs = (outputs[layer - 1] if layer else frames).flatten(0, 1)
        torch.mm(d_sums.t(), inputs, out=d_weight_ih[layer - 1] if layer else d_first_ih)
        torch.sum(d_sums, 0, out=d_bias[layer])
    torch.mm(d_projected[0].flatten(0, 1), weight_ih[0], out=d_frames.view(num_frames * batch, -1))
    return gradients


@_backward.register_fake
def _(d_output, d_h_n, d_c_n, frames, weight_ih, weight_hh, h_0, c_0, lengths, output, inner, gates, cells):
    return _empty_gradients(frames, weight_ih, weight_hh, h_0)


def _empty_gradients(
    frames: Tensor, weight_ih: list[Tensor], weight_hh: list[Tensor], h_0: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    layers, (gates, units) = len(weight_hh), weight_hh[0].shape
    return (
        frames.new_empty(frames.shape),
        frames.new_empty(weight_ih[0].shape),
        frames.new_empty(layers - 1, gates, units),
        frames.new_empty(layers, gates, units),
        frames.new_empty(layers, gates),
        h_0.new_empty(h_0.shape),
        h_0.new_empty(h_0.shape, dtype=torch.float32),
    )


def _save(ctx: Any, inputs: tuple, output: tuple) -> None:
    frames, weight_ih, weight_hh, _, h_0, c_0, lengths, _ = inputs
    y, _, _, inner, gates, cells = output
    ctx.layers = len(weight_hh)
    ctx.save_for_backward(frames, h_0, c_0, lengths, y, inner, gates, cells, *weight_ih, *weight_hh)
    ctx.set_materialize_grads(False)  # nobody differentiates what is there for the backward pass


def _differentiate(ctx: Any, d_output: Tensor | None, d_h_n: Tensor | None, d_c_n: Tensor | None, *_: None) -> tuple:
    frames, h_0, c_0, lengths, y, inner, gates, cells, *weights = ctx.saved_tensors
    given = [
        torch.zeros_like(like) if gradient is None else gradient
        for gradient, like in ((d_output, y), (d_h_n, h_0), (d_c_n, c_0))
    ]
    weight_ih, weight_hh = weights[: ctx.layers], weights[ctx.layers :]
    d_frames, d_first_ih, d_weight_ih, d_weight_hh, d_bias, d_h_0, d_c_0 = _backward(
        *given, frames, weight_ih, weight_hh, h_0, c_0, lengths, y, inner, gates, cells
    )
    return d_frames, [d_first_ih, *d_weight_ih], list(d_weight_hh), list(d_bias), d_h_0, d_c_0, None, None


_forward.register_autograd(_differentiate, setup_context=_save)


def _check(
    frames: Tensor, layers: list[tuple[Tensor, Tensor, Tensor]], h_0: Tensor, c_0: Tensor, lengths: Tensor
) -> None:
    """layers: weight_ih, weight_hh and bias of each."""
    (_, batch, size), units, half = frames.shape, layers[0][1].shape[1], torch.bfloat16
    state = (len(layers), batch, units)
    expected = [("frames", frames, half, frames.shape), ("lengths", lengths, torch.int64, (batch,))]
    expected += [("h_0", h_0, half, state), ("c_0", c_0, torch.float32, state)]
    for layer, (w_ih, w_hh, b) in enumerate(layers):
        expected += [
            (f"weight_ih[{layer}]", w_ih, half, (4 * units, units if layer else size)),
            (f"weight_hh[{layer}]", w_hh, half, (4 * units, units)),
            (f"bias[{layer}]", b, half, (4 * units,)),
        ]
    for name, tensor, dtype, shape in expected:
        cuda.check_tensor(name, tensor, dtype, like=frames.device)
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, not {tuple(shape)}")


def _stretch(layers: int, num_frames: int) -> int:
    """Frames of a stretch: short, so that the last layers begin and the first ones end soon, but few of them."""
    return max(1, round((_FRAMES_OF_A_LAUNCH * num_frames / max(layers - 1, 1)) ** 0.5))


def _schedule(layers: int, num_frames: int, stretch: int) -> Iterator[list[tuple[int, int, int]]]:
    """What runs at once, one after the other: layer, first frame, number of frames. Backward it is the other way."""
    firsts = range(0, num_frames, stretch)
    for step in range(len(firsts) + layers - 1):
        running = range(max(0, step - len(firsts) + 1), min(layers, step + 1))
        yield [(n, firsts[step - n], min(stretch, num_frames - firsts[step - n])) for n in running]


def _at_frame_0(rows: Tensor, first: int, batch: int) -> int:
    """Where frame 0 would be, of rows that begin at frame `first`: kernels count frames from 0."""
    return rows.data_ptr() - first * batch * rows.shape[1] * rows.element_size()
