import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from pyasr.align.options import SenoneOptions
from pyasr.align.senone_drawing import draw_tree, tree_dot
from pyasr.align.senone_list import COLUMNS, write_listing
from pyasr.align.senones import cluster
from pyasr.align.tree_names import phone_set_name
from pyasr.align.tree_stats import TreeStats
from pyasr.base.errors import ConfigError
from pyasr.lang.phones import PhoneTable

PHONES = PhoneTable(("SIL", "a_B", "a_E", "b_B", "b_E", "c_S"), word_positions=True)


@pytest.fixture(scope="module")
def stats():
    """The frames of a phone depend on its place, then on its left neighbour; c is never seen."""
    rows = [(left, centre, right, 0) for centre in range(1, 6) for left in range(6) for right in range(6)]
    mean = [[5.0 * centre, 9.0 * (PHONES.position(centre) == "_E"), left % 2] for left, centre, _, _ in rows]
    count = np.array([[10.0 + left + 7 * right] for left, _, right, _ in rows])
    packed = count * np.concatenate([np.ones((len(rows), 1)), mean, np.square(mean) + 1], axis=1)
    return TreeStats(np.array(rows, np.int32), packed)


@pytest.fixture(scope="module")
def senones(stats):
    return cluster(stats, [], PHONES, SenoneOptions(num_senones=9, min_occupancy=0))


def test_every_senone_is_listed_once(senones, stats, tmp_path):
    write_listing(senones, stats, tmp_path)
    header, *lines = (tmp_path / "senones.txt").read_text().splitlines()
    assert header.split("\t") == list(COLUMNS)
    rows = [dict(zip(COLUMNS, line.split("\t"), strict=True)) for line in lines]
    assert [int(row["senone"]) for row in rows] == list(range(9))
    assert [float(row["frames"]) for row in rows] == senones.occupancy.round().tolist()
    assert sum(int(row["triphones"]) for row in rows) == len(stats.windows)
    assert [row["phone"] for row in rows].count("SIL") == 1
    (never_seen,) = (row for row in rows if row["phone"] == "c")
    assert (never_seen["frames"], never_seen["triphones"], never_seen["most_frequent"]) == ("0", "0", "-")


def test_places_questions_and_triphones_of_a_senone_agree(senones, stats, tmp_path):
    write_listing(senones, stats, tmp_path)
    lines = (tmp_path / "senones.txt").read_text().splitlines()[1:]
    of_a = [dict(zip(COLUMNS, line.split("\t"))) for line in lines if line.split("\t")[1] == "a"]
    assert {row["places"] for row in of_a} == {"_B", "_E"}
    for row in of_a:
        first = row["questions"].split("; ")[0]
        assert first in ("phone in _E", "phone not in _E", "phone in _B", "phone not in _B")
        assert all(f"-a{row['places']}+" in triphone for triphone in row["most_frequent"].split(", "))
    # The largest ids of both neighbours have the most frames.
    assert sum(row["most_frequent"].startswith("b_E-a_B+b_E 50, ") for row in of_a) == 1
    counts = [int(triphone.split()[1]) for triphone in of_a[0]["most_frequent"].split(", ")]
    assert counts == sorted(counts, reverse=True) and len(counts) == 5


def test_sets_of_phones_are_named_by_what_they_share():
    assert phone_set_name(frozenset({2, 4}), PHONES) == "_B"
    assert phone_set_name(frozenset({2, 4, 6}), PHONES) == "_B _S"
    assert phone_set_name(frozenset({2, 3}), PHONES) == "a"
    assert phone_set_name(frozenset({0, 1, 4, 5}), PHONES) == "SIL b"
    assert phone_set_name(frozenset({2}), PHONES) == "a_B"
    assert phone_set_name(frozenset({2, 3}), PhoneTable(("SIL", "x", "y"))) == "x y"


def test_the_trees_of_all_phones_hold_every_senone(senones, stats, tmp_path):
    write_listing(senones, stats, tmp_path)
    dot = (tmp_path / "tree.dot").read_text()
    assert dot == tree_dot(senones)
    for senone_id in range(9):
        assert dot.count(f'[label="{senone_id}\\n') == 1
    edges = dot.count(" -> ")
    assert edges == len(senones.tree.nodes)  # each node has one above it: another, or the name of its phone


@pytest.mark.parametrize("suffix", ["svg", "png", "dot"])
def test_the_tree_of_a_phone_is_drawn(senones, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    draw_tree(senones, "a", path)
    of_a = senones.tree.all_pdfs(2, 0) + senones.tree.all_pdfs(3, 0)
    if suffix == "png":
        assert path.read_bytes().startswith(b"\x89PNG")
        return
    text = path.read_text()
    if suffix == "svg":
        shown = {"".join(element.itertext()) for element in ElementTree.fromstring(text).iter()}
        assert {str(senone_id) for senone_id in of_a} <= shown
        assert not {str(senone_id) for senone_id in senones.tree.all_pdfs(4, 0)} & shown
        again = tmp_path / "again.svg"
        draw_tree(senones, "a", again)
        assert again.read_text() == text
    else:
        assert text == tree_dot(senones, "a") and text.count("ellipse") == len(of_a)


def test_what_cannot_be_drawn_is_said(senones, tmp_path):
    with pytest.raises(ConfigError, match="no phone 'zz'; there are SIL a b c"):
        draw_tree(senones, "zz", tmp_path / "a.svg")
    with pytest.raises(ConfigError, match=r"a\.gif: trees are drawn as"):
        draw_tree(senones, "a", tmp_path / "a.gif")
