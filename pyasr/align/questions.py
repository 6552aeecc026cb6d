"""Questions about phones, found by clustering them (after Kaldi's cluster-phones)."""

from __future__ import annotations

import numpy as np

from pyasr.align.tree_stats import TreeStats, floor_of, loglike
from pyasr.lang.phones import BEGIN, END, SINGLE, WORD_POSITIONS, PhoneTable


def make_questions(stats: TreeStats, phones: PhoneTable) -> list[tuple[int, ...]]:
    """Sets of phone ids, each sorted, in a fixed order.

    For every HMM state the phones are merged bottom-up, always the pair that loses the least likelihood;
    every cluster on the way is a question, single phones among them. Places in the word do not take part:
    phones that differ in theirs alone stay together, and each place is a question of its own.
    """
    floor = floor_of(stats.total)
    questions: dict[tuple[int, ...], None] = dict.fromkeys(phones.groups)
    for of_phone in _by_phone(stats, phones.num_phones):
        of_base = np.stack([of_phone[list(group)].sum(axis=0) for group in phones.groups])
        seen = np.flatnonzero(of_base[:, 0] > 0).tolist()
        for cluster in _dendrogram(of_base, seen, floor):
            questions[tuple(sorted(phone_id for base in cluster for phone_id in phones.groups[base]))] = None
    if phones.word_positions:
        questions.update(dict.fromkeys(_places(phones)))
    return sorted(questions, key=lambda members: (len(members), members))


def _places(phones: PhoneTable) -> list[tuple[int, ...]]:
    """Each place in the word; and the first and the last phone of a word, whether it has others or not."""
    wanted = [(place,) for place in WORD_POSITIONS] + [(BEGIN, SINGLE), (END, SINGLE)]
    found = [tuple(p for p in phones.ids if phones.position(p) in places) for places in wanted]
    return [members for members in found if members]


def _by_phone(stats: TreeStats, num_phones: int) -> np.ndarray:
    """Statistics of each phone in each state, whatever its neighbours: (states, num_phones + 1, 1 + 2 D)."""
    centre, state = stats.windows[:, 1], stats.windows[:, 3]
    sums = np.zeros((int(state.max()) + 1, num_phones + 1, stats.packed.shape[1]))
    # Rows of a (phone, state) are neighbours: no copy of what may be gigabytes.
    begins = np.flatnonzero(np.diff(centre, prepend=-1) | np.diff(state, prepend=-1))
    sums[state[begins], centre[begins]] = np.add.reduceat(stats.packed, begins, axis=0)
    return sums


def _dendrogram(packed: np.ndarray, members: list[int], floor: np.ndarray) -> list[tuple[int, ...]]:
    """The clusters of an agglomerative clustering of rows of `packed`, but for the last that holds all."""
    sets = [(member,) for member in members]
    stats = packed[members]
    own = loglike(stats, floor)
    loss = np.full((len(sets), len(sets)), np.inf)
    for i in range(1, len(sets)):
        loss[i, :i] = own[i] + own[:i] - loglike(stats[i] + stats[:i], floor)
    found = []
    for _ in range(len(sets) - 2):
        i, j = np.unravel_index(np.argmin(loss), loss.shape)  # j < i
        sets[j] = tuple(sorted(sets[i] + sets[j]))
        found.append(sets[j])
        stats[j] += stats[i]
        own[j] = loglike(stats[j], floor)
        alive = np.isfinite(loss[j]) | np.isfinite(loss[:, j])
        alive[i] = False
        loss[i, :] = loss[:, i] = np.inf
        new = np.where(alive, own[j] + own - loglike(stats[j] + stats, floor), np.inf)
        loss[j, :j], loss[j + 1 :, j] = new[:j], new[j + 1 :]
    return found
