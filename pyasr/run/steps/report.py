"""The page, from `pyasr.report`."""

from __future__ import annotations

from pyasr.report import write_report
from pyasr.run.stage import Context, Digest


def write(context: Context) -> Digest:
    """report.html"""
    page = context.exp / "report.html"
    write_report(context.exp, page)
    return {}
