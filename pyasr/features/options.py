"""Options of the features; what has no option here is Kaldi's default."""

from __future__ import annotations

import pydantic

from pyasr.base.config import Options

SAMPLING_RATE = 16000
"""Hz; everything is brought to this rate when it is read."""

FRAME_SHIFT_S = 0.01
"""Frames at 10 ms, windows of 25 ms."""


class MfccOptions(Options):
    """Mel-frequency cepstra as Kaldi's recipes have them: no energy coefficient, C0 instead."""

    num_ceps: int = pydantic.Field(13, ge=2)
    num_mel_bins: int = pydantic.Field(23, ge=4, le=80)
    low_hz: float = pydantic.Field(20.0, ge=0)
    high_hz: float = pydantic.Field(0.0, le=SAMPLING_RATE / 2, description="0: half the sampling rate")
    cepstral_lifter: float = pydantic.Field(22.0, ge=0)

    @pydantic.model_validator(mode="after")
    def _check(self) -> MfccOptions:
        if self.num_ceps > self.num_mel_bins:
            raise ValueError(f"num_ceps {self.num_ceps} is more than num_mel_bins {self.num_mel_bins}")
        return self


class LfbeOptions(Options):
    """Log mel filterbank energies for networks, and how many frames are stacked into one."""

    num_mel_bins: int = pydantic.Field(64, ge=4, le=80)
    low_hz: float = pydantic.Field(20.0, ge=0)
    high_hz: float = pydantic.Field(0.0, le=SAMPLING_RATE / 2, description="0: half the sampling rate")
    stack: int = pydantic.Field(3, ge=1)


class FeatureOptions(Options):
    """Section `features` of a recipe."""

    mfcc: MfccOptions = MfccOptions()
    lfbe: LfbeOptions = LfbeOptions()
    skip_limit: float = pydantic.Field(0.05, ge=0, le=1, description="largest fraction of cuts skipped")
