"""Lattices on disk: what is written is read, damage is found, a killed making goes on, bad utterances are named."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pyasr.base.errors import DataError
from pyasr.base.executor import SerialExecutor
from pyasr.decode.part import Scales
from pyasr.lang.fst_arrays import FstArrays
from pyasr.targets import lattices
from pyasr.targets.lattice_file import ReferredLattice, pack, read_index, unpack, write_lattices
from pyasr.targets.lattices import LatticeSet, in_lattice, make_lattices
from pyasr.targets.options import LatticeOptions

TID_TO_PDF = np.array([-1, 0, 0, 1, 1, 2, 2], np.int32)
IDS = [f"u{number}" for number in range(70)]


@dataclasses.dataclass(frozen=True)
class RandomUtterances:
    """Random matrices by id with their best senones as reference; told which to break."""

    broken: tuple[tuple[str, str], ...] = ()

    tid_to_pdf = TID_TO_PDF

    def open(self):
        return self

    def utterance(self, cut_id):
        loglikes = np.random.default_rng(int(cut_id[1:])).normal(scale=2, size=(9, 3)).astype(np.float32)
        reference = loglikes.argmax(axis=1).astype(np.int32)
        how = dict(self.broken).get(cut_id)
        if how == "audio":
            raise DataError(f"{cut_id}: unreadable audio: gone")
        if how == "time":
            reference = reference[:-1]
        if how == "outside":
            reference = np.full(9, 5, np.int32)
        if how == "empty":
            loglikes, reference = loglikes[:1], reference[:1]
        return loglikes, reference


@pytest.fixture
def graph(tmp_path):
    """Two frames at least; every senone anywhere."""
    source = np.repeat([0, 1], 6)
    arcs = {"source": source, "ilabel": np.tile(np.arange(1, 7), 2), "olabel": np.ones(12, int),
            "weight": np.linspace(0, 1, 12), "nextstate": np.ones(12, int)}  # fmt: skip
    arcs["nextstate"][6:] = np.array([1, 2] * 3)
    FstArrays.from_arcs(0, np.array([np.inf, np.inf, 0.0]), arcs).write(tmp_path / "graph.fst")
    return tmp_path / "graph.fst"


def make(folder, graph, source=RandomUtterances(), ids=IDS, executor=None, **options):
    return make_lattices(folder, source, ids, graph, Scales(2.0, 0.5), LatticeOptions(**options), {"model": "m"},
                         executor or SerialExecutor())  # fmt: skip


def same(a, b):
    fields = [field.name for field in dataclasses.fields(a.lattice)]
    return np.array_equal(a.reference, b.reference) and all(
        np.array_equal(getattr(a.lattice, name), getattr(b.lattice, name)) for name in fields
    )


def arcs_of(lattice):
    """Whatever the order of states: (time, senone, cost)."""
    return sorted(zip(lattice.arc_time.tolist(), lattice.arc_senone.tolist(), lattice.arc_cost.tolist()))


def test_the_same_whichever_library_searches(graph, tmp_path, backend):
    made = make(tmp_path / backend, graph, RandomUtterances((("u3", "empty"),)), IDS[:40], backend=backend,
                lattice_beam=1000.0, beam=1000.0)  # fmt: skip
    assert [row["id"] for row in made.rows] == ["u3"] and "empty lattice: no complete path" in made.rows[0]["reason"]
    make(tmp_path / "ours", graph, ids=IDS[:40], lattice_beam=1000.0, beam=1000.0)
    found, ours = LatticeSet.open(tmp_path / backend), LatticeSet.open(tmp_path / "ours")
    assert len(found) == 39
    for cut_id in found:
        np.testing.assert_array_equal(found.read(cut_id).reference, ours.read(cut_id).reference)
        arcs = [arcs_of(lattices.read(cut_id).lattice) for lattices in (found, ours)]
        # k2's end with an arc of their own, which takes no frame
        assert [arc for arc in arcs[0] if arc[1] >= 0] == [arc for arc in arcs[1] if arc[1] >= 0]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_made_is_read_whatever_the_executor(graph, tmp_path):
    assert make(tmp_path / "one", graph).count == 0
    with ThreadPoolExecutor(2) as pool:  # processes could not import what this file defines
        make(tmp_path / "two", graph, executor=pool)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    found = LatticeSet.open(tmp_path / "one")
    assert list(found) == IDS and len(list((tmp_path / "one").glob("*.lattices"))) == 3
    for cut_id in IDS:
        referred = found.read(cut_id)
        _, reference = RandomUtterances().utterance(cut_id)
        np.testing.assert_array_equal(referred.reference, reference)
        assert referred.lattice.num_frames == 9 and in_lattice(referred.lattice, reference).mean() > 0.5
        assert same(unpack(pack(referred)), referred)
    arcs = sum(len(found.read(cut_id).lattice.arc_src) for cut_id in IDS)
    assert (found.sizes["frames"], found.sizes["arcs"]) == (9 * len(IDS), arcs) and found.sizes["lost"] < 0.1 * arcs
    assert found.metadata["scales"] == [2.0, 0.5] and found.metadata["model"] == "m"


def test_bad_utterances_are_named_and_limited(graph, tmp_path):
    source = RandomUtterances((("u1", "audio"), ("u2", "time"), ("u3", "outside"), ("u40", "empty")))
    skips = make(tmp_path / "set", graph, source)
    assert [row["id"] for row in skips.rows] == ["u1", "u2", "u3", "u40"]
    assert list(skips.by_reason()) == [
        "unreadable audio", "mismatch in time", "reference outside its lattice", "empty lattice"
    ]  # fmt: skip
    found = LatticeSet.open(tmp_path / "set")
    assert found.skipped == skips.rows and set(IDS) - set(found) == {"u1", "u2", "u3", "u40"}
    with pytest.raises(DataError, match="4 of 70 utterances skipped, more than the limit of 5 %: u1"):
        make(tmp_path / "strict", graph, source, skip_limit=0.05)
    with pytest.raises(DataError, match="u1: no lattice in"):
        found.read("u1")


def test_a_killed_making_goes_on_and_a_changed_one_begins_again(graph, tmp_path, monkeypatch):
    make(tmp_path / "whole", graph)
    whole, calls, real = content(tmp_path / "whole"), [], lattices.write_lattices

    def dies_at_the_second(path, *arguments):
        calls.append(path.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(path, *arguments)

    monkeypatch.setattr(lattices, "write_lattices", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "set", graph)
    make(tmp_path / "set", graph)
    assert calls == [f"00000{number}.lattices" for number in (0, 1, 1, 2)]
    assert content(tmp_path / "set") == whole
    make(tmp_path / "set", graph)
    assert len(calls) == 4
    make(tmp_path / "set", graph, ids=IDS[:40])
    assert len(calls) == 6 and len(LatticeSet.open(tmp_path / "set")) == 40
    (tmp_path / "set" / "000001.lattices").write_bytes(b"cut short")
    make(tmp_path / "set", graph, ids=IDS[:40])
    assert calls[6:] == ["000001.lattices"]


def test_every_flipped_byte_is_found(graph, tmp_path):
    make(tmp_path / "set", graph, ids=IDS[:3])
    path = tmp_path / "set" / "000000.lattices"
    whole = path.read_bytes()
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"damaged|cut short"):
            found = LatticeSet.open(tmp_path / "set")
            for cut_id in IDS[:3]:
                found.read(cut_id)
            read_index(path)
    for length in (0, 10, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"000000.lattices: damaged"):
            LatticeSet.open(tmp_path / "set")


def test_a_damaged_lattice_says_of_whom(graph, tmp_path):
    make(tmp_path / "set", graph, ids=IDS[:3])
    path = tmp_path / "set" / "000000.lattices"
    offset, _, _ = read_index(path).cuts["u1"]
    damaged = bytearray(path.read_bytes())
    damaged[offset + 20] ^= 4
    path.write_bytes(damaged)
    found = LatticeSet.open(tmp_path / "set")
    found.read("u0")
    with pytest.raises(DataError, match="u1: damaged lattice: checksum"):
        found.read("u1")


@pytest.mark.parametrize("change", ["states", "arcs", "frames", "content", "short"])
def test_lengths_that_do_not_fit_are_refused(graph, tmp_path, change):
    make(tmp_path / "set", graph, ids=IDS[:1])
    data = bytearray(pack(LatticeSet.open(tmp_path / "set").read("u0")))
    position = {"states": 0, "arcs": 4, "frames": 8}.get(change)
    if position is not None:
        data[position] += 1
    elif change == "content":
        data[12:] = data[12:-4]
    else:
        data = data[:7]
    with pytest.raises(DataError, match="damaged lattice"):
        unpack(bytes(data))


def test_lattices_of_different_makings_do_not_mix(graph, tmp_path):
    make(tmp_path / "set", graph)
    write_lattices(tmp_path / "set" / "000001.lattices", "other", {}, [], {"frames": 0, "arcs": 0, "lost": 0})
    with pytest.raises(DataError, match="not all of one making"):
        LatticeSet.open(tmp_path / "set")


def test_a_reference_has_as_many_frames(graph, tmp_path):
    make(tmp_path / "set", graph, ids=IDS[:1])
    referred = LatticeSet.open(tmp_path / "set").read("u0")
    with pytest.raises(ValueError, match="reference of shape"):
        pack(ReferredLattice(referred.lattice, referred.reference[1:]))
