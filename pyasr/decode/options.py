"""Options of search and of the choice of scales."""

from __future__ import annotations

from typing import Literal

import pydantic

from pyasr.base.config import GrownOptions

Backend = Literal["kaldi", "k2"]


class SearchOptions(GrownOptions):
    """What all searches in graphs have. k2 is not installed with pyasr; it uses a GPU where there is one."""

    newer = ("backend",)
    backend: Backend = pydantic.Field("kaldi", description="library that searches: kaldi (kaldi-decoder) or k2")


class DecodeOptions(SearchOptions):
    """Section `decode` of a recipe. The cost of a path is graph + word_penalty * words - log-likelihood / lm_weight."""

    beam: float = pydantic.Field(13.0, gt=0, description="paths this far above the best are dropped (cost)")
    max_active: int = pydantic.Field(7000, gt=20, description="states kept a frame")
    lm_weights: tuple[float, ...] = pydantic.Field((7.0, 9.0, 11.0, 13.0, 15.0, 17.0, 20.0, 23.0), min_length=1)
    word_penalties: tuple[float, ...] = pydantic.Field((0.0, 0.5, 1.0), min_length=1, description="cost of a word")
    skip_limit: float = pydantic.Field(0.05, ge=0, le=1, description="largest fraction of utterances not decoded")

    @pydantic.field_validator("lm_weights")
    @classmethod
    def _positive(cls, lm_weights: tuple[float, ...]) -> tuple[float, ...]:
        if min(lm_weights) <= 0:
            raise ValueError("every lm_weight has to be above 0")
        return lm_weights


class NetworkDecodeOptions(DecodeOptions):
    """Section `decode_network`: the same for networks, whose frames are three times as long."""

    lm_weights: tuple[float, ...] = pydantic.Field((0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), min_length=1)
    prior_scale: float = pydantic.Field(1.0, ge=0, description="log-likelihood = log-posterior - this * log-prior")
    average_phases: bool = pydantic.Field(
        False, description="of bidirectional networks: see `pyasr.nn.network.Network.offline_log_posteriors`"
    )
    transition_scale: float = pydantic.Field(0.3, ge=0, description="of transition log-probabilities in the graph")
