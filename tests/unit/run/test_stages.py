import pytest

from pyasr.base.errors import ConfigError
from pyasr.dist.options import DistOptions
from pyasr.run.identity import flat_options
from pyasr.run.recipe import Recipe
from pyasr.run.stages import RELABELLED, SMBR, STAGES, SYSTEMS, stage_number, stages_for, systems_of
from pyasr.train.options import SmbrOptions, TrainSections


def test_the_table_is_in_order_and_every_entry_exists():
    seen = {}
    for stage in STAGES:
        assert stage.name not in seen and all(name in seen for name in stage.reads), stage.name
        assert callable(stage.function()) and stage.what and stage.writes
        assert flat_options(Recipe(), stage.options) or not stage.options
        seen[stage.name] = stage
    outputs = [output for stage in STAGES for output in stage.writes]
    assert len(set(outputs)) == len(outputs)
    assert not [(a, b) for a in outputs for b in outputs if a != b and b.startswith(a)]


def test_a_part_of_the_table_makes_some_systems_alone():
    assert stages_for(SYSTEMS) == STAGES
    part = stages_for(["supervised"])
    names = [stage.name for stage in part]
    assert {"supervised", "decode_supervised", "realign", "conditions", "score", "report"} > set(names[-5:])
    assert not {"teacher", "label", "student", "topline", "decode_mono", "decode_tri_sat"} & set(names)
    assert all(set(stage.reads) <= set(names[:place]) for place, stage in enumerate(part))
    whole = {stage.name: stage for stage in STAGES}
    assert all(stage == whole[stage.name] for stage in part if stage.name not in ("score", "report"))
    assert "teacher" in {stage.name for stage in stages_for(["student"])}


def test_every_option_of_the_recipe_is_some_stage_s():
    """An option that no stage declares would change results without anything being rerun."""
    recipe = Recipe(corpus_dir="corpus", noise_dir="noise", train=TrainSections(dist=DistOptions()))
    declared = set().union(*(flat_options(recipe, stage.options) for stage in STAGES))
    every = set(flat_options(recipe, tuple(Recipe.model_fields)))
    assert every - declared == {"corpus_dir", "noise_dir"}  # these are known by what they hold


def test_stages_are_named_by_number_or_name():
    assert stage_number("0", "--stage") == 0
    assert STAGES[stage_number("tri", "--only")].name == "tri"
    with pytest.raises(ConfigError, match="--stage 99: no such stage; there are 0 corpus"):
        stage_number("99", "--stage")


def test_systems_of_sequence_training_are_expected_where_it_is_on():
    without = tuple(system for system in SYSTEMS if system not in RELABELLED)
    assert systems_of(Recipe()) == tuple(system for system in without if system not in SMBR)
    assert systems_of(Recipe(smbr=SmbrOptions(on=True))) == without
    assert systems_of(Recipe(smbr=SmbrOptions(on=True, relabel=True))) == SYSTEMS
    with pytest.raises(ValueError, match="relabel = true needs on = true"):
        SmbrOptions(relabel=True)
