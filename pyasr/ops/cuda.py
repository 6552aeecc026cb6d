"""What kernels on a GPU need from torch: their module, which not every build has, a device, and its current stream.

The rules of all kernels on a GPU, beside those of each: they are put on the device's current stream, wait for nothing
and make nobody wait, and take memory from torch's caching allocator alone, so that they can be captured into a graph.
What is wrong with contents, which nobody has seen yet when a call returns, is therefore not raised but marked in the
result; each topic has a function that waits for the result and raises what the CPU would have raised.
"""

from __future__ import annotations

import torch

try:
    from pyasr import _cuda as kernels
except ImportError:  # built without nvcc
    kernels = None

HOW_TO_BUILD = "put CUDA's nvcc on PATH and build pyasr again (PYASR_CUDA=ON pip install .)"


def is_built() -> bool:
    """Whether this pyasr has kernels for GPUs."""
    return kernels is not None


def check_device(name: str, tensor: torch.Tensor, like: torch.device | None = None) -> None:
    """ValueError unless the tensor is on the CPU, or on a GPU that there are kernels for; and on `like` where given."""
    device = tensor.device
    if device.type == "cuda" and not is_built():
        raise ValueError(f"{name} is on {device}, and this pyasr was built without CUDA: pass {name}.cpu(), or"
                         f" {HOW_TO_BUILD}")  # fmt: skip
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{name} is on {device}; there are kernels for CPUs and NVIDIA GPUs")
    if like is not None and device != like:
        raise ValueError(f"{name} is on {device}, others are on {like}")


def check_tensor(name: str, tensor: torch.Tensor, dtype: torch.dtype, like: torch.device | None = None) -> None:
    """TypeError for another dtype, as nothing is converted silently; ValueError for a device as in `check_device`."""
    if tensor.dtype != dtype:
        raise TypeError(f"{name} is {tensor.dtype}, not {dtype}")
    check_device(name, tensor, like=like)


def place(device: torch.device) -> tuple[int, int]:
    """The device's number and the handle of its current stream: the first arguments of every kernel."""
    return device.index, torch.cuda.current_stream(device).cuda_stream
