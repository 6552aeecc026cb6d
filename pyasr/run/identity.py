"""What a stage's result depends on, as plain values that can be kept, compared and explained.

The fingerprint of a stage is a digest of: its version, its options, the identity of the corpus and noise
folders it reads, and the fingerprints of its input stages. The parts are kept beside it in the sidecar, so
that a difference can be told in words.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyasr.base.artifact import digest, digest_file, plain
from pyasr.run.recipe import Recipe
from pyasr.run.stage import Context, Stage

_SMALL_BYTES = 16 << 20  # up to this, a folder is known by the contents of its files


@dataclass(frozen=True)
class Identity:
    """Everything that a stage's result depends on.

    options: flat, {"gmm.tri.num_leaves": 500, ...}. external: {"corpus_dir": {"path", "files", "bytes",
    "digest"} or None}. inputs: {stage: fingerprint}.
    """

    version: int
    options: dict[str, Any]
    external: dict[str, Any]
    inputs: dict[str, str]

    @property
    def fingerprint(self) -> str:
        return digest([self.version, self.options, self.external, self.inputs])


def identify(
    stage: Stage, context: Context, fingerprints: dict[str, str], folders: dict[str, Any]
) -> Identity:
    """The identity of `stage`, given the fingerprints of its inputs and what the outside folders hold."""
    return Identity(
        version=stage.version,
        options=flat_options(context.recipe, stage.options),
        external={name: folders[name] for name in stage.external},
        inputs={name: fingerprints[name] for name in stage.reads},
    )


def flat_options(recipe: Recipe, sections: tuple[str, ...]) -> dict[str, Any]:
    """The options below the dotted names `sections`, each under its full dotted name; a section that is absent, or an
    option that is not dumped, adds none."""
    flat: dict[str, Any] = {}
    for section in sections:
        value: Any = plain(recipe)
        for key in section.split("."):
            value = None if value is None else value.get(key)
        if value is not None:
            _flatten(section, value, flat)
    return flat


def _flatten(name: str, value: Any, flat: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            _flatten(f"{name}.{key}", item, flat)
    else:
        flat[name] = value


def describe_folder(path: Path | None) -> dict[str, Any] | None:
    """What is in a folder: path, files, bytes, and a digest of names with contents, or with sizes and times if large.

    The path is part of it, because manifests refer to the audio by its path.
    """
    if path is None or not path.is_dir():
        return None
    files = sorted(
        Path(root, name) for root, _, names in os.walk(path, followlinks=True) for name in names
    )
    stats = {str(file.relative_to(path)): file.stat() for file in files if file.exists()}
    size = sum(stat.st_size for stat in stats.values())
    if size <= _SMALL_BYTES:
        known: Any = {name: digest_file(path / name) for name in stats}
    else:
        known = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
    return {"path": str(path.resolve()), "files": len(stats), "bytes": size, "digest": digest(known)}


def differences(old: Identity, new: Identity) -> list[str]:
    """In words, what changed from `old` to `new`; empty when their fingerprints are equal."""
    reasons = []
    if old.version != new.version:
        reasons.append(f"the stage's version changed {old.version} -> {new.version}")
    for name in sorted(old.options.keys() | new.options.keys()):
        before, after = old.options.get(name, "(absent)"), new.options.get(name, "(absent)")
        if before != after:
            reasons.append(f"{name} changed {_show(before)} -> {_show(after)}")
    for name in sorted(old.external.keys() | new.external.keys()):
        reasons += _folder_change(name, old.external.get(name), new.external.get(name))
    for name in sorted(old.inputs.keys() | new.inputs.keys()):
        if old.inputs.get(name) != new.inputs.get(name):
            reasons.append(f"input stage {name} changed")
    return reasons


def _folder_change(name: str, old: Any, new: Any) -> list[str]:
    option = "--" + name.replace("_", "-")
    if old == new:
        return []
    if old is None or new is None:
        return [f"{option} is {'given now' if old is None else 'no longer given'}"]
    if old["path"] != new["path"]:
        return [f"{option} changed {old['path']} -> {new['path']}"]
    if old["files"] != new["files"]:
        return [f"{option}: {old['files']} -> {new['files']} files"]
    return [f"{option}: files changed"]


def _show(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
