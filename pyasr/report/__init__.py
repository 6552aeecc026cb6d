"""The report: one HTML page of a run that needs nothing but a browser."""

from pyasr.report.page import write_report

__all__ = ["write_report"]
