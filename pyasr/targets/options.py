"""Options of the posterior store: section `targets` of a recipe."""

from __future__ import annotations

from typing import Literal

import pydantic

from pyasr.base.config import GrownOptions
from pyasr.decode.options import SearchOptions


class TargetOptions(GrownOptions):
    """What of the teacher's posteriors is stored.

    stacking: "all": those of every stacking phase, three times the space, so that the student hears what the
    teacher heard; "first": phase 0 alone, for teacher and student; "tied": phase 0 is stored, and the student
    learns from it at every phase.

    store: folder or URL of one that `python -m pyasr.targets label` has made, with the teacher of this run and these
    options; absent: the stage `label` makes one.
    """

    newer = ("store",)
    k: int = pydantic.Field(20, ge=1, le=64, description="best posteriors of a frame")
    stacking: Literal["all", "first", "tied"] = "all"
    temperature: float = pydantic.Field(1.0, gt=0, description="divides the teacher's logits, for good")
    skip_limit: float = pydantic.Field(0.05, ge=0, le=1, description="largest fraction of cuts not labelled")
    store: str | None = pydantic.Field(None, min_length=1)


class LatticeOptions(SearchOptions):
    """How lattices for sequence training are made, and which of them are used.

    The language model is weak on purpose: what it forbids could not be told apart by the acoustic model.
    """

    ngram_order: int = pydantic.Field(1, ge=1, le=5, description="of the language model of the training transcripts")
    beam: float = pydantic.Field(13.0, gt=0, description="of the search: paths this far above the best are dropped")
    lattice_beam: float = pydantic.Field(8.0, gt=0, description="arcs on paths this far above the best are kept (cost)")
    max_density: int = pydantic.Field(200, ge=2, description="arcs a frame; of more the best are kept")
    max_lost: float = pydantic.Field(
        0.5, gt=0, le=1, description="a lattice is left out when its reference is not in it in more of its frames"
    )
    skip_limit: float = pydantic.Field(0.1, ge=0, le=1, description="largest fraction of utterances left out")
