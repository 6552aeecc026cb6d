import subprocess
import sys

import numpy as np
import pytest

from pyasr.run.memory import PeakMemory, memory_mb

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_a_peak_that_has_gone_is_remembered():
    before = memory_mb()
    with PeakMemory() as memory:
        block = np.ones(40_000_000)
        memory._stop.wait(0.5)
        del block
    assert memory.mb > before + 250
    assert memory_mb() < before + 250


def test_children_count():
    program = "import time; block = bytearray(b'x') * 300_000_000; print('made', flush=True); time.sleep(60)"
    before = memory_mb()
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert memory_mb() > before + 250
        child.kill()
