"""An interruption arrives even where Python drops the first exception."""

import signal
import subprocess
import sys

import pytest

CODE = """
import os, signal, time
from pyasr.base.interrupt import raise_when_interrupted

raise_when_interrupted()
try:
    os.kill(os.getpid(), signal.{sent})
    time.sleep(10)
except KeyboardInterrupt:
    print("lost", flush=True)
try:
    time.sleep(10)
except KeyboardInterrupt:
    print("arrived", flush=True)
    os._exit(130)
"""


@pytest.mark.parametrize("sent", ["SIGTERM", "SIGINT"])
def test_what_was_dropped_comes_again(sent):
    run = subprocess.run([sys.executable, "-c", CODE.format(sent=sent)], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.returncode) == ("lost\narrived\n", 130), run.stderr


def test_an_ignored_ctrl_c_stays_ignored():
    code = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{CODE.split('try:')[0]}"
    code += "os.kill(os.getpid(), signal.SIGINT)\nprint('went on')\n"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "went on\n" and run.returncode == 0, run.stderr


@pytest.mark.parametrize("sent", ["SIGTERM", "SIGINT"])
def test_an_interrupt_is_noted_once_and_works_as_ever_the_second_time(sent):
    code = f"""
import os, signal
from pyasr.base.interrupt import noted_interrupts

with noted_interrupts() as interrupted:
    assert not interrupted.is_set()
    os.kill(os.getpid(), signal.{sent})
    assert interrupted.is_set()
    print("noted", flush=True)
    os.kill(os.getpid(), signal.{sent})
    print("went on")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "noted\n" and run.returncode == -getattr(signal, sent), run.stderr
