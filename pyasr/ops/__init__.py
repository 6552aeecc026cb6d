"""The native kernels' Python face, one file a topic; `reference.py` holds the slow, obvious twin of each.

The names below are loaded when they are first asked for: they need torch, which the workers that align and count do
without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    import pyasr._core  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        "pyasr's native module is missing. Install the package (pip install .), or build the module in place:"
        " cmake -S . -B build -G Ninja -DPYASR_INPLACE=ON && cmake --build build"
    ) from error

if TYPE_CHECKING:
    from pyasr.ops.gtc import gtc_compress, gtc_decode_add, gtc_decompress, gtc_encode
    from pyasr.ops.topk import pack_topk, unpack_topk

__all__ = ["gtc_compress", "gtc_decode_add", "gtc_decompress", "gtc_encode", "pack_topk", "unpack_topk"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("pyasr.ops.gtc" if name.startswith("gtc_") else "pyasr.ops.topk"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
