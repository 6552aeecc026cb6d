"""Sidecars: EXP/stages/NAME.json says that a stage is complete, from what it was made and what it cost.

EXP/stages/NAME.started.json says that a stage has begun and not ended; what it left may be resumed only by a
run of the same fingerprint.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyasr.base.artifact import read_json, write_json
from pyasr.base.errors import DataError
from pyasr.run.identity import Identity
from pyasr.run.stage import Stage


@dataclass(frozen=True)
class Sidecar:
    """A complete stage. started: UTC, it also tells one run of the stage from another.

    inputs: {stage: started} of the runs of the input stages that were read. shared_from: the name of the
    experiment folder in which the stage was computed, when its outputs were linked here; else empty.
    """

    stage: str
    fingerprint: str
    identity: dict[str, Any]
    inputs: dict[str, str]
    revision: str
    started: str
    seconds: float
    peak_memory_mb: float
    disk_mb: float
    digest: dict[str, Any]
    shared_from: str = ""

    @property
    def made_from(self) -> Identity:
        return Identity(**self.identity)

    def write(self, exp: Path) -> None:
        """The last thing that a stage writes."""
        write_json(_path(exp, self.stage), asdict(self))
        _started_path(exp, self.stage).unlink(missing_ok=True)


def read_sidecar(exp: Path, name: str) -> Sidecar | None:
    """The sidecar of a complete stage; None when there is none that can be read."""
    try:
        return Sidecar(**read_json(_path(exp, name)))
    except (DataError, TypeError):
        return None


def begin_stage(
    exp: Path, stage: Stage, fingerprint: str, inputs: dict[str, str], fresh: bool, shared_from: str = ""
) -> None:
    """Declare the stage incomplete; remove what an earlier run left unless that can be resumed.

    The old sidecar goes first: from here on a kill leaves a stage that has to be run. shared_from: the folder whose
    outputs are about to be linked; a run that computes never resumes from those, since to write into a linked file
    would be to write into that folder, too.
    """
    was_complete = _path(exp, stage.name).exists()  # others may have linked what it wrote
    _path(exp, stage.name).unlink(missing_ok=True)
    begun = {"fingerprint": fingerprint, "inputs": inputs, **({"shared_from": shared_from} if shared_from else {})}
    started = _started_path(exp, stage.name)
    if not fresh and not was_complete and started.exists():
        try:
            if read_json(started) == begun:
                return
        except DataError:
            pass  # damaged: nothing is known about what was left
    started.unlink(missing_ok=True)
    for name in stage.writes:
        path = exp / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    write_json(started, begun)


def disk_mb(exp: Path, stage: Stage) -> float:
    """Space of what the stage wrote, in MB (1e6 bytes)."""
    paths = [exp / name for name in stage.writes]
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return round(sum(file.stat().st_size for file in files if file.is_file()) / 1e6, 3)


def _path(exp: Path, name: str) -> Path:
    return exp / "stages" / f"{name}.json"


def _started_path(exp: Path, name: str) -> Path:
    return exp / "stages" / f"{name}.started.json"
