"""Labels the manifests of a folder, and kills itself with SIGKILL after some milliseconds.

    python label_killed.py FOLDER MILLISECONDS       0: never

The last line that it prints is how many milliseconds it worked.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch

from pyasr.targets.label_cli import label

folder, milliseconds = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
if milliseconds:

    def die():
        time.sleep(milliseconds / 1000)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, daemon=True).start()
manifests = sorted(folder.glob("cuts-*.jsonl.gz"))
begun = time.monotonic()
label(str(folder / "store"), manifests, folder / "network", 8, True, 1.0, 6.0, 0.0, None)
print(round(1000 * (time.monotonic() - begun)))
