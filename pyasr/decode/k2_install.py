"""k2, if it is there, and how to get it: pip alone finds only a wheel for torch 1.13."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

from pyasr.base.errors import ConfigError

_BUILDS = (((2, 13), "1.24.4.dev20260710"), ((0, 0), "1.24.4.dev20260625"))
"""From which torch on the site of k2 has which build as its newest (in summer 2026)."""


def import_k2() -> ModuleType:
    """The module; ConfigError says how to get it when it is missing or does not load: one for another torch does
    not."""
    try:
        return importlib.import_module("k2")
    except Exception as error:  # built for another torch, it fails to load in many ways
        absent = isinstance(error, ModuleNotFoundError) and error.name == "k2"
        state = "is not installed" if absent else f"does not load ({str(error).partition(chr(10))[0][:200]})"
        raise ConfigError(f"backend = 'k2': k2 {state}; backend = 'kaldi' does without, or: {k2_advice()}") from error


def k2_advice() -> str:
    """How to get it for the torch at hand."""
    command = k2_command(torch.__version__, torch.version.cuda)
    return f"{command} (if that page has no such wheel, take its newest for this torch)"


def k2_command(torch_version: str, cuda: str | None) -> str:
    """The command that installs k2 for a version of torch and of the CUDA it was built for (None: for the CPU).

    k2's site has wheels for exact pairs: https://k2-fsa.github.io/k2/installation/from_wheels.html.
    """
    number = torch_version.partition("+")[0]
    release = tuple(int(part) for part in number.split(".")[:2])
    build = next(build for since, build in _BUILDS if release >= since)
    built_for, page = (f"cuda{cuda}", "cuda") if cuda else ("cpu", "cpu")
    return f"pip install k2=={build}+{built_for}.torch{number} -f https://k2-fsa.github.io/k2/{page}.html"
