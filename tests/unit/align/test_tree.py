import itertools
import json

import numpy as np
import pytest

from pyasr.align.options import TreeOptions
from pyasr.align.questions import make_questions
from pyasr.align.tree import Tree, _Builder, build_tree
from pyasr.align.tree_stats import TreeStats, collect, floor_of, loglike, merge
from pyasr.base.seeds import rng
from pyasr.lang.context import MonophoneContext
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel

PHONES = PhoneTable(("SIL", "a", "b", "c", "d", "e"))
TOPOLOGY = Topology(states=2, silence_states=1)
DIM = 3
FREE = TreeOptions(max_leaves=1000, min_occupancy=0.0)


def context_mean(left, centre, right, state):
    """Neighbours {a, b} pull one way, {c, d, e} and silence the other; the left acts on state 0, the right on 1."""
    neighbour = left if state == 0 else right
    return np.array([3.0 * centre, 4.0 * state, 2.0 if neighbour in (2, 3) else -2.0])


@pytest.fixture(scope="module")
def stats():
    random = rng(0, "tree")
    windows, packed = [], []
    for centre, state, left, right in itertools.product(range(2, 7), range(2), range(7), range(7)):
        if random.random() < 0.4:  # contexts that are not seen
            continue
        x = context_mean(left, centre, right, state) + random.standard_normal((random.integers(3, 30), DIM))
        windows.append((left, centre, right, state))
        packed.append(np.concatenate([[len(x)], x.sum(0), (x**2).sum(0)]))
    x = random.standard_normal((50, DIM)) - 9
    windows.insert(0, (2, 1, 3, 0))
    packed.insert(0, np.concatenate([[len(x)], x.sum(0), (x**2).sum(0)]))
    return TreeStats(np.array(windows, np.int32), np.array(packed))


def gaussian_loglike(frames, floor):
    variance = np.maximum(frames.var(axis=0), floor)
    return float((-0.5 * (np.log(2 * np.pi * variance) + (frames - frames.mean(0)) ** 2 / variance)).sum())


def test_loglike_is_that_of_the_frames():
    x = rng(1, "x").standard_normal((40, DIM))
    packed = np.concatenate([[40], x.sum(0), (x**2).sum(0)])
    assert loglike(packed, np.full(DIM, 1e-9)) == pytest.approx(gaussian_loglike(x, 1e-9))


def test_the_best_split_is_the_one_of_brute_force(stats):
    questions = [tuple(q) for n in (1, 2, 3) for q in itertools.combinations(PHONES.ids, n)]
    options = TreeOptions(min_occupancy=40.0)
    builder = _Builder(stats, questions, PHONES, options)
    floor = floor_of(stats.total)
    rows = np.flatnonzero((stats.windows[:, 1] == 4) & (stats.windows[:, 3] == 1))
    best = builder.best_split(builder.add_node(rows))
    whole = loglike(stats.packed[rows].sum(0), floor)
    gains = {}
    for side, (number, question) in itertools.product((0, 2), enumerate(questions)):
        yes, no = np.zeros(1 + 2 * DIM), np.zeros(1 + 2 * DIM)
        for row in rows:
            phone = stats.windows[row, side] or 1  # outside the utterance: as silence
            (yes if phone in question else no)[:] += stats.packed[row]
        if min(yes[0], no[0]) >= 40.0:
            gains[side, number] = loglike(yes, floor) + loglike(no, floor) - whole
    assert best.gain == pytest.approx(max(gains.values()))
    assert gains[best.side, best.question] == pytest.approx(best.gain)
    assert best.side == 2


def test_leaves_are_as_many_and_as_large_as_asked(stats):
    questions = make_questions(stats, PHONES)
    for leaves in (11, 16, 25):
        options = TreeOptions(max_leaves=leaves, min_occupancy=0)
        tree, leaf_stats = build_tree(stats, questions, PHONES, TOPOLOGY, options)
        assert tree.num_pdfs == len(leaf_stats) == leaves
        np.testing.assert_allclose(leaf_stats.sum(axis=0), stats.total)
    tree, leaf_stats = build_tree(stats, questions, PHONES, TOPOLOGY, TreeOptions(max_leaves=1000, min_occupancy=60))
    assert leaf_stats[:, 0].min() >= min(60, 50) and 11 < tree.num_pdfs < 60
    tree, _ = build_tree(stats, questions, PHONES, TOPOLOGY, TreeOptions(min_occupancy=0, min_gain=1e9))
    assert tree.num_pdfs == 11


def test_the_first_splits_find_what_the_contexts_do(stats):
    options = TreeOptions(max_leaves=21, min_occupancy=0)
    tree, _ = build_tree(stats, make_questions(stats, PHONES), PHONES, TOPOLOGY, options)
    for left, centre, right in itertools.product(range(7), range(2, 7), range(7)):
        pdfs = tree.pdfs((left, centre, right))
        assert (pdfs[0] == tree.pdfs((2, centre, right))[0]) == (left in (2, 3))
        assert (pdfs[1] == tree.pdfs((left, centre, 3))[1]) == (right in (2, 3))


def test_unseen_contexts_are_mapped_and_silence_is_not_split(stats):
    tree, _ = build_tree(stats, make_questions(stats, PHONES), PHONES, TOPOLOGY, FREE)
    reached = set()
    for left, right in itertools.product(range(7), repeat=2):
        assert len(tree.pdfs((left, 1, right))) == 1
        assert tree.pdfs((left, 1, right)) == tree.pdfs((0, 1, 0))
        assert tree.pdfs((0, 3, right)) == tree.pdfs((1, 3, right))
        for centre in range(1, 7):
            for state, pdf in enumerate(tree.pdfs((left, centre, right))):
                assert pdf in tree.all_pdfs(centre, state)
                reached.add(pdf)
    assert reached <= set(range(tree.num_pdfs))
    every = [pdf for c in range(1, 7) for s in range(1 if c == 1 else 2) for pdf in tree.all_pdfs(c, s)]
    assert sorted(every) == list(range(tree.num_pdfs))


def test_a_phone_that_was_never_seen_has_a_leaf(stats):
    phones = PhoneTable((*PHONES.names, "f"))
    tree, leaf_stats = build_tree(stats, make_questions(stats, phones), phones, TOPOLOGY, FREE)
    (pdf,) = tree.all_pdfs(7, 0)
    assert leaf_stats[pdf, 0] == 0


def test_a_tree_survives_json(stats):
    tree, _ = build_tree(stats, make_questions(stats, PHONES), PHONES, TOPOLOGY, FREE)
    copy = Tree.from_dict(json.loads(json.dumps(tree.to_dict())))
    assert copy.num_pdfs == tree.num_pdfs
    for window in itertools.product(range(7), range(1, 7), range(7)):
        assert copy.pdfs(window) == tree.pdfs(window)


def test_questions_hold_single_phones_and_the_pairs_that_are_alike():
    packed = []
    for phone in range(1, 7):
        x = rng(2, phone).standard_normal((30, DIM)) * 0.1 + [5.0 * (phone // 2), 0, 0]
        packed.append(np.concatenate([[30], x.sum(0), (x**2).sum(0)]))
    windows = np.array([(0, phone, 0, 0) for phone in range(1, 7)], np.int32)
    questions = make_questions(TreeStats(windows, np.array(packed)), PHONES)
    assert {(phone,) for phone in range(1, 7)} | {(2, 3), (4, 5)} <= set(questions)
    assert tuple(range(1, 7)) not in questions
    assert len(set(questions)) == len(questions)


def test_statistics_of_parts_add_up_and_know_their_contexts():
    context = MonophoneContext(PHONES, TOPOLOGY)
    transitions = TransitionModel.build(PHONES, TOPOLOGY, context)

    def tids(*phones):
        entries = [tid for phone in phones for tid in transitions.entry_tids((phone,), context)]
        return np.array([tid for entry in entries for tid in (entry, entry + 1, entry + 1)], np.int32)

    alignments = [tids(1, 2, 2, 3), tids(2, 2, 3), tids(1, 2, 2)]
    features = rng(4, "f").standard_normal((sum(map(len, alignments)), DIM)).astype(np.float32)
    whole = collect(features, alignments, transitions)
    assert (1, 2, 2, 0) in map(tuple, whole.windows.tolist())  # the repeated phone is two phones
    assert (2, 2, 3, 1) in map(tuple, whole.windows.tolist())
    np.testing.assert_allclose(whole.total[0], len(features))
    first = len(alignments[0])
    parts = [
        collect(features[:first], alignments[:1], transitions),
        collect(features[first:], alignments[1:], transitions),
    ]
    together = merge(parts)
    np.testing.assert_array_equal(together.windows, whole.windows)
    np.testing.assert_allclose(together.packed, whole.packed, rtol=1e-12)


def test_many_parts_are_summed_in_their_order():
    random = rng(6, "parts")
    parts, sums = [], {}
    for _ in range(7):
        rows = random.permutation(200)[: random.integers(0, 60)]
        windows = sorted(((int(r) % 5, int(r) % 7 + 1, int(r) // 5, int(r) % 2) for r in rows), key=by_centre)
        packed = random.standard_normal((len(windows), 1 + 2 * 7)) * 10.0 ** random.integers(-8, 8)
        parts.append(TreeStats(np.array(windows, np.int32).reshape(-1, 4), packed))
        for window, row in zip(windows, packed):
            sums[window] = sums[window] + row if window in sums else row
    kept = [part.packed.copy() for part in parts]
    together = merge(part for part in parts)
    order = sorted(sums, key=by_centre)
    assert len(order) > 100
    np.testing.assert_array_equal(together.windows, order)
    np.testing.assert_array_equal(together.packed, np.array([sums[window] for window in order]))
    for part, packed in zip(parts, kept):
        np.testing.assert_array_equal(part.packed, packed)
    alone = merge(parts[:1])
    np.testing.assert_array_equal(alone.packed, kept[0])
    assert not np.shares_memory(alone.packed, parts[0].packed)


def by_centre(window):
    left, centre, right, state = window
    return centre, state, left, right


def test_places_in_the_word_share_a_root_and_are_asked_about():
    """The frames of a phone depend on its own place and on nothing else: that is what the tree must find."""
    phones = PhoneTable(("SIL", "a_B", "a_E", "a_I", "b_B", "b_E"), word_positions=True)
    random = rng(2, "places")
    windows, packed = [], []
    for centre, left, right in itertools.product(range(2, 7), range(1, 7), range(1, 7)):
        x = random.standard_normal((20, DIM)) + (8.0 if phones.position(centre) == "_E" else 0.0)
        windows.append((left, centre, right, 0))
        packed.append(np.concatenate([[len(x)], x.sum(0), (x**2).sum(0)]))
    stats = TreeStats(np.array(windows, np.int32), np.array(packed))
    questions = make_questions(stats, phones)
    assert {(3, 6), (2, 5), (4,)} < set(questions)  # ends, begins, insides
    assert all(set(q) in ({1}, {2, 3, 4}, {5, 6}) or len({phones.position(p) for p in q}) == 1 for q in questions)
    topology = Topology(states=1, silence_states=1)
    tree, leaf_stats = build_tree(stats, questions, phones, topology, TreeOptions(max_leaves=5, min_occupancy=0))
    assert tree.roots[1] == tree.roots[2] == tree.roots[3] != tree.roots[4] == tree.roots[5]
    for left, right in itertools.product(range(7), repeat=2):
        ends = {tree.pdfs((left, 3, right)), tree.pdfs((left, 6, right))}
        begins = {tree.pdfs((left, centre, right)) for centre in (2, 4)} | {tree.pdfs((left, 5, right))}
        assert len(ends) == len(begins) == 2 and not ends & begins
    assert tree.all_pdfs(3, 0) == [*tree.pdfs((1, 3, 1))]
    assert tree.all_pdfs(2, 0) == tree.all_pdfs(4, 0) == [*tree.pdfs((1, 2, 1))]
    assert len(leaf_stats) == tree.num_pdfs == 5
    assert Tree.from_dict(json.loads(json.dumps(tree.to_dict()))).pdfs((1, 3, 1)) == tree.pdfs((1, 3, 1))
