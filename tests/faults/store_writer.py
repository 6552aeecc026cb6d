"""Puts what a posterior store lacks into it, and kills itself with SIGKILL at a chosen moment.

    python store_writer.py FOLDER WHEN NUMBER        WHEN, at the NUMBER-th time in this process:

    write     a write to a shard has been half done
    fsync     a shard has been written, and half of it is cut off again
    replace   just before a shard gets its name;  replaced: just after
    time      NUMBER milliseconds after the first cut was put
    never     writes all of it, and prints how often each of these came by
The code under test holds no hooks: functions of `os` and `io` are replaced here.
"""

import collections
import io
import os
import signal
import stat
import sys
import threading
import time

import torch

from pyasr.ops import pack_topk
from pyasr.targets import PosteriorStore, files

NUM_SENONES, K, NUM_CUTS, MAX_BYTES = 300, 20, 120, 30_000
CUT_IDS = [f"cut-{i:03d}" for i in range(NUM_CUTS)]
COUNTS = collections.Counter()


def rows_of(cut_id):
    number = int(cut_id.removeprefix("cut-"))
    generator = torch.Generator().manual_seed(number)
    return pack_topk(3 * torch.randn(1 + number * 7919 % 400, NUM_SENONES, generator=generator), K)


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def install(when, number):
    real_fsync, real_replace = os.fsync, os.replace

    def due(kind):
        COUNTS[kind] += 1
        return kind == when and COUNTS[kind] == number

    class File(io.FileIO):
        def write(self, data):
            if due("write"):
                super().write(data[: len(data) // 2])
                die()
            return super().write(data)

    def fsync(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and due("fsync"):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            os.truncate(path, os.path.getsize(path) // 2)
            die()
        real_fsync(descriptor)

    def replace(source, target, **options):
        if due("replace"):
            die()
        real_replace(source, target, **options)
        if due("replaced"):
            die()

    def open_shard(path, mode="r", **options):
        return File(path, mode.replace("b", "")) if mode == "xb" else open(path, mode, **options)

    os.fsync, os.replace, files.open = fsync, replace, open_shard


def main(folder, when, number):
    store = PosteriorStore.create(folder, NUM_SENONES, K, teacher="a")
    install(when, number)
    with store.writer(MAX_BYTES) as writer:
        if when == "time":
            timer = threading.Timer(number / 1000, die)
            timer.daemon = True
            timer.start()
        for cut_id in store.missing(CUT_IDS):
            writer.put(cut_id, rows_of(cut_id))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    print(*(f"{kind}={count}" for kind, count in COUNTS.items()))
