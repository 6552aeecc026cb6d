"""Format 1 stays what it is: a shard written when the format was made is still read."""

import base64

import numpy as np
import torch

from pyasr.ops.topk import unpack_topk
from pyasr.targets import PosteriorStore
from pyasr.targets.verify import verify

MANIFEST = b"""{
 "format": 1,
 "num_senones": 300,
 "k": 3,
 "quantisation": "ratio8",
 "metadata": {
  "teacher": "ab",
  "senones": "cd",
  "phases": 1
 },
 "digest": "dc8a5931cff233907d84f89eb185a95bea51f5669e033959ffd9fae0d2e1bc33"
}
"""
NAME = "part.20260101T000000000000-01234567.shard"
SHARD = """
cHlhc3JQRjHcilkxz/IzkH2E+J6xhalb6lH1Zp4DOVn/2frg0uG8M1sqTRgdAAAAxfmPEAIAAADlT7I+MZyMP5T5fz8hAAAAgS7FlGEotS/9IBIwAAD/
//8AAAAwAAAAAQIDBAUxAAAACxYAAABbKk0YJgAAAN5zKxAsAQAAFCTuPnmhiz9sp3s/NAEAAIIAAACANzsxca4zsMO8KLUv/WCABmwAACD///8AAgDx
XiogABHcAQAkAwABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJicoKSorLC0uLzAxAQCyrFYKCuUGAMQMAAsWBxIdDhkkFSArHCcy
Iy45KjVAMTxHOENOP0pVRlFcTVhjVF9qW2ZxYm14aXR/cHuGd4KNfomUhZCbjJeik56pmqWwoay3qLO+r7rFtsHMvcjTxM/ay9bh0t3o2eTv4Ov25/L9
7vkE9QAL/AcSAw4ZChUgERwnGCMCHyoJJgUQAQwXCBMeDxolFiEsHSgzJC86KzZBMj1IOURPQEtWR1JdTllkVWBrXGdyY255anWAcXyHeIOOf4qVhpGc
jZijAQABAQABAQABAQABBADOg9TAMM9NAPQ1y1IotS/9YEoAbAAAIP///wACAPUlgRcQAdQBACQDEhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v
MDEAAQIDBAUGBwgJCgsMDQ4PEBEBAPIVVVBdAQAUApSfqpumsaKtuKm0v7C7xrfCzb7J1MXQ28zX4tPe6drl8AIAuQU5cdcTWypNGBgAAABeRAFRAAAA
AAAAAAAAAAAAAAAAAG5vbmUotS/9IGPdAgCUBAMAAAADAAAAAgAAACwBAOVPsj4UJO4+MZyMP3mhiz+U+X8/bKd7IQAAADQBAACCAAAAgS7FlIA3OzFx
rjOwBAAAAGHDvG5vbmUGAE8EwAgxwG1g/MW4FtQB2ChGs2QAAAAAAAAA3IpZMc/yM5B9hPiesYWpW+pR9WaeAzlZ/9n64NLhvDNweWFzclBGMQ==
"""


def test_a_shard_of_format_1_is_read(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "store.json").write_bytes(MANIFEST)
    (tmp_path / "shards" / NAME).write_bytes(base64.b64decode(SHARD))
    store = PosteriorStore.open(tmp_path)
    assert (store.num_senones, store.k, store.metadata) == (300, 3, {"teacher": "ab", "senones": "cd", "phases": 1})
    assert list(verify(store)) == [] and set(PosteriorStore.open(tmp_path, "part")) == {"a", "ü", "none"}
    for cut_id, num_rows in (("a", 2), ("ü", 300), ("none", 0)):
        # Ids and values as MAKE made them.
        row, rank = np.arange(num_rows)[:, None], np.arange(3)
        expected = ((row // 4) * 7 + rank * 11) % 300
        ids, logp = store.frames(cut_id)
        np.testing.assert_array_equal(ids.numpy(), expected)
        assert torch.equal(store.packed(cut_id)[:, 5:].int(), torch.from_numpy((row * 3 + rank) % 50).int())
        assert torch.equal(logp, unpack_topk(store.packed(cut_id), 3, 300)[1])
