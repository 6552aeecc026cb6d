"""Packed rows of neighbouring frames as bytes that an entropy coder makes small, and back.

csrc/posterior/row_block.h has the layout and what it was measured on. `pyasr.targets.block` compresses the bytes.
"""

from __future__ import annotations

import numpy as np

from pyasr import _core
from pyasr.base.errors import DataError


def encode_rows(packed: np.ndarray, k: int, num_senones: int) -> bytes:
    """The places of the ids in a list of recent ones, the values, the ids that were not in the list.

    packed: uint8 (N, row_bytes) of `pyasr.ops.pack_topk`; rows may lie apart. DataError names the first row with an
    id outside [0, num_senones); ValueError for rows of another length.
    """
    if packed.shape[1:] != (_core.packed_row_bytes(k, num_senones),):
        raise ValueError(f"packed is {packed.shape}, rows of k = {k} and {num_senones} senones have another length")
    try:
        return _core.encode_rows(packed, k, num_senones)
    except ValueError as error:
        raise DataError(f"packed posteriors are damaged, or of another number of senones: {error}") from None


def decode_rows(coded: bytes, num_rows: int, k: int, num_senones: int, out: np.ndarray) -> None:
    """Undo `encode_rows` of num_rows rows into out, uint8 (M, row_bytes) with M <= num_rows: the first M of them.

    DataError for bytes that `encode_rows` cannot have written, as far as they are read.
    """
    try:
        _core.decode_rows(coded, num_rows, k, num_senones, out)
    except ValueError as error:
        raise DataError(f"coded posteriors are damaged: {error}") from None
