import dataclasses
import multiprocessing

import pytest

from pyasr.base.errors import DataError
from pyasr.report.results_table import COLUMNS, ResultRow, append_rows, format_table, read_table


def row(speaker="ann", **changes):
    values = dict(
        experiment="rotation", setting="default", recipe="an4", fold=0, seed=1, system="tri", condition="clean",
        speaker=speaker, substitutions=2, deletions=1, insertions=3, words=10, settings={"decode.beam": 13.0},
        options="0123456789ab", revision="aaaaaaaaaaaa", command="recipes/run.sh --set 'test.snr_db=[20, 10]'",
    )  # fmt: skip
    return ResultRow(**{**values, **changes})


@pytest.fixture
def table(tmp_path):
    return tmp_path / "recipes" / "results.csv"


def test_rows_come_back_as_they_were(table):
    rows = [
        row(),
        row("Zoë, \"the\" second", fold=None, settings={}),
        row("bob", settings={"a.b": [1, "x\ny"], "c": None}, revision="aaaaaaaaaaaa+bbbbbbbbbbbb"),
    ]
    done = append_rows(table, rows)
    assert (done.added, done.replaced, done.removed, done.kept) == (3, 0, 0, 0)
    assert read_table(table) == rows
    assert table.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert list(table.parent.iterdir()) == [table]  # no lock or temporary file in a committed place


def test_counts_have_the_names_of_score_files():
    assert row().counts == {"sub": 2, "del": 1, "ins": 3, "words": 10}


def test_rows_of_the_same_revision_stay(table):
    append_rows(table, [row(), row("bob")])
    before = table.stat().st_mtime_ns
    done = append_rows(table, [row(), row("bob", substitutions=0, command="another")])
    assert (done.added, done.replaced, done.kept) == (0, 0, 2)
    assert [old.speaker for old in done.contradicted] == ["bob"]
    assert table.stat().st_mtime_ns == before and read_table(table)[1].substitutions == 2


def test_rows_of_another_revision_are_replaced_in_their_place(table):
    append_rows(table, [row(), row("bob"), row("cid", fold=1)])
    done = append_rows(table, [row(revision="bbbbbbbbbbbb", substitutions=0), row("dan", revision="bbbbbbbbbbbb")])
    assert (done.added, done.replaced, done.kept, done.contradicted) == (1, 1, 0, ())
    rows = read_table(table)
    assert [(row.speaker, row.revision[0], row.substitutions) for row in rows] == [
        ("ann", "b", 0), ("bob", "a", 2), ("cid", "a", 2), ("dan", "b", 2)
    ]  # fmt: skip


def test_what_a_dirty_checkout_made_is_replaced(table):
    append_rows(table, [row(revision="aaaaaaaaaaaa-dirty")])
    done = append_rows(table, [row(revision="aaaaaaaaaaaa-dirty", substitutions=0)])
    assert done.replaced == 1 and read_table(table)[0].substitutions == 0
    assert append_rows(table, read_table(table)).kept == 1


def test_a_run_with_other_options_leaves_no_old_rows(table):
    """Else a condition that is no longer made would stay beside the new ones."""
    append_rows(table, [row(), row(condition="snr5"), row("cid", fold=1)])
    done = append_rows(table, [row(options="ba9876543210")])
    assert (done.replaced, done.removed) == (1, 1)
    assert [(row.fold, row.condition, row.options[0]) for row in read_table(table)] == [
        (0, "clean", "b"), (1, "clean", "0")
    ]  # fmt: skip


def line(**changes):
    """A row as a dict of texts."""
    header, text = format_table([row(settings={}, command="run")]).splitlines()
    return {**dict(zip(header.split(","), text.split(","))), **changes}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"sub": "two"}, "sub is 'two', not a whole number"),
        ({"words": "-1"}, "words is '-1', not a whole number"),
        ({"fold": "1.0"}, "fold is '1.0', not a whole number"),
        ({"seed": ""}, "seed is '', not a whole number"),
        ({"speaker": ""}, "speaker is empty"),
        ({"sub": "8", "del": "3"}, "8 substitutions and 3 deletions in 10 words"),
        ({"settings": "{"}, "settings is not JSON"),
        ({"settings": "[1]"}, "settings is not a JSON object"),
        ({"command": "run,again"}, "17 fields where 16 are expected"),
        ({"command": 'run "'}, None),
        ({"speaker": '"ann'}, "unexpected end of data"),
    ],
)
def test_a_damaged_line_is_named(table, changes, message):
    append_rows(table, [row(), row("bob")])
    with open(table, "a") as stream:
        for fields in (line(speaker="cid"), line(**{"speaker": "dan", **changes})):
            stream.write(",".join(fields.values()) + "\n")
    if message is None:
        assert read_table(table)[3].command == 'run "'
        return
    with pytest.raises(DataError, match=r"results\.csv:5: ") as caught:
        read_table(table)
    assert message in str(caught.value)
    damaged = table.read_text()
    with pytest.raises(DataError):
        append_rows(table, [row("eve")])
    assert table.read_text() == damaged


@pytest.mark.parametrize(
    "change, place, message",
    [
        (lambda text: "", 1, "empty"),
        (lambda text: text.replace(b"speaker,", b"speakers,"), 1, "the columns have to be experiment,setting,"),
        (lambda text: text[:-2], 3, "cut off"),
        (lambda text: text + text.splitlines(True)[1], 4, "the same run, system, condition and speaker as line 2"),
        (lambda text: text.replace(b"bob", b"b\xffb"), 3, "not UTF-8"),
        (lambda text: text.replace(b"ann", b"a\nnn"), 2, "fields where 16"),
        (lambda text: b"<<<<<<< HEAD\n" + text, 1, "the columns"),
    ],
)
def test_a_damaged_file_is_named(table, change, place, message):
    append_rows(table, [row(settings={}), row("bob", settings={}, command="run")])
    changed = change(table.read_bytes())
    table.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(DataError, match=f"results.csv:{place}: .*{message}"):
        read_table(table)


def test_a_table_that_is_not_there(table):
    with pytest.raises(DataError, match="no such table"):
        read_table(table)


def _append_some(table, seed):
    for number in range(10):
        append_rows(table, [row(str(number), seed=seed)])


def test_two_processes_append_to_one_table(table):
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=_append_some, args=(table, seed)) for seed in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {(row.seed, row.speaker) for row in read_table(table)} == {(s, str(n)) for s in (1, 2) for n in range(10)}


def test_a_row_knows_its_run():
    assert row().run == ("rotation", "default", 0, 1)
    assert row().key == dataclasses.replace(row(), substitutions=0, revision="b").key
