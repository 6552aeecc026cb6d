"""Options of Gaussian training. Defaults follow Kaldi's scripts where nothing better was measured."""

from __future__ import annotations

import pydantic

from pyasr.base.config import Options
from pyasr.lang.topology import Topology


class MixtureOptions(Options):
    """Estimation of the diagonal Gaussians."""

    min_gaussian_occupancy: float = pydantic.Field(10.0, gt=0, description="frames; less removes a component")
    min_gaussian_weight: float = pydantic.Field(1e-5, ge=0, lt=1)
    variance_floor: float = pydantic.Field(0.01, ge=0, description="times the variance of all frames")
    variance_smoothing: float = pydantic.Field(20.0, ge=0, description="frames with the pdf's average variance added")
    min_split_occupancy: float = pydantic.Field(20.0, gt=0, description="frames a component when a mixture grows")
    split_power: float = pydantic.Field(0.25, ge=0, le=1, description="components go with occupancy to this power")
    split_perturbation: float = pydantic.Field(0.01, gt=0, description="standard deviations between split means")


class AlignOptions(Options):
    """Viterbi alignment of transcripts."""

    acoustic_scale: float = pydantic.Field(0.1, gt=0)
    transition_scale: float = pydantic.Field(0.1, ge=0)
    silence_p: float = pydantic.Field(0.5, ge=0, le=1, description="probability of silence between words")
    boost_silence: float = pydantic.Field(1.25, gt=0, description="factor on the likelihood of silence")
    beam: float = pydantic.Field(10.0, gt=0)
    retry_beam: float = pydantic.Field(
        40.0, gt=0, description="for utterances that fail with `beam`; then they are skipped"
    )
    skip_limit: float = pydantic.Field(0.05, ge=0, le=1, description="largest fraction of utterances skipped")


class NetworkAlignOptions(AlignOptions):
    """The same for networks, whose posteriors at 10 ms overlap less than the frames of a Gaussian system."""

    acoustic_scale: float = pydantic.Field(0.3, gt=0)
    boost_silence: float = pydantic.Field(1.0, gt=0, description="factor on the likelihood of silence")


class TreeOptions(Options):
    """The phonetic decision tree."""

    max_leaves: int = pydantic.Field(300, ge=1)
    min_occupancy: float = pydantic.Field(50.0, ge=0, description="frames a leaf")
    min_gain: float = pydantic.Field(0.0, ge=0, description="log-likelihood a split must bring")


class EmOptions(Options):
    """One run of expectation maximisation; iterations count from 1."""

    iterations: int = pydantic.Field(35, ge=1)
    realign: tuple[int, ...] = (10, 20, 30)
    num_gauss: int = pydantic.Field(4000, ge=1, description="Gaussians of all pdfs together")
    growth_iterations: int = pydantic.Field(25, ge=1, description="mixtures have grown to num_gauss after these")
    mixture: MixtureOptions = MixtureOptions()


class MonoOptions(EmOptions):
    """Monophones from a flat start."""

    iterations: int = pydantic.Field(40, ge=1)
    realign: tuple[int, ...] = (*range(2, 12), *range(13, 22, 2), *range(24, 40, 3))
    num_gauss: int = pydantic.Field(1500, ge=1)
    growth_iterations: int = pydantic.Field(30, ge=1)


class TriOptions(EmOptions):
    """Triphones on deltas."""

    tree: TreeOptions = TreeOptions()


class LdaOptions(TriOptions):
    """Triphones on spliced frames through LDA and MLLT."""

    splice_frames: int = pydantic.Field(4, ge=1, description="on each side")
    dim: int = pydantic.Field(40, ge=2)
    mllt: tuple[int, ...] = (2, 4, 6, 12)


class FmllrOptions(Options):
    """Estimation of a speaker's affine feature transform."""

    min_frames: float = pydantic.Field(200.0, ge=0, description="with less speech a speaker is left unadapted")
    row_iterations: int = pydantic.Field(20, ge=1)
    silence_weight: float = pydantic.Field(0.0, ge=0, le=1)


class SatOptions(TriOptions):
    """Speaker-adaptive training with fMLLR."""

    fmllr_iterations: tuple[int, ...] = (2, 4, 6, 12)
    fmllr: FmllrOptions = FmllrOptions()


class SenoneOptions(Options):
    """Section `senones` of a recipe: what networks learn to tell apart."""

    num_senones: int = pydantic.Field(3000, ge=1, description="at most; fewer where the data carry fewer")
    min_occupancy: float = pydantic.Field(200.0, ge=0, description="10 ms frames a senone")
    topology: Topology = Topology(states=1, silence_states=1)


class GmmOptions(Options):
    """Section `gmm` of a recipe."""

    topology: Topology = Topology()
    align: AlignOptions = AlignOptions()
    mono: MonoOptions = MonoOptions()
    tri: TriOptions = TriOptions()
    lda: LdaOptions = LdaOptions()
    sat: SatOptions = SatOptions()
