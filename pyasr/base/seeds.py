"""Randomness as a function of what it is for, never of order, worker or machine."""

from __future__ import annotations

import hashlib

import numpy as np


def rng(seed: int, *key: str | int) -> np.random.Generator:
    """A generator that depends on `seed` and `key` alone, for example rng(seed, "noise", epoch, cut_id).

    Philox keyed by SHA-256: the streams of different keys are independent for every purpose here, and
    equal on every platform.
    """
    material = "\x1f".join([str(int(seed)), *(f"{type(part).__name__}:{part}" for part in key)])
    philox_key = hashlib.sha256(material.encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(philox_key, "little")))
