"""Runs `python -m pyasr.run ARGUMENTS` and kills itself with SIGKILL at a chosen moment.

    python harness.py ARGUMENTS       with PYASR_TEST_KILL = WHO:WHEN:NUMBER in the environment

WHO is "parent" or "worker" (worker processes import this file, too). WHEN, at the NUMBER-th call in that process:
    fsync     a file has been written: half of it is cut off, as if the kill had come in the middle
    open      a file has been opened for writing below the current folder, and its first bytes are on their way
    replace   just before a finished file gets its name;  replaced: just after
    time      NUMBER hundredths of a second after the process began
    never     counts the calls; the parent writes {"fsync": ..., ...} to calls.json in the current folder at the end
The code under test holds no hooks: functions of `os` are replaced here.
"""

import collections
import json
import os
import signal
import stat
import sys
import threading
import time

COUNTS = collections.Counter()


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def install(when, number):
    real_fsync, real_replace = os.fsync, os.replace

    def due(kind):
        COUNTS[kind] += 1
        return kind == when and COUNTS[kind] == number

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

    def opened(event, arguments):
        if event != "open" or not isinstance(arguments[0], str) or not str(arguments[0]).startswith(os.getcwd()):
            return
        path, mode, _ = arguments
        if mode and mode[0] in "wx" and due("open"):
            threading.Thread(target=die_while_writing, args=(path,)).start()

    if when == "time":
        timer = threading.Timer(number / 100, die)
        timer.daemon = True
        timer.start()
    os.fsync, os.replace = fsync, replace
    sys.addaudithook(opened)


def die_while_writing(path):
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline:
        if os.path.exists(path) and os.path.getsize(path) > 0:
            break
    die()


role = {"__main__": "parent", "__mp_main__": "worker"}.get(__name__)
who, when, number = os.environ["PYASR_TEST_KILL"].split(":")
if who == role:
    install(when, int(number))

if __name__ == "__main__":
    from pyasr.run.cli import main

    try:
        main()
    finally:
        if when == "never":
            with open("calls.json", "w") as stream:
                json.dump(COUNTS, stream)
