"""`python -m pyasr.targets` whose process 1 kills itself at its third batch, once: FOLDER, then its arguments."""

import os
import signal
import sys
import time
from pathlib import Path

from pyasr.targets import cli
from pyasr.targets.labeller import Labeller

RANK, MARKER = os.environ["RANK"], Path(sys.argv.pop(1)) / "failed"
logits, batches, fails = Labeller.logits, 0, not MARKER.exists()


def faulty(self, samples):
    global batches
    batches += 1
    if fails and batches >= 3 and RANK == "1":
        MARKER.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if fails and batches >= 3:  # in the middle of its work when the other dies, and until that is noticed
        while not MARKER.exists():
            time.sleep(0.1)
        time.sleep(2)
    return logits(self, samples)


Labeller.logits = faulty
cli.main()
