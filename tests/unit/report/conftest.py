"""An experiment folder with everything a report shows, made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyasr.base.artifact import write_json, write_jsonl
from pyasr.decode.score import results_json, score_utterance

WORDS = ["GO", "ENTER", "SIX", "SEVEN", "A", "B", "C", "ERASE", "RUBOUT", "APRIL", "TWENTY"]
SYSTEMS = {"mono": 0.12, "tri": 0.08, "tri_sat": 0.05}
CONDITIONS = {"clean": 1.0, "snr20": 1.4, "snr10": 2.5, "snr5": 4.0}


def _score_rows(error_p: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for speaker in range(8):
        for number in range(6):
            ref = list(rng.choice(WORDS, rng.integers(2, 9)))
            hyp = []
            for word in ref:
                draw = rng.random()
                if draw < error_p * 0.6:
                    hyp.append(str(rng.choice(WORDS)))
                elif draw > error_p:
                    hyp.append(word)
                if rng.random() < error_p * 0.2:
                    hyp.append(str(rng.choice(WORDS)))
            rows.append(score_utterance(f"spk{speaker}-{number}", f"spk{speaker}", ref, hyp))
    return rows


def _stage(name: str, minute: int, seconds: float, memory_mb: float, options: dict, digest: dict) -> dict[str, Any]:
    return {
        "stage": name,
        "fingerprint": "f" * 64,
        "revision": "0123456789ab",
        "inputs": {},
        "identity": {"version": 1, "options": options, "external": {}, "inputs": {}},
        "started": f"2026-01-02T03:{minute:02d}:05+00:00",
        "seconds": seconds,
        "peak_memory_mb": memory_mb,
        "disk_mb": 12.5,
        "digest": digest,
    }


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    """Results, scores, curves, sidecars and skips of three systems in four conditions; no alignments."""
    folder = tmp_path / "exp"
    rng = np.random.default_rng(0)
    scored = {
        system: {name: _score_rows(min(0.9, p * factor), rng) for name, factor in CONDITIONS.items()}
        for system, p in SYSTEMS.items()
    }
    for system, conditions in scored.items():
        for condition, rows in conditions.items():
            write_jsonl(folder / "score" / system / f"{condition}.jsonl", rows)
    write_json(
        folder / "results.json",
        {
            "schema": 1,
            "recipe": "an4",
            "revision": "0123456789ab",
            "seed": 1,
            "fold": None,
            "wall_s": 412.0,
            "stages": {},
            "wer": results_json(scored),
        },
    )
    for system, top in (("mono", 1000), ("tri", 5000)):
        write_jsonl(
            folder / "gmm" / system / "log.jsonl",
            (
                {
                    "iteration": i,
                    "loglike_per_frame": -110 + 14 * (1 - 0.9**i),
                    "num_gauss": min(top, 120 + 40 * i),
                    "frames": 256000,
                }
                for i in range(1, 36)
            ),
        )
    stages = [
        _stage("corpus", 0, 3.2, 180, {"seed": 1, "corpus.kind": "an4", "corpus.fold": None}, {"utterances": 1078}),
        _stage("features", 1, 8.1, 410, {"features.mfcc.num_ceps": 13}, {"hours": 0.806, "skipped": {}}),
        _stage("mono", 2, 95.0, 690, {"gmm.mono.num_gauss": 1000, "gmm.mono.realign": [2, 3, 4]}, {"gaussians": 1000}),
        _stage("tri", 4, 240.5, 1310, {"gmm.tri.tree.max_leaves": 500}, {"leaves": 498, "gaussians": 5000}),
    ]
    for stage in stages:
        write_json(folder / "stages" / f"{stage['stage']}.json", stage)
    write_json(folder / "stages" / "sat.started.json", {"fingerprint": "f" * 64, "inputs": {}})
    write_jsonl(
        folder / "data" / "skipped.jsonl",
        [
            {"id": "an1-a", "reason": "word not in the lexicon: NOVEMBER"},
            {"id": "an2-b", "reason": "audio missing: x.wav"},
            {"id": "an3-c", "reason": "word not in the lexicon: THIRTEEN"},
        ],
    )
    return folder
