"""Gradient threshold compression: of each gradient only what has grown past a threshold is sent, the rest is kept.

After N. Strom, "Scalable distributed DNN training using commodity GPU cloud computing" (Interspeech 2015). A worker
keeps a residual a weight; each step adds the gradient to it, sends +-tau for the weights whose residual is beyond
+-tau, and subtracts what was sent. A sent weight is a word, (index << 1) | (1 if +tau); a message is an int32 tensor
of words whose indices ascend, and n is at most 2^30. `gtc_compress` makes about log2(n / count) + 2.5 bits of a word
(csrc/gtc/golomb_rice.h has the layout), for messages that travel farther than between neighbours.

When a step has to be skipped because one worker's gradient is not finite: that worker's `gtc_encode` raises
`NonFiniteError` and has sent nothing; the others take back what they would have sent with
`gtc_decode_add(words, tau, residual)`. Everywhere the residual then holds the finite part of the gradient as well,
which later steps send. A trainer that would rather drop the whole gradient looks before it encodes: clipping, which
belongs before the residual, computes a norm, and a norm shows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn, TypeVar

import numpy as np
import torch

from pyasr import _core
from pyasr.base.errors import DataError
from pyasr.ops import cuda

MAX_SIZE = 2**30
Words = TypeVar("Words", np.ndarray, torch.Tensor)


class NonFiniteError(ValueError):
    """A gradient or a residual that holds NaN or an infinity, or a sum of both that is beyond float32."""


def gtc_encode(
    grad: torch.Tensor,
    residual: torch.Tensor,
    tau: float,
    out: torch.Tensor | None = None,
    num_threads: int | None = None,
) -> tuple[torch.Tensor, int | torch.Tensor]:
    """Adds grad to residual, takes +-tau from what is then beyond +-tau, and returns it: words int32 (count,), count.

    grad: float32 (n,). residual: float32 (n,), contiguous, updated in place. tau > 0: rounded to float32.
    out: int32 (cap,), contiguous; the words are written to it and `words` is a view of its beginning.
    Strictly beyond, and one tau a weight and step however large its residual is. Indices ascend. What is sent and the
    new residual sum to grad and the old one but for the rounding of residual + grad and, beyond 2 tau, of the
    subtraction. The result does not depend on num_threads, which is torch's own number unless given.

    Two errors leave the gradient in the residual (residual + grad, nothing subtracted) and return no words, so nothing
    is lost and nothing is sent twice: NonFiniteError names the first element whose sum is NaN or infinite (such
    elements keep the residual they had), ValueError a count that `out` has no room for: all of it is still to be sent
    by a later call, so do not pass the same grad again. All other errors change nothing: TypeError for another dtype,
    ValueError for another shape, device or stride, for memory that grad and residual share, and for tau.

    On a GPU the words and the residual are the same bits, and nothing waits (`pyasr.ops.cuda`): words is `out`, or
    int32 (n,), of which only the first `count` mean something; count, int64 (), is on the device. The first two
    errors are a negative count, which `gtc_decode_add` takes as 0; `gtc_count` waits for the count and raises them.
    """
    if isinstance(grad, torch.Tensor) and grad.is_cuda:
        return _encode_on_gpu(grad, residual, tau, out)
    kept = _written("residual", residual, torch.float32)
    added = _read("grad", grad, torch.float32)
    room = None if out is None else _written("out", out, torch.int32)
    tau = _threshold(tau)
    capacity = MAX_SIZE if room is None else len(room)
    words, count, first_bad = _core.gtc_encode(added, kept, tau, capacity, _threads(num_threads))
    if first_bad >= 0:
        raise NonFiniteError(
            f"element {first_bad}: residual {kept[first_bad]!s} + gradient {added[first_bad]!s} is not finite;"
            " nothing is sent"
        )
    if count > capacity:
        raise ValueError(f"out has room for {capacity} words, {count} are needed; the gradient is in the residual")
    if out is None:
        return torch.from_numpy(words), count
    room[:count] = words
    return out.detach()[:count], count


def gtc_decode_add(
    words: torch.Tensor | Sequence[torch.Tensor],
    tau: float,
    out: torch.Tensor,
    count: int | Sequence[int] | None = None,
    scale: float = 1.0,
    num_threads: int | None = None,
) -> torch.Tensor | None:
    """Adds what words say, +-tau * scale, to out: float32 (n,), contiguous, in place.

    words: a message as `gtc_encode` returns it, int32 (cap,), or a list of several workers' messages. Of several, each
    element receives the first worker's first: the sum is the same on every worker. One pass over out, however many (on
    a GPU, for each 16).
    count: of the words that are meant, for a list a list of them; all unless given. tau * scale is rounded to float32
    once. num_threads: torch's own number unless given; it changes the speed only.

    DataError names the first message and word whose index is outside [0, n) or not above the one before it; out is
    then as it was. TypeError for another dtype; ValueError for another shape, device or stride of out, for a count,
    tau or scale that cannot be.

    On a GPU the sums are the same bits, and nothing waits (`pyasr.ops.cuda`): a count may be a tensor on the device, as
    `gtc_encode` returns it, and the result is a status on the device: where a message is bad nothing is added, and
    `gtc_check`, which waits for the status, raises the DataError.
    """
    if isinstance(words, torch.Tensor):
        messages, counts = [words], [count]
    else:
        messages, counts = list(words), [None] * len(words) if count is None else list(count)
        if len(counts) != len(messages):
            raise ValueError(f"{len(counts)} counts for {len(messages)} messages")
    if isinstance(out, torch.Tensor) and out.is_cuda:
        return _decode_add_on_gpu(messages, counts, _step(tau, scale), out)
    total = _written("out", out, torch.float32)
    arrays = [
        _first(_read(f"words of message {rank}", message, torch.int32), size, rank)
        for rank, (message, size) in enumerate(zip(messages, counts))
    ]
    _check_size(len(total))
    threads, step = _threads(num_threads), _step(tau, scale)
    try:
        _core.gtc_decode_add(arrays, step, total, threads)
    except ValueError as error:
        _damaged(error)
    return None


def gtc_count(count: int | torch.Tensor) -> int:
    """The count of `gtc_encode` as a number: waits where it is on a GPU, and raises what the CPU would have raised."""
    number = int(count)
    if number >= 0:
        return number
    if number > cuda.kernels.GTC_NO_ROOM:
        index = cuda.kernels.GTC_NOT_FINITE - number
        raise NonFiniteError(f"element {index}: residual + gradient is not finite; nothing is sent")
    needed = cuda.kernels.GTC_NO_ROOM - number
    raise ValueError(f"out is too small: {needed} words are needed; the gradient is in the residual")


def gtc_check(status: torch.Tensor) -> None:
    """Wait for the status of `gtc_decode_add` on a GPU; its DataError where a message was bad."""
    number = int(status)
    if number >= 0:
        _damaged(ValueError(f"message {number >> 32}: word {number & 0xFFFFFFFF} does not belong there"))


def _encode_on_gpu(
    grad: torch.Tensor, residual: torch.Tensor, tau: float, out: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    device = grad.device
    grad, residual = _checked("grad", grad, torch.float32).contiguous(), _in_place("residual", residual, torch.float32)
    words = torch.empty(len(grad), dtype=torch.int32, device=device) if out is None else out
    for name, tensor in (("residual", residual), ("out", _in_place("out", words, torch.int32))):
        cuda.check_device(name, tensor, device)
    if len(grad) != len(residual):
        raise ValueError(f"elements of grad against those of residual: {len(grad)} is not {len(residual)}")
    _check_size(len(grad))
    begin, other = grad.data_ptr(), residual.data_ptr()
    if begin < other + residual.nbytes and other < begin + grad.nbytes:
        raise ValueError("grad and residual share memory")
    count = torch.empty((), dtype=torch.int64, device=device)
    scratch = torch.empty(cuda.kernels.gtc_encode_scratch_bytes(len(grad)), dtype=torch.uint8, device=device)
    cuda.kernels.gtc_encode(
        *cuda.place(device), begin, other, len(grad), _threshold(tau), words.data_ptr(), len(words), count.data_ptr(),
        scratch.data_ptr(),
    )  # fmt: skip
    return words.detach(), count


def _decode_add_on_gpu(
    messages: list[torch.Tensor], counts: list[int | torch.Tensor | None], step: float, out: torch.Tensor
) -> torch.Tensor:
    out = _in_place("out", out, torch.float32)
    _check_size(len(out))
    kept, arguments = [], []  # until the kernels are on the stream, whose order protects the memory from then on
    for rank, (message, count) in enumerate(zip(messages, counts)):
        name = f"words of message {rank}"
        words = _checked(name, message, torch.int32).contiguous()
        cuda.check_device(name, words, out.device)
        if isinstance(count, torch.Tensor) and count.is_cuda:
            cuda.check_device(f"count of message {rank}", count, out.device)
            count = count.detach().to(torch.int64).reshape(())
            arguments.append((words.data_ptr(), len(words), count.data_ptr()))
        else:
            words = _first(words, count, rank)
            arguments.append((words.data_ptr(), len(words), 0))
        kept.append((words, count))
    status = torch.empty((), dtype=torch.int64, device=out.device)
    cuda.kernels.gtc_decode_add(*cuda.place(out.device), arguments, step, out.data_ptr(), len(out), status.data_ptr())
    return status


def gtc_compress(words: torch.Tensor, n: int) -> torch.Tensor:
    """A message of n weights in Golomb-Rice code: uint8 (bytes,), 9 bytes and about log2(n / count) + 2.5 bits a word.

    words: int32 (count,). n <= 2^30 is stored too. Within 2 % of the entropy of independent positions and signs at
    densities count / n of 1e-2 and below, but for the 9 bytes.
    DataError for words that `gtc_decode_add` refuses; TypeError for another dtype; ValueError for another shape or
    device, or an n that cannot be.
    """
    array = _read("words", words, torch.int32)
    _check_size(n)
    try:
        return torch.from_numpy(_core.gtc_compress(array, n))
    except ValueError as error:
        _damaged(error)


def gtc_decompress(data: torch.Tensor) -> torch.Tensor:
    """The words that `gtc_compress` was given: int32 (count,), indices ascending and below the n that was stored.

    data: uint8 (bytes,). DataError for bytes that `gtc_compress` cannot have written; a changed sign or gap that still
    makes a message is not among them (there is no checksum). The result is at most 16 times as large as data, whatever
    that holds. TypeError for another dtype; ValueError for another shape or device.
    """
    array = _read("data", data, torch.uint8)
    try:
        return torch.from_numpy(_core.gtc_decompress(array))
    except ValueError as error:
        _damaged(error)


def _damaged(error: ValueError) -> NoReturn:
    raise DataError(f"GTC message is damaged, or of another model: {error}") from None


def _checked(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}, not a torch tensor")
    cuda.check_tensor(name, tensor, dtype)
    if tensor.ndim != 1:
        raise ValueError(f"{name} has {tensor.ndim} dimensions, not 1")
    return tensor.detach()


def _on_cpu(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    tensor = _checked(name, tensor, dtype)
    if tensor.is_cuda:
        raise ValueError(f"{name} is on {tensor.device}, others are on the CPU, or this kernel runs there alone")
    return tensor


def _read(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> np.ndarray:
    """As the kernels on the CPU read it; copied only where elements lie apart or misaligned."""
    tensor = _on_cpu(name, tensor, dtype).contiguous()
    return (tensor if tensor.data_ptr() % tensor.element_size() == 0 else tensor.clone()).numpy()


def _in_place(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The caller's memory, so never a copy."""
    tensor = _checked(name, tensor, dtype)
    if not tensor.is_contiguous() or tensor.data_ptr() % tensor.element_size():
        raise ValueError(f"{name} is updated in place: it must be contiguous and aligned")
    return tensor


def _written(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> np.ndarray:
    """As the kernels on the CPU write it."""
    return _in_place(name, _on_cpu(name, tensor, dtype), dtype).numpy()


def _first(words: Words, count: int | None, rank: int) -> Words:
    if count is None:
        return words
    if not 0 <= count <= len(words):
        raise ValueError(f"count of message {rank} is {int(count)}, outside 0..{len(words)}")
    return words[: int(count)]


def _threshold(tau: float) -> float:
    """tau as float32 has it."""
    with np.errstate(over="ignore"):
        rounded = float(np.float32(tau))
    if not 0 < rounded < math.inf:
        raise ValueError(f"tau is {tau}, not positive and finite in float32")
    return rounded


def _step(tau: float, scale: float) -> float:
    step = _threshold(tau) * scale
    if not abs(step) <= torch.finfo(torch.float32).max:
        raise ValueError(f"tau * scale is {step}, beyond float32")
    return step


def _check_size(n: int) -> None:
    if not 0 <= n <= MAX_SIZE:
        raise ValueError(f"number of weights is {n}, outside 0..2^30")


def _threads(num_threads: int | None) -> int:
    threads = torch.get_num_threads() if num_threads is None else num_threads
    if threads < 1:
        raise ValueError(f"num_threads is {threads}")
    return threads
