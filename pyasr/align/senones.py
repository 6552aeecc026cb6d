"""Senones: clusters of whole triphones, each an HMM with one state at 30 ms, which networks learn to tell apart.

The tree is grown on the adapted features of the Gaussian system, from all 10 ms frames of each phone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.align.data import TrainingSet
from pyasr.align.options import SenoneOptions, TreeOptions
from pyasr.align.questions import make_questions
from pyasr.align.realign import Transforms
from pyasr.align.system import GmmSystem
from pyasr.align.train import EmState, job_frames, with_alignments
from pyasr.align.tree import Tree, build_tree
from pyasr.align.tree_stats import TreeStats, collect_frames, merge
from pyasr.align.visits import Visits, visits_of
from pyasr.base.artifact import atomic_dir, digest, load_arrays, read_json, save_arrays, write_json
from pyasr.base.errors import DataError
from pyasr.base.executor import iterate_jobs
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel

_VERSION = 1
_PRIOR_VISITS = 5.0  # of the phone's average, added to the visits of each (phone, senone)
_UTTERANCES_AT_ONCE = 64


@dataclass(frozen=True)
class Senones:
    """tree: maps every triphone, seen or not, to senone ids 0..S-1. transitions: at the frame rate of the
    networks (30 ms). occupancy: float64 (S,), 10 ms frames of the training alignments."""

    phones: PhoneTable
    topology: Topology
    tree: Tree
    transitions: TransitionModel
    occupancy: np.ndarray

    @property
    def num_senones(self) -> int:
        return self.tree.num_pdfs

    @cached_property
    def fingerprint(self) -> str:
        """Equal for senones that stand for the same triphones in the same order."""
        return digest(self._meaning())

    def _meaning(self) -> dict[str, Any]:
        return {"phones": self.phones.to_dict(), "topology": self.topology, "tree": self.tree.to_dict()}

    def save(self, folder: str | Path) -> None:
        """Write senones.json and senones.npz, atomically."""
        with atomic_dir(folder) as temporary:
            write_json(temporary / "senones.json", {"version": _VERSION, **self._meaning()})
            save_arrays(temporary / "senones.npz", occupancy=self.occupancy, **self.transitions.to_arrays())

    @classmethod
    def load(cls, folder: str | Path) -> Senones:
        """Read what `save` wrote; DataError names what is missing or damaged."""
        folder = Path(folder)
        values, arrays = read_json(folder / "senones.json"), load_arrays(folder / "senones.npz")
        try:
            if values["version"] != _VERSION:
                raise ValueError(f"format {values['version']}, expected {_VERSION}")
            senones = cls(
                PhoneTable.from_dict(values["phones"]),
                Topology(**values["topology"]),
                Tree.from_dict(values["tree"]),
                TransitionModel.from_arrays(arrays),
                arrays["occupancy"].astype(np.float64),
            )
            senones._check()
        except (KeyError, IndexError, TypeError, ValueError, DataError) as error:
            raise DataError(f"{folder}: damaged senones ({error!r}); run the stage that writes them again") from error
        return senones

    def _check(self) -> None:
        tree, phones = self.tree, self.phones
        states = [self.topology.num_states(phone_id, phones.silence_id) for phone_id in phones.ids]
        if list(map(len, tree.roots)) != states:
            raise ValueError("the tree has other phones or states than the phone table and the topology")
        if sorted(node[1] for node in tree.nodes if node[0] < 0) != list(range(self.num_senones)):
            raise ValueError("senone ids are not 0, 1, 2, ...")
        expected = TransitionModel.build(phones, self.topology, tree).states
        if not np.array_equal(self.transitions.states, expected):
            raise ValueError("the transitions are those of another tree")
        if self.occupancy.shape != (self.num_senones,):
            raise ValueError(f"occupancy {self.occupancy.shape} of {self.num_senones} senones")


def grow_senones(
    data: TrainingSet, state: EmState, options: SenoneOptions, executor: Executor, stack: int = 3
) -> tuple[Senones, TreeStats]:
    """Cluster the triphones of the aligned training data; also the statistics that they were clustered by.

    state: the speaker-adapted system with its alignments and transforms. stack: 10 ms frames in a frame of the
    networks.
    """
    stats = senone_stats(data, state, options.topology, executor)
    system = state.system
    visits = (
        visits_of(tids, system.transitions, system.phones, options.topology, stack)
        for tids in state.alignments.values()
    )
    return cluster(stats, visits, system.phones, options), stats


def senone_stats(data: TrainingSet, state: EmState, topology: Topology, executor: Executor) -> TreeStats:
    """Statistics of all triphones seen in the alignments of `state`, on its adapted features."""
    job = functools.partial(_stats_job, state.system, state.transforms, topology)
    return merge(iterate_jobs(executor, job, with_alignments(data, state.alignments), "senones: statistics"))


def _stats_job(
    system: GmmSystem, transforms: Transforms, topology: Topology, job: tuple[TrainingSet, list[np.ndarray]]
) -> TreeStats:
    return merge(_job_stats(system, transforms, topology, *job))


def _job_stats(
    system: GmmSystem, transforms: Transforms, topology: Topology, data: TrainingSet, alignments: list[np.ndarray]
) -> Iterator[TreeStats]:
    for begin in range(0, len(alignments), _UTTERANCES_AT_ONCE):
        part = slice(begin, begin + _UTTERANCES_AT_ONCE)
        few = replace(data, utterances=data.utterances[part])
        features, _ = job_frames(system, transforms, few, alignments[part])
        visits = [visits_of(tids, system.transitions, system.phones, topology) for tids in alignments[part]]
        yield collect_frames(features, np.concatenate([each.frame_windows for each in visits]))


def cluster(stats: TreeStats, visits: Iterable[Visits], phones: PhoneTable, options: SenoneOptions) -> Senones:
    """Senones from statistics of triphones; self-loops from the visits of all utterances."""
    questions = make_questions(stats, phones)
    tree_options = TreeOptions(max_leaves=options.num_senones, min_occupancy=options.min_occupancy)
    tree, leaf_stats = build_tree(stats, questions, phones, options.topology, tree_options)
    transitions = _estimate_transitions(phones, options.topology, tree, visits)
    return Senones(phones, options.topology, tree, transitions, leaf_stats[:, 0])


def _estimate_transitions(
    phones: PhoneTable, topology: Topology, tree: Tree, visits: Iterable[Visits]
) -> TransitionModel:
    """Self-loop probabilities of every (phone, state, senone), with a few visits of the phone's average added:
    most are seen rarely, some never."""
    transitions = TransitionModel.build(phones, topology, tree)
    rows = _row_keys(*transitions.states.T)
    entered, loops = np.zeros(len(rows)), np.zeros(len(rows))
    for each in visits:
        _, centre, _, state = each.windows.T
        row = np.searchsorted(rows, _row_keys(centre, state, tree.leaves(each.windows)))
        entered += np.bincount(row, minlength=len(rows))
        loops += np.bincount(row, each.loops, minlength=len(rows))
    counts = np.zeros(transitions.num_tids + 1)
    counts[1::2] = entered + _PRIOR_VISITS
    counts[2::2] = loops + _PRIOR_VISITS * _average_loops(transitions.states, phones, entered, loops)
    return transitions.update(counts)


def _average_loops(states: np.ndarray, phones: PhoneTable, entered: np.ndarray, loops: np.ndarray) -> np.ndarray:
    """Loops a visit, float64 (N,): for each row of `states` those of its phone in any place and context; for phones
    never seen those of all."""
    averages = np.full(len(states), loops.sum() / max(entered.sum(), 1.0))
    for group in phones.groups:
        rows = np.isin(states[:, 0], group)
        if entered[rows].sum() > 0:
            averages[rows] = loops[rows].sum() / entered[rows].sum()
    return averages


def _row_keys(phone: np.ndarray, state: np.ndarray, pdf: np.ndarray) -> np.ndarray:
    """int64, in the order of the rows of `TransitionModel.states`."""
    return (phone.astype(np.int64) << 48) + (state.astype(np.int64) << 32) + pdf


def senone_targets(
    alignments: Mapping[str, np.ndarray], old: TransitionModel, senones: Senones
) -> dict[str, np.ndarray]:
    """The senone of every 10 ms frame: cut_id -> int32 (T,).

    alignments: cut_id -> transition ids int32 (T,) of `old`, at 10 ms. With several states a phone its frames are
    dealt evenly among them. DataError names the cut whose alignment `old` did not make.
    """
    return {cut_id: _targets(cut_id, tids, old, senones) for cut_id, tids in alignments.items()}


def _targets(cut_id: str, tids: np.ndarray, old: TransitionModel, senones: Senones) -> np.ndarray:
    if len(tids) and (tids.min() < 1 or tids.max() > old.num_tids or not old.is_entry(tids[0])):
        raise DataError(f"{cut_id}: the alignment is not one of this system; align again")
    visits = visits_of(tids, old, senones.phones, senones.topology)
    return np.repeat(senones.tree.leaves(visits.windows), visits.frames)
