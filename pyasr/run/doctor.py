"""What is installed, what is missing, and how to get it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from pyasr.run.revision import revision

_NEEDED = (
    "numpy", "torch", "lhotse", "kaldifst", "kaldilm", "kaldi-decoder", "kaldi-native-fbank", "kaldialign",
    "soundfile", "pydantic", "typer", "rich", "matplotlib",
)
_MODULES = {"kaldi-decoder": "kaldi_decoder", "kaldi-native-fbank": "kaldi_native_fbank"}
_LOW_DISK_GB = 2


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, what to do. fatal: recipes cannot run like this."""

    subject: str
    state: str
    advice: str = ""
    fatal: bool = False


def check() -> list[Finding]:
    """Look at everything that recipes use. Each library is imported, since one that installs may not load."""
    findings = [
        Finding("pyasr", revision()),
        Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        _native_core(),
        *(_library(name) for name in _NEEDED),
        _cuda(),
        _k2(),
        _espeak(),
        _extra("export", ("onnx", "onnxruntime", "kaldi_native_io")),
        _extra("dask", ("distributed", "dask_jobqueue")),
        _machine(),
        _disk(),
    ]
    return findings


def _native_core() -> Finding:
    try:
        core = importlib.import_module("pyasr._core")
    except ImportError as error:
        return Finding("native core", f"missing ({error})", "pip install .", fatal=True)
    try:
        return Finding("native core", f"ok, instruction set {core.active_isa()} (PYASR_ISA lowers it)")
    except ValueError as error:
        return Finding("native core", str(error), "unset PYASR_ISA", fatal=True)


def _library(name: str) -> Finding:
    try:
        importlib.import_module(_MODULES.get(name, name))
        return Finding(name, importlib.metadata.version(name))
    except Exception as error:  # a broken library may raise anything when it is loaded
        advice = f"pip install --force-reinstall {name}"
        return Finding(name, f"missing or broken ({_short(error)})", advice, fatal=True)


def _cuda() -> Finding:
    try:
        import torch
    except Exception:
        return Finding("CUDA", "unknown: torch does not load")
    if not torch.cuda.is_available():
        return Finding("CUDA", "no device; everything here runs on the CPU")
    devices = f"{torch.version.cuda}, {torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    try:
        from pyasr.ops import cuda
    except ImportError:
        return Finding("CUDA", devices)  # the native core is missing: that is said above
    if not cuda.is_built():
        return Finding("CUDA", f"{devices}; pyasr was built without its CUDA kernels", cuda.HOW_TO_BUILD)
    return Finding("CUDA", f"{devices}; pyasr's kernels are there")


def _k2() -> Finding:
    try:
        from pyasr.decode.k2_install import k2_advice
    except Exception:
        return Finding("k2 (optional)", "unknown: torch does not load")
    try:
        has_cuda, version = importlib.import_module("k2").with_cuda, importlib.import_module("k2.version").__version__
        return Finding("k2 (optional)", f"{version}, {'with' if has_cuda else 'without'} CUDA")
    except ModuleNotFoundError:
        state = "not installed; kaldi-decoder is used"
    except Exception as error:  # built for another torch, it fails to load in many ways
        state = f"installed but does not load ({_short(error)}); kaldi-decoder is used"
    return Finding("k2 (optional)", state, k2_advice())


def _espeak() -> Finding:
    try:
        importlib.import_module("espeakng_loader")
        return Finding("espeak-ng (demo)", importlib.metadata.version("espeakng-loader"))
    except Exception as error:
        return Finding("espeak-ng (demo)", f"missing ({_short(error)})", "pip install '.[demo]', for the demo alone")


def _extra(name: str, modules: tuple[str, ...]) -> Finding:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        return Finding(f"{name} (optional)", f"missing: {', '.join(missing)}", f"pip install '.[{name}]'")
    return Finding(f"{name} (optional)", "ok")


def _machine() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if hasattr(os, "sysconf") and sys.platform != "darwin":
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.1f} GB of memory"
    return Finding("machine", f"{cores} cores{memory}")


def _disk() -> Finding:
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    advice = "choose another place with --exp" if free_gb < _LOW_DISK_GB else ""
    return Finding("disk here", f"{free_gb:.1f} GB free", advice)


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:100] if lines else type(error).__name__
