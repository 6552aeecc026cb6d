"""Ctrl-C and SIGTERM end a run where it is, or after what it is at; the same command goes on from there."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


def raise_when_interrupted() -> None:
    """Make SIGTERM, as Ctrl-C does, raise KeyboardInterrupt in the main thread, and both see to it that it arrives."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is for what nohup or a shell's & has started
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(*_: object) -> None:
    # Python drops an exception that a signal raises inside of another's clean-up, such as that of the logging module
    # around a fork: once more in a second, unless the process has ended by then.
    signal.signal(signal.SIGALRM, _interrupt)
    signal.alarm(1)
    raise KeyboardInterrupt


@contextlib.contextmanager
def noted_interrupts() -> Iterator[threading.Event]:
    """An event that SIGTERM or Ctrl-C sets, for work that can stop between two steps; a second one does what it does
    otherwise. To be entered in the main thread."""
    event = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(*_: object) -> None:
        event.set()
        restore()

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield event
    finally:
        restore()
