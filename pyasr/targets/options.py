"""Options of the posterior store: section `targets` of a recipe."""

from __future__ import annotations

from typing import Literal

import pydantic

from pyasr.base.config import Options


class TargetOptions(Options):
    """What of the teacher's posteriors is stored.

    stacking: "all": those of every stacking phase, three times the space, so that the student hears what the
    teacher heard; "first": phase 0 alone, for teacher and student; "tied": phase 0 is stored, and the student
    learns from it at every phase.
    """

    k: int = pydantic.Field(20, ge=1, le=64, description="best posteriors of a frame")
    stacking: Literal["all", "first", "tied"] = "all"
    temperature: float = pydantic.Field(1.0, gt=0, description="divides the teacher's logits, for good")
    skip_limit: float = pydantic.Field(0.05, ge=0, le=1, description="largest fraction of cuts not labelled")
