"""What a run left in its experiment folder, read into one object; what is not there is empty."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyasr.base.artifact import read_json, read_jsonl

Row = dict[str, Any]
SMBR = "_smbr"
"""Ends the names of systems with sequence training."""


@dataclass(frozen=True)
class Run:
    """results: EXP/results.json, {} before there is one. scores: {system: {condition: rows of the score file}}.

    curves: {system: rows of EXP/gmm/SYSTEM/log.jsonl}; networks: the same of EXP/train/SYSTEM; sequence: of those of
    them that sMBR trained.
    stages: the sidecars, in the order in which they ran.
    options: {"gmm.tri.num_leaves": 500, ...}. skips: {where: rows with id and reason}.
    """

    results: Row = field(default_factory=dict)
    scores: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    curves: dict[str, list[Row]] = field(default_factory=dict)
    networks: dict[str, list[Row]] = field(default_factory=dict)
    sequence: dict[str, list[Row]] = field(default_factory=dict)
    stages: list[Row] = field(default_factory=list)
    options: Row = field(default_factory=dict)
    skips: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def conditions(self) -> list[str]:
        """All conditions, in the order of the results."""
        return list(dict.fromkeys(name for row in self.results.get("wer", {}).values() for name in row))

    @property
    def best_system(self) -> str | None:
        """The system with the fewest errors in the first condition."""
        wer = {s: next(iter(row.values()))["wer"] for s, row in self.results.get("wer", {}).items() if row}
        return min(wer, key=wer.__getitem__) if wer else None


def collect(exp: Path) -> Run:
    """Read a run; DataError names a file that is damaged."""
    results = read_json(exp / "results.json") if (exp / "results.json").exists() else {}
    sidecars = [read_json(path) for path in sorted((exp / "stages").glob("*.json"))]
    stages = sorted((row for row in sidecars if "seconds" in row), key=lambda row: row.get("started", ""))
    scores = _scores(exp, results)
    trained = _curves(exp / "train", ["teacher", "supervised", "student", "topline"])
    return Run(
        results=results,
        scores=scores,
        curves=_curves(exp / "gmm", ["mono", "tri", "lda", "sat"]),
        networks={system: rows for system, rows in trained.items() if not system.endswith(SMBR)},
        sequence={system: rows for system, rows in trained.items() if system.endswith(SMBR)},
        stages=stages,
        options=_options(stages),
        skips=_skips(exp, scores),
    )


def _scores(exp: Path, results: Row) -> dict[str, dict[str, list[Row]]]:
    """In the order of the results; files that the results do not name are of another run and left alone."""
    return {
        system: {
            condition: read_jsonl(path)
            for condition in conditions
            if (path := exp / "score" / system / f"{condition}.jsonl").exists()
        }
        for system, conditions in results.get("wer", {}).items()
    }


def _curves(folder: Path, order: list[str]) -> dict[str, list[Row]]:
    """In the order in which the systems are trained."""
    paths = sorted(folder.glob("*/log.jsonl"), key=lambda path: path.stat().st_mtime)
    paths.sort(key=lambda path: order.index(path.parent.name) if path.parent.name in order else len(order))
    return {path.parent.name: read_jsonl(path) for path in paths}


def _options(stages: list[Row]) -> Row:
    options: Row = {}
    for identity in (stage.get("identity", {}) for stage in stages):
        options.update({name: folder["path"] for name, folder in identity.get("external", {}).items() if folder})
        options.update(identity.get("options", {}))
    return options


def _skips(exp: Path, scores: dict[str, dict[str, list[Row]]]) -> dict[str, list[Row]]:
    """Every list of skipped items that a stage left, and what could not be decoded."""
    skips = {
        str(path.parent.relative_to(exp)): rows
        for path in sorted(exp.glob("*/**/skipped.jsonl"))
        if (rows := read_jsonl(path))
    }
    for system, conditions in scores.items():
        for condition, rows in conditions.items():
            failed = [{"id": row["id"], "reason": row["failed"]} for row in rows if row.get("failed")]
            if failed:
                skips[f"decoding: {system}, {condition}"] = failed
    return skips
