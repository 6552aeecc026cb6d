"""Stages that do not differ are shared between experiment folders: linked, not computed again.

A stage may be taken over from another folder when it is complete there and has the same fingerprint, that is the
same version, options, outside folders and inputs. Files are linked (copied across file systems); every writer
here writes a new file and renames it, so a rerun in one folder leaves the other's files as they were.

Not shared are outputs that mention the folder that they lie in (manifests of synthesised audio do, by its path):
they would tie one run to another that may be changed or removed. Plain and gzipped files are searched for the path;
artifacts that are compressed otherwise hold numbers only.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pyasr.base.artifact import atomic_dir, atomic_path
from pyasr.base.errors import DataError
from pyasr.run.console import say
from pyasr.run.sidecar import Sidecar, begin_stage, read_sidecar
from pyasr.run.stage import Stage

_BLOCK_BYTES = 1 << 24


def share_stage(
    stage: Stage, fingerprint: str, inputs: dict[str, str], exp: Path, others: Sequence[Path]
) -> Sidecar | None:
    """Link the outputs of `stage` from the first of `others` that holds them, and write its sidecar in `exp`.

    inputs: {stage: started} of the input stages in `exp`. None: nobody has it, or not so that it can be shared; the
    stage then has to be computed, whatever an attempt here left (`begin_stage` removes it).
    """
    for other in others:
        found = read_sidecar(other, stage.name)
        if found is None or found.fingerprint != fingerprint or stage.missing_outputs(other):
            continue
        if bound := _bound_to(stage, other):
            say(f"  not shared from {other.name}: {bound} refers to its folder")
            return None  # so it will be in every other folder
        begin_stage(exp, stage, fingerprint, inputs, fresh=True, shared_from=other.name)
        if not _link_outputs(stage, other, exp):
            continue
        # A rerun over there removes its sidecar first: while that is the same, all that was linked is of that run.
        again = read_sidecar(other, stage.name)
        if again is None or again.started != found.started or stage.missing_outputs(exp):
            continue
        sidecar = replace(found, inputs=inputs, shared_from=other.name)
        sidecar.write(exp)
        return sidecar
    return None


def _bound_to(stage: Stage, exp: Path) -> str | None:
    """The first output that refers to the folder that it lies in, or that cannot be read."""
    for path in _files(stage, exp):
        try:
            bound = path.is_symlink() or mentions(path, exp)
        except (OSError, EOFError):
            bound = True  # it is being removed, or damaged
        if bound:
            return str(path.relative_to(exp))
    return None


def _files(stage: Stage, exp: Path) -> Iterator[Path]:
    for name in stage.writes:
        path = exp / name
        if path.is_dir():
            yield from (item for item in sorted(path.rglob("*")) if item.is_symlink() or item.is_file())
        else:
            yield path


def mentions(path: Path, folder: Path) -> bool:
    """Whether the content of a file, unpacked if it ends in .gz, holds the path of `folder` (as JSON has it, too)."""
    name = str(folder)
    needles = {name.encode(), json.dumps(name)[1:-1].encode()}
    overlap = max(map(len, needles)) - 1
    with (gzip.open(path) if path.suffix == ".gz" else open(path, "rb")) as stream:
        tail = b""
        while block := stream.read(_BLOCK_BYTES):
            text = tail + block
            if any(needle in text for needle in needles):
                return True
            tail = text[-overlap:]
    return False


def _link_outputs(stage: Stage, source: Path, target: Path) -> bool:
    """False when something vanished meanwhile."""
    try:
        for name in stage.writes:
            if (source / name).is_dir():
                with atomic_dir(target / name) as folder:
                    for item in sorted((source / name).rglob("*")):
                        path = folder / item.relative_to(source / name)
                        path.mkdir() if item.is_dir() else _link(item, path)
            else:
                with atomic_path(target / name) as path:
                    path.unlink()
                    _link(source / name, path)
    except FileNotFoundError:
        return False
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return False
        raise
    return True


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, one without links, or too many of them
        shutil.copy2(source, target)
