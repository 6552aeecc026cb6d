"""The HMM topology: how many left-to-right states a phone has."""

from __future__ import annotations

import pydantic

from pyasr.base.config import Options


class Topology(Options):
    """Left-to-right states without skips. Three states at 10 ms, one at 30 ms, keep a phone's minimum duration."""

    states: int = pydantic.Field(3, ge=1, description="states of a phone")
    silence_states: int = pydantic.Field(3, ge=1, description="states of silence")

    def num_states(self, phone_id: int, silence_id: int) -> int:
        return self.silence_states if phone_id == silence_id else self.states
