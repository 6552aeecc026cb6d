"""Each in a process of its own: the one of the tests may have children, and memory of tests before."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

BEGIN = """
import json, os, subprocess, sys, time
from pyasr.run import memory
from pyasr.run.memory import PeakMemory, bounds_mb, shared_out_mb

def forked(work):
    "A child that has done its work and stays."
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        work()
        os.write(tell, b".")
        time.sleep(60)
    os.read(told, 1)
    return child

def end(child):
    os.kill(child, 9)
    os.waitpid(child, 0)
"""


def run(program, *arguments):
    """What it prints last, as JSON."""
    command = [sys.executable, "-c", BEGIN + program, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def test_a_peak_that_has_gone_is_remembered():
    before, peak, after = run("""
before, most = bounds_mb()
assert before == most, "alone"
with PeakMemory() as peak:
    block = bytearray(b"x") * 300_000_000
    time.sleep(0.5)
    del block
print(json.dumps([before, peak.mb, bounds_mb()[0]]))
""")
    assert before + 290 < peak < before + 350 and after < before + 50


def test_children_count():
    before, most, shared_out, without_shares = run("""
before, _ = bounds_mb()
program = "block = bytearray(b'x') * 300_000_000; print('made', flush=True); input()"
with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
    child.stdout.readline()
    found = [before, bounds_mb()[1], shared_out_mb()]
    memory._rollup_kb = lambda pid: {}
    print(json.dumps([*found, shared_out_mb()]))
    child.communicate(b"\\n")
""")
    assert before + 290 < shared_out <= most + 5
    assert without_shares == pytest.approx(most, abs=5), "a kernel that does not tell"


@pytest.mark.parametrize(("child", "times"), [("reads", 1), ("writes", 2)])
def test_pages_that_a_forked_child_shares_count_once(child, times):
    alone, peak, most = run(
        """
block = bytearray(b"x") * 200_000_000
alone, _ = bounds_mb()

def reads():
    sum(block[::4096])

def writes():
    block[::4096] = b"y" * len(block[::4096])

with PeakMemory() as peak:
    child = forked(reads if sys.argv[1] == "reads" else writes)
    time.sleep(1.5)
    most = bounds_mb()[1]
    end(child)
print(json.dumps([alone, peak.mb, most]))
""",
        child,
    )
    assert most > alone + 190, "the bound counts them twice either way"
    assert peak == pytest.approx(alone + 200 * (times - 1), abs=20)


def test_shares_are_read_for_two_per_cent_of_the_time_and_never_of_one_process():
    alone, readings, peak = run("""
readings = []

def slow_reading():
    begun = time.thread_time()
    while time.thread_time() < begun + 0.015:
        pass
    readings.append(shared_out_mb())
    return readings[-1]

memory.shared_out_mb = slow_reading
with PeakMemory():
    time.sleep(0.5)
alone = len(readings)
child = forked(lambda: None)
with PeakMemory() as peak:
    time.sleep(2)
end(child)
print(json.dumps([alone, readings, peak.mb]))
""")
    assert alone == 0 and 2 <= len(readings) <= 3 and peak >= max(readings) > 0
