"""One interface to the recognisers of all kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from pyasr.base.errors import ConfigError, DataError
from pyasr.decode.model_dir import GmmModel, NetworkModel
from pyasr.transcribe.gmm import GmmRecogniser
from pyasr.transcribe.network import NetworkRecogniser
from pyasr.transcribe.transcript import Transcript


class Recogniser(Protocol):
    """Whole recordings to words."""

    def transcribe(self, samples_by_name: Mapping[str, np.ndarray]) -> dict[str, Transcript | DataError]:
        """Recognise the recordings of one speaker: samples (n,) float32 at 16 kHz by name."""
        ...


def make_recogniser(model: GmmModel | NetworkModel, precision: str = "fp32") -> Recogniser:
    """The recogniser of a model's kind; ConfigError where it does not have the precision."""
    if isinstance(model, NetworkModel):
        return NetworkRecogniser(model, precision)
    if precision != "fp32":
        raise ConfigError(f"{model.folder}: a Gaussian system has no {precision} form; leave --precision away")
    return GmmRecogniser(model)
