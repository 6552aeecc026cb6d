"""What one step of the student of 24 M weights exchanges over a real, slow network, by every method.

Hosts are network namespaces of this machine (hosts.py), a gloo process in each. Gradients are prepared: random, with
the scales of rows and columns spread as those of LSTMs are, so that a thousandth of them matters. Measured is the
exchange alone, from the first host that begins to the last that has ended, and what leaves a host's veth:

    fp32, bf16         all-reduces in buckets of 25 MiB, as torch's DDP and its bf16 hook make them, casts included
    PowerSGD, rank r   all-reduces of vectors, P and Q, one after the other; not the hook's arithmetic
    gtc                GTCState.exchange on gradients, density below 1e-3: its one all-gather; the whole step beside it,
                       with encoding and decoding, for which all hosts share this machine's processor
    bmuf               an all-reduce of the whole model, of which a batch bears a fiftieth

Everything is compared with fp32. Without permission to make hosts it says so and measures nothing.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from common import main, row
from hosts import INTERFACE, Hosts, NotPermitted
from network_host import SYNC_EVERY, Task

HOST = Path(__file__).with_name("network_host.py")


def measure_at(size: int, mbit: float, delay_ms: float, layers: int, units: int) -> dict[str, dict]:
    """By method, medians: seconds of an exchange and whole_s of the step, bytes that a host sends; GTC's statistics."""
    with tempfile.TemporaryDirectory() as name, Hosts(size, mbit, delay_ms) as hosts:
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": INTERFACE, "OMP_NUM_THREADS": "1"}
        paths = [Path(name) / f"{rank}.json" for rank in range(size)]
        processes = []
        try:
            for rank, path in enumerate(paths):
                task = Task(rank, size, hosts.address(0), layers, units, mbit)
                command = [sys.executable, str(HOST), json.dumps(asdict(task)), str(path)]
                processes.append(subprocess.Popen(hosts.command(rank, command), env=environment))
            deadline = time.monotonic() + 300
            failed = [rank for rank, p in enumerate(processes) if p.wait(max(1.0, deadline - time.monotonic()))]
            if failed:
                raise RuntimeError(f"hosts {failed} of {size} at {mbit} Mbit/s failed; see above")
        finally:
            for process in processes:
                process.kill()
        found = [json.loads(path.read_text()) for path in paths]
    return {method: _median([host[method] for host in found]) for method in found[0]}


def _median(hosts: list[list[dict]]) -> dict:
    steps = list(zip(*hosts))

    def seconds(kind: str) -> float:
        return statistics.median(max(s[kind][1] for s in step) - min(s[kind][0] for s in step) for step in steps)

    sent = statistics.median(statistics.mean(s["bytes"] for s in step) for step in steps)
    own = {
        name: statistics.median(s[name] for step in steps for s in step)
        for name in ("density", "bytes_out", "encode_s", "decode_s")
        if name in hosts[0][0]
    }
    return {"seconds": seconds("interval"), "whole_s": seconds("whole"), "bytes": sent, **own}


def rows_of(found: Mapping[str, dict], size: int, mbit: float) -> list[dict]:
    rows = []
    fp32_s, fp32_bytes = found["fp32"]["seconds"], found["fp32"]["bytes"]
    for method, result in found.items():
        share = SYNC_EVERY if method == "bmuf" else 1
        place = f"{method}, {size} hosts, {mbit:g} Mbit/s"
        kept = {"method": method, "hosts": size, "mbit": mbit, **result}
        rate = row(f"exchanges a second, {place}", "1/s", share / result["seconds"], 1 / fp32_s, "fp32")
        sent = row(f"exchanges a gigabyte, {place}", "1/GB", 1e9 * share / result["bytes"], 1e9 / fp32_bytes, "fp32")
        rows += [{**rate, **kept}, sent]
    return rows


COLUMNS = ("hosts", "mbit", "method", "seconds", "whole_s", "bytes", "density", "bytes_out", "encode_s", "decode_s")


def write_table(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for measured in (r for r in rows if "method" in r):
            whole = {name: round(measured[name]) for name in ("mbit", "bytes", "bytes_out") if name in measured}
            writer.writerow({**{n: f"{v:.4g}" if isinstance(v, float) else v for n, v in measured.items()}, **whole})


def measure(hosts: str, mbit: str, delay: float, layers: int, units: int, table: str) -> list[dict]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the hosts are removed on the way
    rows = []
    for rate in map(float, mbit.split(",")):
        for size in map(int, hosts.split(",")):
            try:
                found = measure_at(size, rate, delay, layers, units)
            except NotPermitted as reason:
                print(f"skipped: {reason}")
                return []
            rows += rows_of(found, size, rate)
    if table:
        write_table(Path(table), rows)
    return rows


if __name__ == "__main__":
    main(
        __doc__.splitlines()[0],
        measure,
        hosts=("2,4", "how many, separated by commas"),
        mbit=("1000,100", "rates of their links, Mbit/s"),
        delay=(0.0, "ms that a packet takes to leave a host; needs netem"),
        layers=(5, "of the student"),
        units=(768, "of a layer"),
        table=("", "write seconds and bytes to this file too, for fit.py"),
    )
