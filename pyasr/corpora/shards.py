"""A part of a corpus in a folder of manifests, each read and written by itself: a part of any size."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from lhotse import MonoCut

from pyasr.base.artifact import read_json, write_json
from pyasr.base.errors import DataError
from pyasr.base.executor import iterate_jobs
from pyasr.corpora.manifest import write_cuts

_ENDS = re.compile(r"\.jsonl(\.gz)?$")

SkipRows = list[dict[str, str]]
Change = Callable[[Path], tuple[list[MonoCut], SkipRows]]
"""From a manifest the cuts that are kept, and rows of those left out."""


@dataclass
class Size:
    """Of what was written, and rows of what was left out."""

    utterances: int = 0
    hours: float = 0.0
    skips: SkipRows = field(default_factory=list)


def manifest_names(folder: str | Path) -> list[str]:
    """The manifests (.jsonl, .jsonl.gz) of a folder. DataError when there are none, or two of one part."""
    try:
        names = sorted(name for name in os.listdir(folder) if _ENDS.search(name))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error
    if not names:
        raise DataError(f"{folder}: holds no manifests (.jsonl or .jsonl.gz)")
    parts: dict[str, str] = {}
    for name in names:
        other = parts.setdefault(part_of(name), name)
        if other != name:
            raise DataError(f"{folder}: {other} and {name} would both be part {part_of(name)}; rename one")
    return names


def part_of(manifest: str) -> str:
    """What a manifest is known by, from its file name: split.0001.jsonl.gz is part split_0001."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", _ENDS.sub("", manifest))


def rewrite(folder: Path, target: Path, change: Change, executor: Executor, what: str) -> Size:
    """Write each manifest of a folder to `target` as `change` makes it; several at once, each in memory by itself.

    A file NAME.json beside each says that it is done, and what `Size` it has: who was killed goes on with the others.
    """
    total = Size()
    paths = [folder / name for name in manifest_names(folder)]
    for size in iterate_jobs(executor, partial(_rewrite_one, change, target), paths, what, unit="manifest"):
        total.utterances += size.utterances
        total.hours += size.hours
        total.skips += size.skips
    return total


def _rewrite_one(change: Change, target: Path, path: Path) -> Size:
    name = _ENDS.sub("", path.name)
    if (done := target / f"{name}.json").exists():
        return Size(**read_json(done))
    cuts, skips = change(path)
    size = Size(len(cuts), sum(cut.duration for cut in cuts) / 3600, skips)
    write_cuts(target / f"{name}.jsonl.gz", cuts)
    write_json(done, asdict(size))
    return size
