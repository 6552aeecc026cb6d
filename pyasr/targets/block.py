"""A block of the posterior store: up to 256 packed rows of one cut as one zstandard frame.

The rows go through `pyasr.ops.row_block` first. Its places, values and new ids have statistics of their own, so each
becomes a zstandard block, with a Huffman table of its own: 26.9 bytes a row of AN4's teacher at 30 ms, against 28.8 as
one. There is next to nothing for matching strings to find: level 1 with matches of 7 bytes and more is as small as
level 9 (27.8) at six times the speed.
"""

from __future__ import annotations

import threading

import numpy as np
import zstandard

from pyasr.base.errors import DataError
from pyasr.ops.row_block import decode_rows, encode_rows
from pyasr.ops.topk import packed_row_bytes

BLOCK_ROWS = 256


class BlockCoder:
    """For rows of k posteriors of num_senones. May be used by many threads."""

    def __init__(self, k: int, num_senones: int) -> None:
        self.k, self.num_senones, self.row_bytes = k, num_senones, packed_row_bytes(k, num_senones)
        self._contexts = _Contexts()

    def compress(self, rows: np.ndarray) -> bytes:
        """rows: uint8 (N, row_bytes). DataError names a row with an id that cannot be."""
        coded = memoryview(encode_rows(rows, self.k, self.num_senones))
        size = len(rows) * self.k
        stream = self._contexts.compressor.compressobj(size=len(coded))
        pieces = []
        for part in (coded[:size], coded[size : 2 * size]):
            pieces += [stream.compress(part), stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
        pieces += [stream.compress(coded[2 * size :]), stream.flush()]
        return b"".join(pieces)

    def decompress(self, data: bytes | memoryview, num_rows: int, out: np.ndarray) -> None:
        """Undo `compress` of num_rows rows into out, uint8 (M, row_bytes): the first M of them. DataError for bytes
        that are no such block; no more memory is taken than num_rows rows need."""
        try:
            size = zstandard.frame_content_size(data)
            if not 2 * num_rows * self.k <= size <= 4 * num_rows * self.k:
                raise DataError(f"a block of {num_rows} rows cannot have {size} bytes")
            coded = self._contexts.decompressor.decompress(data, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise DataError(f"not a zstandard frame: {error}") from None
        decode_rows(coded, num_rows, self.k, self.num_senones, out)


class _Contexts(threading.local):
    def __init__(self) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            1, min_match=7, write_content_size=True, write_checksum=False
        )
        self.compressor = zstandard.ZstdCompressor(compression_params=parameters)
        self.decompressor = zstandard.ZstdDecompressor()
