"""What workers send of a step's gradients: words of several tensors in one buffer, everyone's in one all-gather.

An all-gather wants the same size of all, and nobody knows how much the others have. So buffers have a capacity that
all agree on, because it is computed from sizes that all have seen: it follows the largest message, with an eighth to
spare, up at once and down by a quarter a step: what one step of many words left behind is not sent as padding for long.
What does not fit follows in a second all-gather, whose size is known by then. One round trip is the rule.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pyasr.base.errors import DataError
from pyasr.dist.comm import Comm, Pending
from pyasr.ops.gtc import gtc_compress, gtc_decompress

_HEADER = struct.Struct("<IIQQ")  # names' checksum, flags, step, bytes of the whole
_FINITE = 1


@dataclass(frozen=True)
class Message:
    """A worker's words of each tensor, int32 (count,) on the CPU.

    finite: whether its gradient was. wanted: for each tensor the tau that it would like next; 0: as it is.
    """

    finite: bool
    words: Sequence[torch.Tensor]
    wanted: Sequence[float]


def pack(message: Message, names: Sequence[str], sizes: Sequence[int], step: int) -> torch.Tensor:
    """uint8 (bytes,): header, bytes of each part as uint32, wanted as float32, parts in Golomb-Rice code.

    A message that is not finite carries no words.
    """
    words = message.words if message.finite else [torch.zeros(0, dtype=torch.int32)] * len(names)
    parts = [gtc_compress(row, size).numpy().tobytes() for row, size in zip(words, sizes)]
    lengths = struct.pack(f"<{len(parts)}I{len(parts)}f", *map(len, parts), *message.wanted)
    total = _HEADER.size + len(lengths) + sum(map(len, parts))
    header = _HEADER.pack(_checksum(names, sizes), _FINITE if message.finite else 0, step, total)
    return torch.frombuffer(bytearray(b"".join([header, lengths, *parts])), dtype=torch.uint8)


def unpack(data: torch.Tensor, names: Sequence[str], sizes: Sequence[int], step: int, rank: int) -> Message:
    """The message of worker `rank`. DataError when it is damaged, or of another step or other tensors."""
    raw = data.numpy()
    checksum, flags, their_step, total = _HEADER.unpack(raw[: _HEADER.size].tobytes())
    if checksum != _checksum(names, sizes) or their_step != step:
        raise DataError(
            f"GTC: worker {rank} sends step {their_step} of other tensors, or another step than {step} here: the"
            " workers have different models, buckets or numbers of batches"
        )
    middle, begin = _HEADER.size + 4 * len(names), _HEADER.size + 8 * len(names)
    lengths = np.frombuffer(raw[_HEADER.size : middle].tobytes(), "<u4").astype(np.int64)
    wanted = np.frombuffer(raw[middle:begin].tobytes(), "<f4").astype(float).tolist()
    if total != len(raw) or len(lengths) != len(names) or begin + lengths.sum() != total:
        raise DataError(f"GTC: the message of worker {rank} at step {step} is damaged: its lengths do not add up")
    bounds = begin + np.concatenate([[0], np.cumsum(lengths)])
    parts = [data[first:last] for first, last in zip(bounds.tolist(), bounds[1:].tolist())]
    words = [gtc_decompress(part) for part in parts]
    for row, size, name in zip(words, sizes, names):
        if len(row) and int(row[-1]) >> 1 >= size:  # indices ascend
            raise DataError(f"GTC: worker {rank} sends index {int(row[-1]) >> 1} of {name}, which has {size} weights")
    return Message(bool(flags & _FINITE), words, wanted)


def _checksum(names: Sequence[str], sizes: Sequence[int]) -> int:
    return zlib.crc32("\n".join(f"{name} {size}" for name, size in zip(names, sizes)).encode())


class Gatherer:
    """All-gathers of messages of different sizes; remembers a capacity for each key.

    bytes_sent: what this worker's buffers held so far, padding included; each of the others has received as much.
    """

    def __init__(self, comm: Comm, device: torch.device) -> None:
        self.comm, self.device = comm, device
        self.capacity: dict[str, int] = {}
        self.bytes_sent = 0

    def begin(self, key: str, payload: torch.Tensor, guess: int) -> Pending[list[torch.Tensor]]:
        """payload: uint8 as `pack` makes it. guess: bytes, the same on all, for the first message of a key."""
        capacity = self.capacity.setdefault(key, _rounded(max(guess, _HEADER.size)))
        gathering = self._send(payload[:capacity], capacity)

        def wait() -> list[torch.Tensor]:
            heads = gathering.wait()
            totals = [_HEADER.unpack(head[: _HEADER.size].numpy().tobytes())[3] for head in heads]
            largest = max(totals)
            tails = self._rest(payload[capacity:], largest - capacity)() if largest > capacity else heads
            self.capacity[key] = _rounded(max(largest * 9 // 8, capacity * 3 // 4))
            if largest <= capacity:
                return [head[:total] for head, total in zip(heads, totals)]
            return [torch.cat([head, tail])[:total] for head, tail, total in zip(heads, tails, totals)]

        return Pending(wait)

    def _rest(self, payload: torch.Tensor, size: int) -> Callable[[], list[torch.Tensor]]:
        return self._send(payload, size).wait

    def _send(self, payload: torch.Tensor, size: int) -> Pending[list[torch.Tensor]]:
        buffer = torch.zeros(size, dtype=torch.uint8)
        buffer[: len(payload)] = payload
        self.bytes_sent += size
        gathering = self.comm.gather(buffer.to(self.device))
        return Pending(lambda: [part.cpu() for part in gathering.wait()])


def _rounded(size: int) -> int:
    return math.ceil(size / 64) * 64
