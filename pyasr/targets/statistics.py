"""What a store holds, from the indices of its shards alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pyasr.base.progress import track
from pyasr.targets.store import PosteriorStore

ENTROPY_BIN = 0.25


@dataclass
class Statistics:
    """num_bytes: of all shards. block_bytes: without headers and indices: does not depend on who wrote which shard.
    cuts: each once, however many shards of its part hold it; a cut of two parts is two. incomplete: cuts that lost
    blocks to a repair, and that no other shard has whole. doubled: what shards hold beyond that.
    max_posterior, entropy, kept: means over the frames, see `Summary`. frames_of_entropy: frames by the mean entropy
    of their cut, in bins of 0.25 nats: the indices have no other.
    """

    shards: int = 0
    cuts: int = 0
    incomplete: int = 0
    doubled: int = 0
    frames: int = 0
    num_bytes: int = 0
    block_bytes: int = 0
    max_posterior: float = 0.0
    entropy: float = 0.0
    kept: float = 0.0
    frames_of_entropy: list[int] = field(default_factory=list)


def statistics(store: PosteriorStore) -> Statistics:
    """From the indices alone, with the ids of one part in memory. DataError names a shard whose index is damaged."""
    found, counts, sums = Statistics(), np.zeros(1, np.int64), np.zeros(3)
    for names in track(store.parts().values(), "reading indices", unit="part"):
        cuts: set[str] = set()
        complete: set[str] = set()
        for name in names:
            shard = store.shard(name)
            rows, summaries = shard.index.rows.astype(np.int64), shard.index.summaries.astype(np.float64)
            bins = np.bincount((summaries[:, 1] / ENTROPY_BIN).astype(np.int64), rows).astype(np.int64)
            size = max(len(bins), len(counts))
            counts = np.pad(counts, (0, size - len(counts))) + np.pad(bins, (0, size - len(bins)))
            sums += rows @ summaries
            found.shards += 1
            found.frames += int(rows.sum())
            found.num_bytes += shard.num_bytes
            found.block_bytes += shard.index.block_bytes
            found.doubled += len(shard.index)
            cuts.update(shard.index.cut_ids)
            complete.update(shard.index.complete_ids())
        found.cuts += len(cuts)
        found.doubled -= len(cuts)
        found.incomplete += len(cuts) - len(complete)
    found.max_posterior, found.entropy, found.kept = (sums / max(1, found.frames)).tolist()
    found.frames_of_entropy = counts.tolist()
    return found
