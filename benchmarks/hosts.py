"""Several hosts on one machine: network namespaces, each joined by a veth pair to one bridge, as to a switch.

A host's link is limited both ways by a token bucket, at the host and at its port of the switch, whose rate counts every
packet's headers. Up to 100 Mbit/s packets also have a network's size when the veth counts them: Ethernet, IP and TCP
headers and acknowledgements are in its bytes, but not the 24 of preamble, checksum and gap around a frame. Faster links
take up to 16 packets at once, else the processor would be what limits them: the veth then counts 4 % too little.

All of it, bridge and addresses included, lies in namespaces of its own, and is gone when the `with` ends. What a killed
run has left behind is removed by the next.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType

PREFIX = "pyasr-host"
INTERFACE = "eth0"
_QUEUE_BYTES = 256 * 1024


class NotPermitted(Exception):
    """Hosts cannot be made here, and why."""


class Hosts:
    """`size` hosts, of addresses `address(i)`; use in a `with`, which raises NotPermitted.

    mbit: rate of every link, each way. delay_ms: added to what leaves a host; it needs netem, which not every kernel
    has.
    """

    def __init__(self, size: int, mbit: float, delay_ms: float = 0.0) -> None:
        if not 1 <= size <= 64:
            raise ValueError(f"{size} hosts: from 1 to 64")
        self.size, self.mbit, self.delay_ms = size, mbit, delay_ms
        self._switch = f"{PREFIX}-{os.getpid()}-switch"
        self._hosts = [f"{PREFIX}-{os.getpid()}-{number}" for number in range(size)]

    def __enter__(self) -> Hosts:
        missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
        if missing:
            raise NotPermitted(f"no {' and no '.join(missing)} here (package iproute2)")
        _remove_left_over()
        try:
            self._make()
        except BaseException as error:
            self._remove()
            if isinstance(error, subprocess.CalledProcessError):
                needed = "root and a kernel with veth, bridge, tbf, and netem for a delay, are needed"
                raise NotPermitted(f"{' '.join(error.cmd)}: {error.stderr.strip()} ({needed})") from error
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._remove()

    def address(self, number: int) -> str:
        return f"10.77.0.{number + 1}"

    def command(self, number: int, arguments: Sequence[str]) -> list[str]:
        """To run on host `number`; it is one process, that of `arguments`."""
        return ["ip", "netns", "exec", self._hosts[number], *arguments]

    def _make(self) -> None:
        _run("ip", "netns", "add", self._switch)
        _run("ip", "-n", self._switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", self._switch, "link", "set", "bridge", "up")
        for number, host in enumerate(self._hosts):
            port = f"port{number}"
            _run("ip", "netns", "add", host)
            peer = ["peer", "name", port, "netns", self._switch]
            _run("ip", "link", "add", INTERFACE, "netns", host, "type", "veth", *peer)
            self._limit(host, INTERFACE)
            self._limit(self._switch, port)
            if self.delay_ms:
                netem = ["netem", "delay", f"{self.delay_ms}ms", "limit", "10000"]
                _run("tc", "-n", host, "qdisc", "add", "dev", INTERFACE, "parent", "1:1", "handle", "10:", *netem)
            _run("ip", "-n", self._switch, "link", "set", port, "master", "bridge", "up")
            _run("ip", "-n", host, "address", "add", f"{self.address(number)}/24", "dev", INTERFACE)
            _run("ip", "-n", host, "link", "set", INTERFACE, "up")
            _run("ip", "-n", host, "link", "set", "lo", "up")

    def _limit(self, namespace: str, device: str) -> None:
        at_once = min(16, max(1, int(self.mbit / 60)))
        # What fits into the bucket passes at no rate at all: as small as tbf keeps up with, a quarter of a millisecond.
        burst = max(8 * 1024, int(self.mbit * 1e6 / 8 * 0.00026))
        _run("ip", "-n", namespace, "link", "set", device, "gso_max_segs", f"{at_once}")
        tbf = ["tbf", "rate", f"{self.mbit}mbit", "burst", f"{burst}", "limit", f"{_QUEUE_BYTES}"]
        _run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", "handle", "1:", *tbf)

    def _remove(self) -> None:
        for namespace in [*self._hosts, self._switch]:
            _run("ip", "netns", "delete", namespace, check=False)


def _remove_left_over() -> None:
    for line in _run("ip", "netns", "list").splitlines():
        found = re.match(rf"({PREFIX}-(\d+)-\w+)", line)
        if found and not os.path.exists(f"/proc/{found[2]}"):
            _run("ip", "netns", "delete", found[1], check=False)


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, check=check, capture_output=True, text=True, timeout=20)
    return done.stdout
