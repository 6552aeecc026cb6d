"""Fit the planner's message_s to one link rate of network.py's table, and check its model on the others.

    python benchmarks/fit.py [benchmarks/network.csv] [--on 1000]

The model is that of pyasr/run/plan.py; the payload's share of a link follows from the headers, so that what a message
takes besides is all there is to fit: the value that makes the sum of relative errors least.
"""

from __future__ import annotations

import argparse
import csv
import re
from dataclasses import dataclass, replace
from pathlib import Path

from pyasr.run.plan import Costs, Work, bytes_sent, exchange_s

WEIGHTS = 24_301_935
WORK = Work(hours=0, annotated_hours=0, sync_every=1)


@dataclass(frozen=True)
class Measured:
    """A line of the table: seconds of an exchange, bytes that a host sent. bmuf: not shared out over a block."""

    hosts: int
    mbit: float
    method: str
    seconds: float
    bytes: float
    density: float

    def modelled(self, message_s: float) -> tuple[float, float]:
        """The same two by the planner's model."""
        work, method = WORK, self.method
        if method == "bf16":
            work = replace(work, gradient_bytes=2)
        if found := re.fullmatch(r"PowerSGD, rank (\d+)", method):
            work, method = replace(work, rank=int(found[1])), "powersgd"
        costs = Costs(link_bytes_s=self.mbit * 1e6 / 8, delay_s=message_s, density=self.density)
        arguments = ({"fp32": "ddp", "bf16": "ddp"}.get(method, method), self.hosts, WEIGHTS, work, costs)
        return exchange_s(*arguments), bytes_sent(*arguments)


def read(path: Path) -> list[Measured]:
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        Measured(
            int(row["hosts"]), float(row["mbit"]), row["method"], float(row["seconds"]), float(row["bytes"]),
            float(row["density"] or 0),
        )
        for row in rows
    ]  # fmt: skip


def fitted(rows: list[Measured]) -> float:
    """Seconds of a message: the weighted median, which makes the sum of |modelled / measured - 1| least."""
    lines = []
    for row in rows:
        base, slope = row.modelled(0.0)[0], row.modelled(1.0)[0] - row.modelled(0.0)[0]
        lines.append(((row.seconds - base) / slope, slope / row.seconds))
    lines.sort()
    half, so_far = sum(weight for _, weight in lines) / 2, 0.0
    for value, weight in lines:
        so_far += weight
        if so_far >= half:
            return max(0.0, value)
    raise ValueError("nothing to fit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, nargs="?", default=Path(__file__).with_name("network.csv"))
    parser.add_argument("--on", type=float, default=1000.0, help="rate to fit on, Mbit/s (default 1000)")
    arguments = parser.parse_args()
    rows = read(arguments.table)
    message_s = fitted([row for row in rows if row.mbit == arguments.on])
    print(f"a message takes {1e3 * message_s:.2f} ms, by the rows at {arguments.on:g} Mbit/s")
    for row in sorted(rows, key=lambda row: (row.mbit != arguments.on, row.mbit, row.hosts)):
        seconds, sent = row.modelled(message_s)
        errors = f"{100 * (seconds / row.seconds - 1):+4.0f} %, bytes {100 * (sent / row.bytes - 1):+3.0f} %"
        place = f"{row.mbit:5g} Mbit/s, {row.hosts} hosts, {row.method}"
        print(f"{place:45} measured {row.seconds:9.5f} s, modelled {seconds:9.5f} s: {errors}")


if __name__ == "__main__":
    main()
