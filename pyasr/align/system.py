"""A trained Gaussian system: everything that alignment and decoding need, in one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.align.frontend import Frontend
from pyasr.align.gmm import DiagGmm
from pyasr.align.tree import Tree
from pyasr.base.artifact import atomic_dir, load_arrays, read_json, save_arrays, write_json
from pyasr.base.errors import DataError
from pyasr.lang.context import MonophoneContext
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel

_VERSION = 2


@dataclass(frozen=True)
class GmmSystem:
    """unadapted: for a system trained on adapted features, the mixtures of the same components for features
    without a transform, used to find a speaker's first transform; None otherwise."""

    phones: PhoneTable
    topology: Topology
    context: MonophoneContext | Tree
    transitions: TransitionModel
    frontend: Frontend
    gmm: DiagGmm
    unadapted: DiagGmm | None = None

    def loglikes(
        self,
        mfcc: np.ndarray,
        cmvn: np.ndarray,
        transform: np.ndarray | None = None,
        pdfs: np.ndarray | None = None,
    ) -> np.ndarray:
        """log p(x_t | pdf), natural log, float32 (T, P) (or the columns `pdfs`) of an utterance.

        mfcc: float32 (T, 13). cmvn: the speaker's mean and standard deviation (2, 13).
        transform: the speaker's fMLLR (D, D + 1); without one the unadapted mixtures are used where there
        are any.
        """
        gmm = self.unadapted if transform is None and self.unadapted is not None else self.gmm
        return gmm.loglikes(self.frontend(mfcc, cmvn, transform), pdfs)

    def save(self, folder: str | Path) -> None:
        """Write system.json and model.npz, atomically."""
        with atomic_dir(folder) as temporary:
            write_json(temporary / "system.json", self.description())
            save_arrays(temporary / "model.npz", **self.to_arrays())

    @classmethod
    def load(cls, folder: str | Path) -> GmmSystem:
        """Read what `save` wrote; DataError names the file that is missing or damaged."""
        folder = Path(folder)
        description, arrays = read_json(folder / "system.json"), load_arrays(folder / "model.npz")
        try:
            return cls.from_parts(description, arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder}: damaged system ({error!r}); run the stage that writes it again") from error

    def description(self) -> dict[str, Any]:
        """All that is not an array, for JSON."""
        return {
            "version": _VERSION,
            "phones": self.phones.to_dict(),
            "topology": self.topology.model_dump(),
            "tree": self.context.to_dict() if isinstance(self.context, Tree) else None,
            "splice_frames": self.frontend.splice_frames,
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"gmm.{name}": array for name, array in self.gmm.to_arrays().items()}
        arrays |= {f"transitions.{name}": array for name, array in self.transitions.to_arrays().items()}
        if self.unadapted is not None:
            arrays |= {f"unadapted.{name}": array for name, array in self.unadapted.to_arrays().items()}
        if self.frontend.matrix is not None:
            arrays["frontend.matrix"] = self.frontend.matrix
        return arrays

    @classmethod
    def from_parts(cls, description: dict[str, Any], arrays: dict[str, np.ndarray]) -> GmmSystem:
        """The inverse of `description` and `to_arrays`."""
        if description["version"] != _VERSION:
            raise ValueError(f"format {description['version']}, expected {_VERSION}")

        def group(prefix: str) -> dict[str, np.ndarray]:
            return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}

        phones, topology = PhoneTable.from_dict(description["phones"]), Topology(**description["topology"])
        tree = description["tree"]
        unadapted = group("unadapted.")
        return cls(
            phones,
            topology,
            MonophoneContext(phones, topology) if tree is None else Tree.from_dict(tree),
            TransitionModel.from_arrays(group("transitions.")),
            Frontend(description["splice_frames"], arrays.get("frontend.matrix")),
            DiagGmm.from_arrays(group("gmm.")),
            DiagGmm.from_arrays(unadapted) if unadapted else None,
        )
