import itertools
import json

import numpy as np
import pytest

from pyasr.align.options import SenoneOptions
from pyasr.align.realign import align_set
from pyasr.align.senones import Senones, cluster, grow_senones, senone_stats, senone_targets
from pyasr.align.train import EmState
from pyasr.align.tree_stats import TreeStats
from pyasr.align.visits import Visits, visits_of
from pyasr.base.artifact import load_arrays, save_arrays
from pyasr.base.errors import DataError
from pyasr.base.executor import make_executor
from pyasr.base.seeds import rng
from pyasr.lang.context import MonophoneContext
from pyasr.lang.phones import PhoneTable
from pyasr.lang.segments import phone_segments
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel

ONE = Topology(states=1, silence_states=1)
PLACED = PhoneTable(("SIL", "a_B", "a_E", "b_B", "b_E"), word_positions=True)


@pytest.fixture
def executor():
    with make_executor("serial") as executor:
        yield executor


@pytest.fixture
def grow(make_toy, executor):
    def grow(num_utterances=40, **options):
        toy = make_toy(num_utterances)
        alignments, skipped = align_set(toy.data, toy.system, {}, toy.align, executor)
        state = EmState(toy.system, alignments, skipped)
        return toy, state, *grow_senones(toy.data, state, SenoneOptions(**options), executor)

    return grow


def test_a_senone_holds_whole_phones(grow):
    toy, state, senones, stats = grow(min_occupancy=40.0)
    assert set(stats.windows[:, 3].tolist()) == {0}
    frames = sum(map(len, state.alignments.values()))
    assert senones.occupancy.sum() == frames == stats.total[0]
    assert 6 < senones.num_senones < len(stats.windows)
    assert senones.occupancy.min() >= 40
    (silence,) = senones.tree.all_pdfs(1, 0)
    assert senones.occupancy[silence] == sum(
        end - start for of_cut in toy.segments.values() for phone, start, end in of_cut if phone == 1
    )


def test_there_are_no_more_senones_than_asked(grow):
    assert grow(min_occupancy=0.0, num_senones=9)[2].num_senones == 9


def test_unseen_triphones_are_mapped_to_senones_of_their_phone(grow):
    *_, senones, stats = grow(min_occupancy=40.0)
    windows = np.array([(*w, 0) for w in itertools.product(range(7), range(1, 7), range(7))], np.int32)
    assert len(windows) > 3 * len(stats.windows)
    leaves = senones.tree.leaves(windows)
    assert leaves.dtype == np.int32
    for (left, centre, right, _), leaf in zip(windows.tolist(), leaves.tolist()):
        assert (leaf,) == senones.tree.pdfs((left, centre, right))
        assert leaf in senones.tree.all_pdfs(centre, 0)
    assert set(leaves.tolist()) == set(range(senones.num_senones))


def test_statistics_are_those_of_the_frames_of_each_triphone(make_toy, executor):
    toy = make_toy(num_utterances=140)  # three jobs
    alignments, _ = align_set(toy.data, toy.system, {}, toy.align, executor)
    stats = senone_stats(toy.data, EmState(toy.system, alignments), ONE, executor)
    frames: dict[tuple[int, ...], list[np.ndarray]] = {}
    for utterance in toy.data.utterances:
        features = toy.system.frontend(*toy.data.mfcc(utterance))
        segments = toy.segments[utterance.cut_id]
        phones = [0, *(phone for phone, _, _ in segments), 0]
        for window, (_, start, end) in zip(zip(phones, phones[1:], phones[2:]), segments):
            frames.setdefault((*window, 0), []).append(features[start:end].astype(np.float64))
    order = sorted(frames, key=lambda w: (w[1], w[0], w[2]))
    assert stats.windows.tolist() == [list(window) for window in order]
    for window, packed in zip(order, stats.packed):
        x = np.concatenate(frames[window])
        np.testing.assert_allclose(packed, [len(x), *x.sum(0), *(x**2).sum(0)], rtol=1e-9)


def test_targets_follow_the_alignment(grow):
    toy, state, senones, _ = grow(min_occupancy=40.0)
    targets = senone_targets(state.alignments, state.system.transitions, senones)
    assert list(targets) == list(state.alignments)
    for cut_id, of_cut in targets.items():
        assert of_cut.dtype == np.int32 and of_cut.shape == state.alignments[cut_id].shape
        segments = toy.segments[cut_id]
        phones = [0, *(phone for phone, _, _ in segments), 0]
        for window, (_, start, end) in zip(zip(phones, phones[1:], phones[2:]), segments):
            assert (of_cut[start:end] == senones.tree.pdfs(window)[0]).all()


def test_with_two_states_a_phone_is_halved(grow):
    _, state, senones, stats = grow(min_occupancy=40.0, topology=Topology(states=2, silence_states=1))
    assert set(stats.windows[:, 3].tolist()) == {0, 1}
    targets = senone_targets(state.alignments, state.system.transitions, senones)
    for cut_id, tids in state.alignments.items():
        for phone, start, end in phone_segments(tids, state.system.transitions):
            half = start + (end - start + 1) // 2 if phone != 1 else end
            assert set(targets[cut_id][start:half].tolist()) <= set(senones.tree.all_pdfs(phone, 0))
            assert phone == 1 or set(targets[cut_id][half:end].tolist()) <= set(senones.tree.all_pdfs(phone, 1))


@pytest.mark.parametrize("states", [1, 2, 3, 5])
def test_visits_deal_the_frames_of_a_phone_evenly(states):
    phones = PhoneTable(("SIL", "a", "b"))
    three = Topology(states=3, silence_states=3)
    context = MonophoneContext(phones, three)
    transitions = TransitionModel.build(phones, three, context)
    durations = [3, 4, 5, 7, 11, 30]
    tids = np.concatenate([aligned(2 + i % 2, frames, transitions, context) for i, frames in enumerate(durations)])
    visits = visits_of(tids, transitions, phones, Topology(states=states, silence_states=1), stack=3)
    assert visits.windows[:states].tolist() == [[0, 2, 3, state] for state in range(states)]
    assert visits.windows[-1].tolist() == [2, 3, 0, states - 1]
    dealt = visits.frames.reshape(-1, states)
    for frames, of_phone, loops in zip(durations, dealt, visits.loops.reshape(-1, states)):
        expected = np.bincount(np.arange(frames) * states // frames, minlength=states)
        assert of_phone.tolist() == expected.tolist()
        assert loops.sum() + states == pytest.approx(max(states, round(frames / 3)))
    assert len(visits.frame_windows) == len(tids)


def aligned(phone, frames, transitions, context):
    """Transition ids int32 (frames,) of a phone with three states: two of one frame, the last with the rest."""
    first, second, third = transitions.entry_tids((phone,), context)
    return np.array([first, second, third, *[third + 1] * (frames - 3)], np.int32)


def stats_of(phones, frames=50.0):
    """Every triphone with as many frames, its mean by its phone and its left neighbour."""
    rows = [(left, centre, right, 0) for centre in phones.ids for left in phones.ids for right in phones.ids]
    mean = np.array([[3.0 * centre, 2.0 * (left % 2)] for left, centre, _, _ in rows])
    packed = np.concatenate([np.ones((len(rows), 1)), mean, mean**2 + 1], axis=1)
    return TreeStats(np.array(rows, np.int32), frames * packed)


def test_self_loops_are_those_of_the_durations_at_30_ms():
    """One senone a phone. a_B lasts 4, 5 and 9 frames: 1, 2 and 3 stacks, so 3 loops in 3 visits; a_E 30: 9 in 1.

    The average of a is 12 loops in 4 visits: 3 a visit. Five visits of it are added to those of each.
    """
    loops = np.array([0.0, 1.0, 2.0, 9.0])
    centres = [2, 2, 2, 3]
    windows = np.array([(1, centre, 1, 0) for centre in centres], np.int32)
    visits = Visits(windows, np.array([4, 5, 9, 30]), loops)
    senones = cluster(stats_of(PLACED), [visits], PLACED, SenoneOptions(num_senones=1))
    assert senones.num_senones == 3
    found = {phone: p for (phone, _, _), p in zip(senones.transitions.states.tolist(), senones.transitions.loop_p)}
    assert found[2] == pytest.approx((3 + 15) / (3 + 15 + 3 + 5))
    assert found[3] == pytest.approx((9 + 15) / (9 + 15 + 1 + 5))
    for never_seen in (1, 4, 5):  # the average of all phones: 3 loops a visit
        assert found[never_seen] == pytest.approx(15 / 20)


def test_self_loops_of_an_alignment_agree_with_its_durations(grow):
    toy, _, senones, _ = grow(num_utterances=60, min_occupancy=1e9)
    for phone in range(1, 7):
        segments = [segment for of_cut in toy.segments.values() for segment in of_cut if segment[0] == phone]
        stacks = [max(1, round((end - start) / 3)) for _, start, end in segments]
        row = int(np.flatnonzero(senones.transitions.states[:, 0] == phone)[0])
        assert senones.transitions.loop_p[row] == pytest.approx(1 - len(stacks) / sum(stacks))


def test_senones_survive_the_disk(tmp_path):
    senones = cluster(stats_of(PLACED), [], PLACED, SenoneOptions(num_senones=8, min_occupancy=0))
    senones.save(tmp_path / "set")
    loaded = Senones.load(tmp_path / "set")
    assert loaded.num_senones == 8
    assert loaded.fingerprint == senones.fingerprint
    assert (loaded.phones, loaded.topology) == (PLACED, ONE)
    np.testing.assert_array_equal(loaded.occupancy, senones.occupancy)
    np.testing.assert_array_equal(loaded.transitions.loop_p, senones.transitions.loop_p)
    windows = stats_of(PLACED).windows
    np.testing.assert_array_equal(loaded.tree.leaves(windows), senones.tree.leaves(windows))
    other = cluster(stats_of(PLACED), [], PLACED, SenoneOptions(num_senones=7, min_occupancy=0))
    assert other.fingerprint != senones.fingerprint


def edit_json(folder, change):
    values = json.loads((folder / "senones.json").read_text())
    change(values)
    (folder / "senones.json").write_text(json.dumps(values))


def edit_arrays(folder, change):
    arrays = load_arrays(folder / "senones.npz")
    change(arrays)
    save_arrays(folder / "senones.npz", **arrays)


DAMAGES = {
    "a file is missing": (lambda folder: (folder / "senones.npz").unlink(), r"senones\.npz: missing"),
    "arrays are cut short": (
        lambda folder: (folder / "senones.npz").write_bytes((folder / "senones.npz").read_bytes()[:200]),
        r"senones\.npz: damaged",
    ),
    "no JSON": (lambda folder: (folder / "senones.json").write_text("{"), r"senones\.json: not valid JSON"),
    "another format": (lambda folder: edit_json(folder, lambda v: v.update(version=99)), "format 99"),
    "no tree": (lambda folder: edit_json(folder, lambda v: v.pop("tree")), "tree"),
    "a root out of the tree": (
        lambda folder: edit_json(folder, lambda v: v["tree"]["roots"].__setitem__(1, [999])),
        "damaged senones",
    ),
    "a root missing": (lambda folder: edit_json(folder, lambda v: v["tree"]["roots"].pop()), "other phones"),
    "a senone twice": (
        lambda folder: edit_json(folder, lambda v: v["tree"]["nodes"][0].__setitem__(1, 1)),
        "senone ids are not",
    ),
    "occupancy of others": (
        lambda folder: edit_arrays(folder, lambda a: a.update(occupancy=a["occupancy"][:-1])),
        "occupancy",
    ),
    "transitions of others": (
        lambda folder: edit_arrays(folder, lambda a: a.update(states=a["states"][:-1], loop_p=a["loop_p"][:-1])),
        "transitions are those of another tree",
    ),
    "no probability": (
        lambda folder: edit_arrays(folder, lambda a: a["loop_p"].__setitem__(0, 1.5)),
        "not between 0 and 1",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(tmp_path, name):
    damage, message = DAMAGES[name]
    folder = tmp_path / "set"
    cluster(stats_of(PLACED), [], PLACED, SenoneOptions(num_senones=8, min_occupancy=0)).save(folder)
    damage(folder)
    with pytest.raises(DataError, match=message):
        Senones.load(folder)


def test_an_alignment_of_another_system_is_refused(grow):
    _, state, senones, _ = grow(min_occupancy=40.0)
    transitions = state.system.transitions
    for tids in ([transitions.num_tids + 1, 2], [0, 1], [2, 2]):
        with pytest.raises(DataError, match=r"u7.*not one of this system"):
            senone_targets({"u7": np.array(tids, np.int32)}, transitions, senones)
    assert senone_targets({"none": np.empty(0, np.int32)}, transitions, senones)["none"].shape == (0,)


def test_leaves_of_trees_with_several_states_are_those_of_pdfs():
    phones, topology = PhoneTable(("SIL", "a", "b", "c")), Topology(states=2, silence_states=1)
    random = rng(0, "leaves")
    rows = [
        (left, centre, right, state)
        for centre in phones.ids
        for state in range(topology.num_states(centre, 1))
        for left in range(5)
        for right in range(5)
    ]
    mean = random.standard_normal((len(rows), 3))
    packed = 9 * np.concatenate([np.ones((len(rows), 1)), mean, mean**2 + 1], axis=1)
    stats = TreeStats(np.array(rows, np.int32), packed)
    options = SenoneOptions(min_occupancy=0, num_senones=40, topology=topology)
    tree = cluster(stats, [], phones, options).tree
    leaves = tree.leaves(stats.windows)
    assert [tree.pdfs(tuple(row[:3]))[row[3]] for row in rows] == leaves.tolist()
    assert set(leaves.tolist()) == set(range(40))
