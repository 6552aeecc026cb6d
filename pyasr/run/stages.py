"""The stage table, the only one. A stage's number is its position."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from pyasr.base.errors import ConfigError
from pyasr.run.recipe import Recipe
from pyasr.run.stage import Stage

NETWORKS = ("teacher", "supervised", "student", "topline")
SMBR = ("teacher_smbr", "student_smbr")
RELABELLED = ("student_relabelled",)
LABELS = ("label", "relabel")
"""The stages that store what a student learns from."""
SYSTEMS = ("mono", "tri", "tri_sat", *NETWORKS, *SMBR, *RELABELLED)
"""The systems that are decoded and scored; those of SMBR where smbr.on is true, of RELABELLED with smbr.relabel."""


def systems_of(recipe: Recipe) -> tuple[str, ...]:
    """Those that a recipe makes, if its corpus has the data."""
    absent = (*(() if recipe.smbr.on else SMBR), *(() if recipe.smbr.relabel else RELABELLED))
    return tuple(system for system in SYSTEMS if system not in absent)


def _decode_stage(system: str, trained_by: str, *options: str) -> Stage:
    return Stage(
        name=f"decode_{system}",
        what=f"{system}: graph, scales chosen on dev, hypotheses of the test part in every condition",
        entry=f"decode.{system}",
        reads=("validate", "lang", "features", "conditions", trained_by),
        writes=(f"decode/{system}/",),
        options=("decode", "gmm.align", *options),
    )


def _decode_network_stage(system: str) -> Stage:
    return Stage(
        name=f"decode_{system}",
        what=f"{system}: scales chosen on dev, hypotheses of the test part in every condition",
        entry=f"decode_network.{system}",
        reads=("corpus", "validate", "lang", "senones", system),
        writes=(f"decode/{system}/",),
        options=("seed", "decode_network", "test"),
        external=("noise_dir",),
        version=2,
    )


def _train_stage(
    system: str, what: str, *reads: str, options: tuple[str, ...], module: str = "networks"
) -> Stage:
    return Stage(
        name=system,
        what=what,
        entry=f"{module}.{system}",
        reads=("corpus", "validate", "senones", "realign", *reads),
        writes=(f"train/{system}/",),
        options=("seed", "train.dist", *options),
        external=("noise_dir",),
    )


def _label_stage(name: str, teacher: str, writes: str, *options: str) -> Stage:
    return Stage(
        name=name,
        what=f"the {teacher}'s best posteriors of every frame of the untranscribed part",
        entry=f"labels.{name}",
        reads=("validate", teacher),
        writes=(writes,),
        options=("targets", *options),
    )


def _student_stage(name: str, what: str, labels: str, *options: str) -> Stage:
    return _train_stage(
        name, what, labels, options=("train.supervised", "train.student", "targets.stacking", *options)
    )


def _smbr_stages(system: str, trained_with: str) -> tuple[Stage, ...]:
    """Sequence training of a system. trained_with: the section of its options."""
    reads = ("corpus", "validate", "lang", "senones", "realign", system, f"decode_{system}")
    lattices = Stage(
        name=f"lattices_{system}",
        what=f"what the {system} confuses in the transcribed part, over a weak language model (smbr.on)",
        entry=f"lattices.{system}",
        reads=reads,
        writes=(f"lattices/{system}/",),
        options=("seed", "smbr.on", "smbr.draws", "smbr.lattices", "gmm.align", "decode_network", trained_with),
        external=("noise_dir",),
    )
    training = Stage(
        name=f"{system}_smbr",
        what=f"the {system}, trained on by sMBR; the best on dev (smbr.on)",
        entry=f"smbr.{system}_smbr",
        reads=(*reads, lattices.name),
        writes=(f"train/{system}_smbr/",),
        options=("seed", "smbr", "decode_network", trained_with),
        external=("noise_dir",),
    )
    return lattices, training, _decode_network_stage(f"{system}_smbr")


STAGES: tuple[Stage, ...] = (
    Stage(
        name="corpus",
        what="manifests, lexicon and language-model material of the corpus; the demo is synthesised",
        entry="corpus.prepare",
        writes=("corpus/",),
        options=("seed", "corpus"),
        external=("corpus_dir",),
    ),
    Stage(
        name="lang",
        what="phones, words, cleaned lexicon, grammar",
        entry="lang.prepare",
        reads=("corpus",),
        writes=("lang/",),
        options=("lang",),
    ),
    Stage(
        name="validate",
        what="every utterance decoded and checked against the lexicon; what cannot be used is listed",
        entry="corpus.validate",
        reads=("corpus", "lang"),
        writes=("data/",),
        options=("validation",),
    ),
    Stage(
        name="features",
        what="MFCC of the transcribed and dev parts",
        entry="features.extract",
        reads=("validate",),
        writes=("features/",),
        options=("features",),
    ),
    Stage(
        name="mono",
        what="monophones from a flat start",
        entry="gmm.mono",
        reads=("corpus", "lang", "validate", "features"),
        writes=("gmm/mono/",),
        options=("seed", "gmm.topology", "gmm.align", "gmm.mono"),
    ),
    Stage(
        name="tri",
        what="triphones on deltas: questions, tree, mixtures",
        entry="gmm.tri",
        reads=("corpus", "lang", "validate", "features", "mono"),
        writes=("gmm/tri/",),
        options=("seed", "gmm.align", "gmm.tri"),
    ),
    Stage(
        name="lda",
        what="triphones on spliced frames with LDA and MLLT",
        entry="gmm.lda",
        reads=("corpus", "lang", "validate", "features", "tri"),
        writes=("gmm/lda/",),
        options=("seed", "gmm.align", "gmm.lda"),
    ),
    Stage(
        name="sat",
        what="speaker-adaptive triphones (fMLLR)",
        entry="gmm.sat",
        reads=("corpus", "lang", "validate", "features", "lda"),
        writes=("gmm/sat/",),
        options=("seed", "gmm.align", "gmm.sat"),
    ),
    Stage(
        name="senones",
        what="triphones clustered to senones, one state at 30 ms; targets, decoding graph, front end of networks",
        entry="senones.grow",
        reads=("corpus", "lang", "validate", "features", "sat"),
        writes=("senones/",),
        options=("senones", "gmm.align", "gmm.sat.fmllr", "features.lfbe", "decode_network.transition_scale"),
    ),
    Stage(
        name="realign",
        what="targets of networks: the alignments of the GMM, or new ones by a network (train.aligner.on)",
        entry="realign.realign",
        reads=("corpus", "lang", "validate", "senones"),
        writes=("align/",),
        options=("seed", "train.aligner", "train.dist"),
        external=("noise_dir",),
    ),
    _train_stage("teacher", "a bidirectional LSTM on the transcribed part", options=("train.teacher",)),
    _label_stage("label", "teacher", "targets/"),
    _train_stage(
        "supervised", "the student's topology on the transcribed part alone", options=("train.supervised",)
    ),
    _student_stage("student", "a forward-only LSTM on both parts, interleaved", "label"),
    _train_stage(
        "topline",
        "the student's topology, had every transcript been there",
        "lang",
        "features",
        "sat",
        "supervised",
        options=("train.supervised", "train.aligner", "features", "gmm.align", "gmm.sat.fmllr"),
        module="topline",
    ),
    Stage(
        name="conditions",
        what="MFCC of the test part, clean and in noise at every ratio",
        entry="features.extract_conditions",
        reads=("corpus", "validate"),
        writes=("conditions/",),
        options=("seed", "features", "test"),
        external=("noise_dir",),
    ),
    _decode_stage("mono", "mono"),
    _decode_stage("tri", "tri"),
    _decode_stage("tri_sat", "sat", "gmm.sat.fmllr"),
    *(_decode_network_stage(system) for system in NETWORKS),
    *_smbr_stages("teacher", "train.teacher"),
    *_smbr_stages("student", "train.supervised"),
    _label_stage("relabel", "teacher_smbr", "targets_smbr/", "smbr.relabel"),
    _student_stage(
        "student_relabelled", "a student as before, of the teacher_smbr (smbr.relabel)", "relabel", "smbr.relabel"
    ),
    _decode_network_stage("student_relabelled"),
    Stage(
        name="score",
        what="word error rates with intervals, per system, condition and speaker; results.json",
        entry="score.score",
        reads=("validate", *(f"decode_{system}" for system in SYSTEMS)),
        writes=("score/",),
        options=("seed", "test"),
    ),
    Stage(
        name="report",
        what="one HTML page",
        entry="report.write",
        reads=("corpus", "lang", "validate", "features", "mono", "tri", "lda", "sat", *SYSTEMS[3:], "score"),
        writes=("report.html",),
    ),
)


def stages_for(systems: Collection[str], table: Sequence[Stage] = STAGES) -> tuple[Stage, ...]:
    """The part of the table that makes, scores and reports these systems alone, in its order."""
    by_name = {stage.name: stage for stage in table}
    dropped = {f"decode_{system}" for system in SYSTEMS if system not in systems}
    needed: set[str] = set()

    def need(name: str) -> None:
        if name not in needed and name not in dropped:
            needed.add(name)
            for read in by_name[name].reads:
                need(read)

    need("score")
    needed.add("report")
    kept = (stage for stage in table if stage.name in needed)
    return tuple(replace(stage, reads=tuple(name for name in stage.reads if name in needed)) for stage in kept)


def stage_number(given: str, option: str) -> int:
    """The number of a stage given by number or name; ConfigError lists what there is."""
    names = [stage.name for stage in STAGES]
    if given in names:
        return names.index(given)
    if given.isdecimal() and int(given) < len(names):
        return int(given)
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    raise ConfigError(f"{option} {given}: no such stage; there are {numbered}")
