"""A trained network with all that it takes to use it, in one folder.

    network.json   {"version", "options", "num_senones", "parameters", "frontend", "senones" (their fingerprint)}
    weights.pt     the state_dict of the AcousticModel, priors included; read with weights_only=True
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pyasr.base.artifact import atomic_dir, read_json, write_json
from pyasr.base.errors import DataError
from pyasr.features.network import NetworkFrontend
from pyasr.features.stack import stack_frames
from pyasr.nn.model import AcousticModel
from pyasr.nn.options import NetworkOptions

_VERSION = 1


@dataclass(frozen=True)
class Network:
    """senones: fingerprint of the senones that the outputs stand for."""

    model: AcousticModel
    frontend: NetworkFrontend
    senones: str

    def log_posteriors(self, samples: np.ndarray, phase: int = 0) -> np.ndarray:
        """Natural-log posteriors (T, S) float32 of the stacked frames of samples (n,) float32 at 16 kHz."""
        return self.log_posteriors_of(self.frontend.stacked(samples, phase))

    def log_posteriors_of(self, stacked: np.ndarray) -> np.ndarray:
        """The same of stacked frames (T, D) float32."""
        return self.model.log_posteriors(torch.from_numpy(stacked)).numpy()

    def phase_log_posteriors(self, samples: np.ndarray, phases: int) -> np.ndarray:
        """Natural-log posteriors (R, S) float32 of samples (n,) at several stacking phases.

        phases: 1, the stacks of phase 0; or as many as frames are stacked: a stack beginning at every 10 ms frame,
        row j * phases + p being stack j of phase p.
        """
        frames, stack = self.frontend.frames(samples), self.frontend.options.stack
        if phases == 1:
            return self.log_posteriors_of(stack_frames(frames, stack))
        num_rows = max(0, len(frames) - stack + 1)
        logp = np.empty((num_rows, self.model.num_senones), np.float32)
        for phase in range(min(phases, num_rows)):
            logp[phase::phases] = self.log_posteriors_of(stack_frames(frames, stack, phase))
        return logp

    def offline_log_posteriors(self, samples: np.ndarray, average_phases: bool) -> np.ndarray:
        """Log-posteriors (T, S) float32 for a search that need not follow live audio.

        average_phases: of a bidirectional network, the mean of the stacks that begin less than half a stack before or
        behind each frame's (-10, 0 and 10 ms with 3), which takes as many times the work. A forward-only network is
        left as it is on live audio.
        """
        if not (average_phases and self.model.options.bidirectional):
            return self.log_posteriors(samples)
        stack = self.frontend.options.stack
        logp = self.phase_log_posteriors(samples, stack)
        if stack == 1 or not len(logp):
            return logp
        before, num_frames = (stack - 1) // 2, -(-len(logp) // stack)
        padded = np.pad(logp, ((before, stack - 1), (0, 0)), mode="edge")[: num_frames * stack]
        return padded.reshape(num_frames, stack, -1).mean(axis=1)

    @property
    def log_priors(self) -> np.ndarray:
        """float32 (S,)"""
        return self.model.log_priors.numpy()

    def save(self, folder: str | Path) -> None:
        """Write the folder, atomically."""
        with atomic_dir(folder) as temporary:
            torch.save(self.model.state_dict(), temporary / "weights.pt")
            description = {
                "version": _VERSION,
                "options": self.model.options,
                "num_senones": self.model.num_senones,
                "parameters": self.model.num_parameters,
                "frontend": self.frontend.to_dict(),
                "senones": self.senones,
            }
            write_json(temporary / "network.json", description)

    @classmethod
    def load(cls, folder: str | Path) -> Network:
        """Read what `save` wrote, in eval mode on the CPU; DataError names what is missing or damaged."""
        folder = Path(folder)
        values = read_json(folder / "network.json")
        try:
            if values["version"] != _VERSION:
                raise ValueError(f"format {values['version']}, expected {_VERSION}")
            frontend = NetworkFrontend.from_dict(values["frontend"])
            model = AcousticModel(frontend.dim, int(values["num_senones"]), NetworkOptions(**values["options"]))
            senones = str(values["senones"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder}/network.json: damaged ({error}); run the stage that writes it again") from error
        try:
            model.load_state_dict(torch.load(folder / "weights.pt", map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
            raise DataError(f"{folder}/weights.pt: missing or damaged ({error}); run the stage again") from error
        return cls(model.eval(), frontend, senones)
