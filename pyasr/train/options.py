"""Options of network training: sections `train.teacher`, `train.supervised`, `train.student` and `smbr`."""

from __future__ import annotations

from typing import Literal

import pydantic

from pyasr.align.options import NetworkAlignOptions
from pyasr.base.config import GrownOptions, Options
from pyasr.dist.options import DistOptions
from pyasr.features.augment import AugmentOptions
from pyasr.nn.options import NetworkOptions, TeacherNetworkOptions
from pyasr.targets.options import LatticeOptions


class OptimiserOptions(Options):
    """The optimiser and its learning rate.

    The rate rises linearly over `warmup_steps`, then is multiplied by `decay` whenever the dev loss has not
    fallen by `min_improvement` (relative) for `patience` sub-epochs; after `max_decays` of these the phase ends.
    """

    kind: Literal["adam", "sgd"] = "adam"
    lr: float = pydantic.Field(2e-3, gt=0)
    momentum: float = pydantic.Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = pydantic.Field(0.0, ge=0)
    warmup_steps: int = pydantic.Field(50, ge=0)
    decay: float = pydantic.Field(0.5, gt=0, lt=1)
    patience: int = pydantic.Field(2, ge=1, description="sub-epochs without improvement")
    min_improvement: float = pydantic.Field(0.002, ge=0, description="of the dev loss, relative")
    max_decays: int = pydantic.Field(4, ge=0)
    clip_norm: float = pydantic.Field(5.0, gt=0, description="largest norm of a gradient; more is scaled down")


class PhaseOptions(Options):
    """A stretch of training in sub-epochs of one make-up. A sub-epoch ends with a look at the dev loss.

    transcribed, untranscribed: passes over each part in a sub-epoch; its batches are spread evenly over the
    sub-epoch in blocks of `block_batches`. The segregated regimen is two phases with one source each.
    """

    transcribed: float = pydantic.Field(1.0, ge=0)
    untranscribed: float = pydantic.Field(0.0, ge=0)
    block_batches: int = pydantic.Field(1, ge=1)
    chunk_frames: int = pydantic.Field(0, ge=0, description="30 ms frames of a training sequence; 0: utterances")
    min_sub_epochs: int = pydantic.Field(1, ge=0)
    max_sub_epochs: int = pydantic.Field(60, ge=1)

    @pydantic.model_validator(mode="after")
    def _check(self) -> PhaseOptions:
        if self.transcribed == self.untranscribed == 0:
            raise ValueError("a phase needs some of transcribed or untranscribed")
        return self


class LossOptions(Options):
    """How the student learns from stored posteriors, see `pyasr.nn.losses.stored_cross_entropy`."""

    tail: Literal["class", "renormalise"] = "class"
    temperature: float = pydantic.Field(1.0, gt=0)
    untranscribed_weight: float = pydantic.Field(1.0, gt=0)


class TrainOptions(Options):
    """One network's training."""

    network: NetworkOptions = NetworkOptions()
    optimiser: OptimiserOptions = OptimiserOptions()
    phases: tuple[PhaseOptions, ...] = pydantic.Field((PhaseOptions(),), min_length=1)
    augment: AugmentOptions = AugmentOptions()
    loss: LossOptions = LossOptions()
    transcribed_lr_factor: float = pydantic.Field(
        1.0, gt=0, description="multiplies the learning rate on transcribed batches"
    )
    batch_s: float = pydantic.Field(40.0, gt=0, description="speech of a batch, seconds, padding included")
    precision: Literal["fp32", "bf16"] = pydantic.Field("fp32", description="bf16: autocast of matrix products")
    average: int = pydantic.Field(1, ge=1, description="the model is the mean of so many best sub-epochs")
    nonfinite_limit: int = pydantic.Field(10, ge=0, description="batches with a loss that is not finite are skipped")
    checkpoint_s: float = pydantic.Field(60.0, gt=0, description="seconds between checkpoints within a sub-epoch")
    threads: int = pydantic.Field(0, ge=0, description="of matrix products; 0: the cores that `workers` leave")
    workers: int = pydantic.Field(1, ge=0, description="processes that make batches; changes no result")


class TeacherOptions(TrainOptions):
    """The teacher's training."""

    network: TeacherNetworkOptions = TeacherNetworkOptions()


class AlignerOptions(TeacherOptions):
    """A network that aligns the transcripts anew, trained as a teacher is; it need not be as large."""

    on: bool = pydantic.Field(False, description="false: networks learn from the alignments of the GMM")
    align: NetworkAlignOptions = NetworkAlignOptions()


class StudentOptions(GrownOptions):
    """What sets the student apart from `supervised`; all else it shares, so that the two can be compared.

    min_posterior: of the untranscribed cuts those are left out whose highest posterior is lower on average: the
    teacher is not sure of them. weight: "posterior" multiplies the loss of an untranscribed cut by that mean.
    `python -m pyasr.targets list` shows it of each cut. buffer_manifests: of an untranscribed part in many manifests
    so many at a time are in memory, and are shuffled together. untranscribed_share: of the seconds of untranscribed
    speech, drawn by utterance; a smaller share is part of a larger one, whatever the seed. dist: how its workers train
    together, where that differs from train.dist. targets: "dense": all posteriors of a frame, which the teacher gives
    anew in every pass, at several times the work, in the place of the stored ones.
    """

    newer = ("weight", "buffer_manifests", "untranscribed_share", "dist", "targets")
    targets: Literal["stored", "dense"] = "stored"
    min_posterior: float = pydantic.Field(0.0, ge=0, le=1)
    weight: Literal["none", "posterior"] = "none"
    buffer_manifests: int = pydantic.Field(4, ge=1)
    untranscribed_share: float | None = pydantic.Field(None, gt=0, le=1, description="absent: all")
    dist: DistOptions | None = pydantic.Field(None, description="absent: as train.dist")
    phases: tuple[PhaseOptions, ...] = pydantic.Field((PhaseOptions(untranscribed=1.0),), min_length=1)
    loss: LossOptions = LossOptions()
    transcribed_lr_factor: float = pydantic.Field(
        1.0, gt=0, description="multiplies the learning rate on transcribed batches"
    )

    @pydantic.model_validator(mode="after")
    def _check(self) -> StudentOptions:
        if self.targets == "dense" and (self.min_posterior or self.weight != "none"):
            raise ValueError("min_posterior and weight go by what is stored: they are not for targets = 'dense'")
        return self


class TrainSections(Options):
    """Section `train` of a recipe. The topline is trained as `supervised` says.

    dist: how several workers train together, for all systems; absent: there is one.
    """

    aligner: AlignerOptions = AlignerOptions()
    teacher: TeacherOptions = TeacherOptions()
    supervised: TrainOptions = TrainOptions()
    student: StudentOptions = StudentOptions()
    dist: DistOptions | None = None

    def every_dist(self) -> tuple[DistOptions | None, ...]:
        """How workers train together: in all trainings but perhaps the student's, and in that if it differs."""
        return (self.dist, *([] if self.student.dist is None else [self.student.dist]))

    def of_student(self) -> TrainOptions:
        """All options of the student."""
        student = self.student
        return self.supervised.model_copy(
            update={
                "phases": student.phases,
                "loss": student.loss,
                "transcribed_lr_factor": student.transcribed_lr_factor,
            }
        )


class SmbrOptimiserOptions(OptimiserOptions):
    """The rate is an order below that of cross-entropy, and follows the WER on dev."""

    lr: float = pydantic.Field(1e-4, gt=0)
    warmup_steps: int = pydantic.Field(0, ge=0)
    patience: int = pydantic.Field(1, ge=1, description="sub-epochs without improvement")
    min_improvement: float = pydantic.Field(0.0, ge=0, description="of the WER on dev, relative")
    max_decays: int = pydantic.Field(3, ge=0)
    clip_norm: float = pydantic.Field(1.0, gt=0, description="largest norm of a gradient; more is scaled down")


class SmbrOptions(GrownOptions):
    """Section `smbr`: sequence training of teacher and student on the transcribed part.

    All that is not said here is as in the training before: `train.teacher`, or `train.supervised` for the student.
    """

    newer = ("relabel",)
    on: bool = pydantic.Field(False, description="false: no systems teacher_smbr and student_smbr")
    lattices: LatticeOptions = LatticeOptions()
    draws: int = pydantic.Field(1, ge=1, description="lattices an utterance, augmented each its own way, in turns")
    optimiser: SmbrOptimiserOptions = SmbrOptimiserOptions()
    epochs: int = pydantic.Field(6, ge=1, description="passes over the transcribed part, at most")
    generations: int = pydantic.Field(1, ge=1, description="how often `epochs` are run, each time on new lattices")
    ce_weight: float = pydantic.Field(0.1, ge=0, description="of cross-entropy in nats, beside the share of errors")
    silence: Literal["class", "senone", "ignore"] = pydantic.Field(
        "class", description="class: the senones of silence are one; senone: as others; ignore: never counted as right"
    )
    reject_frames: bool = pydantic.Field(True, description="no gradient where the reference has left the lattice")
    relabel: bool = pydantic.Field(
        False, description="true: teacher_smbr labels the untranscribed part anew, and a student learns from that"
    )

    @pydantic.model_validator(mode="after")
    def _check(self) -> SmbrOptions:
        if self.relabel and not self.on:
            raise ValueError("relabel = true needs on = true: it is the teacher_smbr that labels")
        return self

    def of(self, system: TrainOptions) -> TrainOptions:
        """Options of the training that follows on a system's."""
        phase = PhaseOptions(max_sub_epochs=self.epochs)
        return system.model_copy(
            update={"optimiser": self.optimiser, "phases": (phase,), "transcribed_lr_factor": 1.0, "average": 1}
        )
