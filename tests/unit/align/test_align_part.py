from dataclasses import replace

import numpy as np
import pytest

from pyasr.align.align_part import align_part
from pyasr.align.data import Utterance
from pyasr.align.lda_mllt import train_lda_mllt
from pyasr.align.mono import train_mono
from pyasr.align.options import AlignOptions, FmllrOptions, LdaOptions, MonoOptions, SatOptions, TreeOptions
from pyasr.align.realign import align_set
from pyasr.align.sat import train_sat
from pyasr.align.train import EmState
from pyasr.base.errors import DataError
from pyasr.base.executor import make_executor

MONO = MonoOptions(iterations=8, realign=(2, 3, 4, 5, 6, 7), num_gauss=20, growth_iterations=6)
SHORT = {"iterations": 4, "realign": (2,), "num_gauss": 30, "growth_iterations": 3, "tree": TreeOptions(max_leaves=12)}
FMLLR = FmllrOptions(min_frames=50)


@pytest.fixture
def executor():
    with make_executor("serial") as executor:
        yield executor


@pytest.fixture
def trained(make_toy, executor, tmp_path):
    """Six speakers that differ, and a system adapted to them."""
    toy = make_toy(num_utterances=60, num_speakers=6, spread=0.15)
    system, align = toy.system, toy.align
    mono = train_mono(toy.data, system.phones, system.topology, MONO, align, tmp_path / "mono", executor, 0)
    lda_options = LdaOptions(splice_frames=1, dim=6, mllt=(2, 3), **SHORT)
    lda = train_lda_mllt(toy.data, mono, lda_options, align, tmp_path / "lda", executor, 0)
    sat_options = SatOptions(fmllr_iterations=(2, 3), fmllr=FMLLR, **SHORT)
    return toy, train_sat(toy.data, lda, sat_options, align, tmp_path / "sat", executor, 0)


def same_frames(one, other):
    """The fraction of frames with the same transition ids."""
    return np.mean(np.concatenate([one[cut_id] == other[cut_id] for cut_id in one]))


def test_speech_that_was_trained_on_is_aligned_as_in_training(trained, executor):
    toy, state = trained
    unknown = EmState(state.system, {})  # neither alignments nor transforms are looked at
    alignments, skipped = align_part(toy.data, unknown, toy.align, FMLLR, executor, "again")
    assert not skipped and list(alignments) == list(state.alignments)
    assert same_frames(alignments, state.alignments) > 0.97
    unadapted = replace(state.system, gmm=state.system.unadapted)
    first_pass, _ = align_set(toy.data, unadapted, {}, toy.align, executor)
    assert same_frames(first_pass, state.alignments) < same_frames(alignments, state.alignments)


def test_speakers_with_little_speech_stay_unadapted(trained, executor):
    toy, state = trained
    utterances = toy.data.utterances
    # s0 has one utterance, the others all of theirs; in mixed order.
    data = replace(toy.data, utterances=(utterances[12], utterances[0], *utterances[13:30]))
    frames = len(state.alignments[utterances[0].cut_id])
    options = FmllrOptions(min_frames=frames + 100)
    alignments, skipped = align_part(data, state, toy.align, options, executor, "few")
    assert not skipped and list(alignments) == [item.cut_id for item in data.utterances]
    unadapted = replace(state.system, gmm=state.system.unadapted)
    first_pass, _ = align_set(data, unadapted, {}, toy.align, executor)
    np.testing.assert_array_equal(alignments["u000"], first_pass["u000"])
    assert same_frames(alignments, first_pass) < 1


def test_what_does_not_align_is_skipped_named_and_limited(trained, executor):
    toy, state = trained
    utterances = list(toy.data.utterances[:30])
    utterances[3] = Utterance("u003", utterances[3].speaker, (((2, 3, 4, 5, 6),),) * 40)
    data = replace(toy.data, utterances=tuple(utterances))
    alignments, skipped = align_part(data, state, toy.align, FMLLR, executor, "part")
    assert len(alignments) == 29 and "u003" not in alignments
    assert [row["id"] for row in skipped] == ["u003"] and "too short for its transcript" in skipped[0]["reason"]
    strict = toy.align.model_copy(update={"skip_limit": 0.01})
    with pytest.raises(DataError, match=r"1 of 30 utterances skipped.*u003"):
        align_part(data, state, strict, FMLLR, executor, "part")


def test_when_nothing_aligns_the_reason_is_said(trained, executor):
    toy, state = trained
    hopeless = Utterance("u000", "s0", (((2, 3, 4, 5, 6),),) * 40)
    data = replace(toy.data, utterances=(hopeless,))
    with pytest.raises(DataError, match=r"1 of 1 utterances skipped.*u000.*too short"):
        align_part(data, state, AlignOptions(), FMLLR, executor, "part")
    any_loss = AlignOptions(skip_limit=1.0)
    assert align_part(data, state, any_loss, FMLLR, executor, "part")[0] == {}
