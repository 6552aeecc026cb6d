"""The shape of a network, by preset or in numbers."""

from __future__ import annotations

from typing import Any

import pydantic

from pyasr.base.config import Options

PRESETS: dict[str, dict[str, Any]] = {
    "teacher": {"layers": 5, "units": 768, "bidirectional": True},
    "student": {"layers": 5, "units": 768, "bidirectional": False, "delay_frames": 3},
    "teacher-small": {"layers": 3, "units": 256, "bidirectional": True},
    "student-small": {"layers": 3, "units": 256, "bidirectional": False, "delay_frames": 3},
}
"""`teacher` and `student` are the article's: 67 M and 24.3 M parameters at 3,183 senones. The small ones train on
an hour of speech with a CPU."""


class NetworkOptions(Options):
    """An LSTM stack over senones. What a preset says can be changed key by key."""

    preset: str = pydantic.Field("student-small", description=f"one of {', '.join(PRESETS)}")
    layers: int = pydantic.Field(3, ge=1)
    units: int = pydantic.Field(256, ge=1, description="cells of a layer, in each direction")
    bidirectional: bool = False
    dropout: float = pydantic.Field(0.0, ge=0, lt=1, description="between layers and before the output")
    delay_frames: int = pydantic.Field(
        0, ge=0, le=20, description="30 ms frames that are heard before a senone is said; counts as latency"
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        preset = values.get("preset", cls.model_fields["preset"].default)
        if preset not in PRESETS:
            raise ValueError(f"preset {preset!r}: there are {', '.join(PRESETS)}")
        return {**PRESETS[preset], **values}

    @pydantic.model_validator(mode="after")
    def _check(self) -> NetworkOptions:
        if self.bidirectional and self.delay_frames:
            raise ValueError("delay_frames: a bidirectional network has heard all of the utterance; leave it at 0")
        return self


class TeacherNetworkOptions(NetworkOptions):
    """The same, a teacher's unless another preset is named."""

    preset: str = pydantic.Field("teacher-small", description=f"one of {', '.join(PRESETS)}")
