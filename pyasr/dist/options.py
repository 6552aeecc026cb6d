"""Options of training with several workers: section `train.dist` of a recipe."""

from __future__ import annotations

from typing import Literal

import pydantic

from pyasr.base.config import Options


class GTCOptions(Options):
    """Gradient threshold compression, see `pyasr.dist.gtc.GTCState`. It is for kind = "sgd"."""

    tau: float = pydantic.Field(1e-3, gt=0, description="of one worker's gradient; with a density it is found")
    density: float = pydantic.Field(1e-3, ge=0, lt=1, description="share of weights sent in a step; 0: tau is fixed")
    momentum: float = pydantic.Field(0.0, ge=0, lt=1, description="correction, in the place of the optimiser's own")
    clip_residual: float = pydantic.Field(0.0, ge=0, description="in units of tau; 0: residuals are not clipped")
    decay: float = pydantic.Field(1.0, gt=0, le=1, description="of the residual, a step")
    warmup_steps: int = pydantic.Field(0, ge=0, description="first steps, of each phase, with dense gradients")


class BMUFOptions(Options):
    """Blockwise model-update filtering, see `pyasr.dist.bmuf.BMUF`. A sub-epoch's end ends a block."""

    sync_every: int = pydantic.Field(50, ge=1, description="batches of a block")
    sync_seconds: float = pydantic.Field(0.0, ge=0, description="of a block, instead; 0: by batches")
    block_momentum: float | None = pydantic.Field(None, ge=0, lt=1, description="absent: 1 - 1/N")
    block_lr: float = pydantic.Field(1.0, gt=0)
    nesterov: bool = True
    warm_start: int = pydantic.Field(0, ge=0, description="first blocks, of each phase, of plain averaging")
    reset_momentum: bool = pydantic.Field(True, description="of the optimiser, with each block")


class DistOptions(Options):
    """Several workers: as many as torchrun starts, or `emulated_workers` in one process. Each reads its own batches.

    method: what they exchange. "ddp": dense gradients. "gtc": compressed gradients. "bmuf": models now and then.
    "gtc+bmuf": gradients within a group, models across groups. "none": there is one worker.
    lr_rule: by what the learning rate is multiplied where G workers' gradients make one mean: "none": 1, "sqrt": the
    root of G, "linear": G. G is N for ddp and gtc, the group's size for gtc+bmuf, and 1 for bmuf, whose block momentum
    makes up for the averaging.
    """

    method: Literal["none", "ddp", "gtc", "bmuf", "gtc+bmuf"] = "none"
    emulated_workers: int = pydantic.Field(1, ge=1, description="in one process, in turn; for experiments")
    group_size: int = pydantic.Field(0, ge=0, description="of gtc+bmuf; 0: the workers of a machine")
    lr_rule: Literal["none", "sqrt", "linear"] = "none"
    deterministic: bool = pydantic.Field(False, description="dense sums in the order of workers: slower, exact")
    timeout_s: float = pydantic.Field(1800.0, gt=0, description="a worker that is silent for so long has failed")
    gtc: GTCOptions = GTCOptions()
    bmuf: BMUFOptions = BMUFOptions()
