import multiprocessing
import os
import signal
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
import pytest

from pyasr.align.alignments import load_alignments, save_alignments
from pyasr.align.data import Utterance
from pyasr.align.fmllr import identity
from pyasr.align.lda_mllt import train_lda_mllt
from pyasr.align.mono import train_mono
from pyasr.align.options import (
    AlignOptions,
    FmllrOptions,
    LdaOptions,
    MixtureOptions,
    MonoOptions,
    SatOptions,
    TreeOptions,
    TriOptions,
)
from pyasr.align.realign import align_set
from pyasr.align.sat import speaker_transform, train_sat
from pyasr.align.system import GmmSystem
from pyasr.align.train import EmState, run_em
from pyasr.align.tri import start_triphones, train_tri
from pyasr.base.errors import DataError
from pyasr.base.executor import make_executor
from pyasr.lang.segments import phone_segments

MONO = MonoOptions(iterations=8, realign=(2, 3, 4, 5, 6, 7), num_gauss=20, growth_iterations=6)
DIM_LDA = 6
TRI = TriOptions(iterations=4, realign=(2,), num_gauss=40, growth_iterations=3, tree=TreeOptions(max_leaves=20))
LDA = LdaOptions(
    iterations=4, realign=(2,), num_gauss=30, growth_iterations=3, tree=TreeOptions(max_leaves=12),
    splice_frames=1, dim=DIM_LDA, mllt=(2, 3),
)  # fmt: skip
FMLLR = FmllrOptions(min_frames=50)
SAT = SatOptions(
    iterations=4, realign=(2,), num_gauss=30, growth_iterations=3, tree=TreeOptions(max_leaves=12),
    fmllr_iterations=(2, 3), fmllr=FMLLR,
)  # fmt: skip


@pytest.fixture
def executor():
    with make_executor("serial") as executor:
        yield executor


def mono(toy, work, executor, options=MONO, align=None):
    system = toy.system
    return train_mono(toy.data, system.phones, system.topology, options, align or toy.align, work, executor, 0)


def same_bits(one: EmState, other: EmState) -> bool:
    arrays, others = one.system.to_arrays(), other.system.to_arrays()
    return (
        arrays.keys() == others.keys()
        and all(np.array_equal(arrays[name], others[name]) for name in arrays)
        and one.alignments.keys() == other.alignments.keys()
        and all(np.array_equal(one.alignments[cut], other.alignments[cut]) for cut in one.alignments)
        and one.log == other.log
        and one.transforms.keys() == other.transforms.keys()
        and all(np.array_equal(one.transforms[s], other.transforms[s]) for s in one.transforms)
    )


def test_the_true_model_finds_the_true_boundaries(make_toy, executor):
    toy = make_toy()
    alignments, skipped = align_set(toy.data, toy.system, {}, toy.align, executor)
    assert not skipped and list(alignments) == list(toy.segments)
    for cut_id, tids in alignments.items():
        assert phone_segments(tids, toy.system.transitions) == toy.segments[cut_id]


def test_a_flat_start_finds_the_boundaries(make_toy, executor, tmp_path):
    toy = make_toy()
    state = mono(toy, tmp_path / "work", executor)
    errors = []
    for cut_id, tids in state.alignments.items():
        found = phone_segments(tids, state.system.transitions)
        assert [phone for phone, _, _ in found] == [phone for phone, _, _ in toy.segments[cut_id]]
        errors += [abs(a[1] - b[1]) for a, b in zip(found, toy.segments[cut_id])]
    assert np.mean(np.array(errors) <= 1) > 0.9
    logs = [row["loglike_per_frame"] for row in state.log]
    assert logs[-1] > logs[0] + 1
    assert [row["iteration"] for row in state.log] == list(range(1, 9))
    assert {row["skipped"] for row in state.log} == {0}
    assert state.log[-1]["num_gauss"] == 20


def test_fixed_alignments_and_mixtures_never_lose_likelihood(make_toy, executor, tmp_path):
    toy = make_toy()
    begin = mono(toy, tmp_path / "mono", executor)
    quiet = MixtureOptions(
        min_gaussian_occupancy=1e-3, min_gaussian_weight=0.0, variance_floor=0.0, variance_smoothing=0.0
    )
    start = start_triphones(toy.data, begin, begin.system.frontend, TreeOptions(max_leaves=20), executor, "toy")
    options = TriOptions(iterations=6, realign=(), num_gauss=start.system.gmm.num_gauss, mixture=quiet)
    state = run_em(toy.data, start, options, toy.align, tmp_path / "em", executor, 0, "toy")
    logs = [row["loglike_per_frame"] for row in state.log]
    assert all(later >= earlier - 1e-6 for earlier, later in zip(logs, logs[1:]))


def test_workers_do_not_change_a_bit(make_toy, executor, tmp_path):
    toy = make_toy(num_utterances=140)  # three jobs
    alone = mono(toy, tmp_path / "one", executor)
    alone_tri = train_tri(toy.data, alone, TRI, toy.align, tmp_path / "one-tri", executor, 0)
    for workers in (1, 2):
        with make_executor(f"processes:{workers}") as pool:
            many = mono(toy, tmp_path / f"mono{workers}", pool)
            many_tri = train_tri(toy.data, many, TRI, toy.align, tmp_path / f"tri{workers}", pool, 0)
        assert same_bits(alone, many)
        assert same_bits(alone_tri, many_tri)


class KillingExecutor(Executor):
    """Kills a worker of the cluster when its so many-th job was given away."""

    def __init__(self, cluster, executor, at):
        self._cluster, self._executor, self.left = cluster, executor, at

    def submit(self, *call):
        submitted = self._executor.submit(*call)
        self.left -= 1
        if self.left == 0:
            self._cluster.kill_worker()
        return submitted


def test_a_killed_dask_worker_does_not_change_a_bit(make_toy, executor, dask_cluster, tmp_path):
    toy = make_toy(num_utterances=140, num_speakers=6, spread=0.15)

    def train(name, its_executor):
        context = (its_executor, 0)
        first = mono(toy, tmp_path / name / "mono", its_executor)
        yield first
        yield train_tri(toy.data, first, TRI, toy.align, tmp_path / name / "tri", *context)
        second = train_lda_mllt(toy.data, first, LDA, toy.align, tmp_path / name / "lda", *context)
        yield second
        yield train_sat(toy.data, second, SAT, toy.align, tmp_path / name / "sat", *context)

    with make_executor(dask_cluster.address(), [tmp_path]) as cluster:
        killing = KillingExecutor(dask_cluster, cluster, at=70)
        assert all(map(same_bits, train("alone", executor), train("many", killing)))
    assert killing.left < -70


def test_a_killed_training_goes_on_to_the_same_bits(make_toy, executor, tmp_path):
    toy = make_toy()
    whole = mono(toy, tmp_path / "whole", executor)

    def kill_at(iteration, state):
        if iteration == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return state

    def start_and_die():
        start = EmState(whole.system, whole.alignments)
        run_em(toy.data, start, MONO, toy.align, tmp_path / "killed", make_executor("serial"), 0, "x", kill_at)

    process = multiprocessing.get_context("fork").Process(target=start_and_die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    visited = []

    def watch(iteration, state):
        visited.append(iteration)
        return state

    start = EmState(whole.system, whole.alignments)
    resumed = run_em(toy.data, start, MONO, toy.align, tmp_path / "killed", executor, 0, "x", watch)
    assert visited == [5, 6, 7, 8]
    straight = run_em(toy.data, start, MONO, toy.align, tmp_path / "straight", executor, 0, "x")
    assert same_bits(resumed, straight)


def test_a_checkpoint_of_other_options_is_not_continued(make_toy, executor, tmp_path):
    toy = make_toy()
    first = mono(toy, tmp_path / "work", executor)
    other = mono(toy, tmp_path / "work", executor, MONO.model_copy(update={"num_gauss": 14}))
    assert first.log[-1]["num_gauss"] == 20 and other.log[-1]["num_gauss"] == 14


def with_hopeless_utterance(toy):
    cut_id = toy.data.utterances[3].cut_id
    words = (((2, 3, 4, 5, 6),),) * 40
    utterances = list(toy.data.utterances)
    utterances[3] = Utterance(cut_id, utterances[3].speaker, words)
    return replace(toy, data=replace(toy.data, utterances=tuple(utterances))), cut_id


def test_too_short_for_its_transcript_is_skipped_and_named(make_toy, executor, tmp_path):
    toy, cut_id = with_hopeless_utterance(make_toy())
    state = mono(toy, tmp_path / "work", executor)
    assert cut_id not in state.alignments and len(state.alignments) == 39
    assert [row["id"] for row in state.skipped] == [cut_id]
    assert "too short for its transcript" in state.skipped[0]["reason"] and "400 needed" in state.skipped[0]["reason"]
    assert {row["skipped"] for row in state.log} == {1}
    strict = AlignOptions(acoustic_scale=1.0, skip_limit=0.01)
    with pytest.raises(DataError, match=cut_id):
        mono(toy, tmp_path / "strict", executor, align=strict)


def test_a_wrong_transcript_falls_out_of_the_beam(make_toy, executor):
    toy = make_toy()
    utterances = list(toy.data.utterances)
    # Words that were not said follow: cheap paths are still before them when the audio ends.
    utterances[0] = replace(utterances[0], pronunciations=utterances[0].pronunciations[:2] + (((4, 5, 4, 5),),) * 2)
    data = replace(toy.data, utterances=tuple(utterances))
    align = AlignOptions(acoustic_scale=1.0, beam=20, retry_beam=60)
    alignments, skipped = align_set(data, toy.system, {}, align, executor)
    assert [row["id"] for row in skipped] == ["u000"] and "beam 60" in skipped[0]["reason"]
    assert len(alignments) == 39


def test_adaptation_makes_speakers_alike(make_toy, executor, tmp_path):
    toy = make_toy(num_utterances=60, num_speakers=6, spread=0.15)
    first = mono(toy, tmp_path / "mono", executor)
    second = train_lda_mllt(toy.data, first, LDA, toy.align, tmp_path / "lda", executor, 0)
    third = train_sat(toy.data, second, SAT, toy.align, tmp_path / "sat", executor, 0)
    assert sorted(third.transforms) == [f"s{i}" for i in range(6)]
    jacobian = np.mean([np.linalg.slogdet(matrix[:, :-1])[1] for matrix in third.transforms.values()])
    assert third.log[-1]["loglike_per_frame"] + jacobian > second.log[-1]["loglike_per_frame"] + 0.1

    third.save_result(tmp_path / "result")
    loaded = EmState.load_result(tmp_path / "result")
    mfcc, mean = toy.data.mfcc(toy.data.utterances[0])
    for transform in (None, third.transforms["s0"]):
        np.testing.assert_array_equal(
            loaded.system.loglikes(mfcc, mean, transform), third.system.loglikes(mfcc, mean, transform)
        )
    assert not np.array_equal(third.system.unadapted.means, third.system.gmm.means)
    # A new speaker's transform, first without and then with one in use, brings the likelihood up.
    aligned = [(*toy.data.mfcc(item), third.alignments[item.cut_id]) for item in toy.data.utterances[:10]]
    found = speaker_transform(third.system, aligned, None, FMLLR)
    again = speaker_transform(third.system, aligned, found, FMLLR)
    unadapted = total_loglike(third.system, aligned, identity(DIM_LDA))
    assert total_loglike(third.system, aligned, again) > unadapted



def total_loglike(system: GmmSystem, aligned, transform):
    total = 0.0
    for mfcc, mean, tids in aligned:
        features = system.frontend(mfcc, mean, transform)
        total += system.gmm.accumulate(features, system.transitions.tid_to_pdf[tids])[1]
        total += len(tids) * np.linalg.slogdet(transform[:, :-1])[1]
    return total


def test_alignments_survive_the_disk_and_damage_is_named(tmp_path):
    alignments = {"b": np.arange(3, dtype=np.int32), "a": np.empty(0, np.int32), "c": np.ones(2, np.int32)}
    save_alignments(tmp_path / "alignments.npz", alignments)
    loaded = load_alignments(tmp_path / "alignments.npz")
    assert list(loaded) == ["b", "a", "c"]
    assert all(np.array_equal(loaded[name], alignments[name]) for name in alignments)
    save_alignments(tmp_path / "none.npz", {})
    assert load_alignments(tmp_path / "none.npz") == {}
    (tmp_path / "alignments.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"alignments\.npz"):
        load_alignments(tmp_path / "alignments.npz")
