import pytest

from pyasr.base.errors import DataError
from pyasr.report.measures_table import COLUMNS, MEASURES, MeasureRow, append_measures, read_measures


def row(measure="dev_loss", value=1.25, **changes):
    values = dict(
        experiment="rotation", setting="default", recipe="an4", fold=0, seed=1, system="student", measure=measure,
        value=value, options="0123456789ab", revision="aaaaaaaaaaaa",
    )  # fmt: skip
    return MeasureRow(**{**values, **changes})


@pytest.fixture
def table(tmp_path):
    return tmp_path / "measures.csv"


def test_rows_come_back_as_they_were(table):
    rows = [row(), row("parameters", 24_123_456.0, fold=None), row("kept", 0.99326, setting="Zoë, \"second\"")]
    done = append_measures(table, rows)
    assert (done.added, done.replaced, done.removed, done.kept) == (3, 0, 0, 0)
    assert read_measures(table) == rows
    header, *lines = table.read_text().splitlines()
    assert header == ",".join(COLUMNS) and ",parameters,24123456," in lines[1]
    assert append_measures(table, rows).kept == 3


def test_what_is_found_again_stays_and_times_contradict_nothing(table):
    append_measures(table, [row(), row("train_s", 100.0)])
    done = append_measures(table, [row(value=1.0), row("train_s", 200.0)])
    assert done.kept == 2 and [old.measure for old in done.contradicted] == ["dev_loss"]
    assert [row.value for row in read_measures(table)] == [1.25, 100.0]


def test_other_options_leave_no_old_rows(table):
    append_measures(table, [row(), row("kept", 0.9), row("kept", 0.8, fold=1)])
    done = append_measures(table, [row(value=1.0, options="b")])
    assert (done.replaced, done.removed) == (1, 1)
    assert [(row.fold, row.measure, row.value) for row in read_measures(table)] == [
        (0, "dev_loss", 1.0), (1, "kept", 0.8)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"measure": "loss"}, "measure 'loss' is unknown; there are parameters, "),
        ({"measure": ""}, "measure is empty"),
        ({"system": ""}, "system is empty"),
        ({"options": ""}, "options is empty"),
        ({"value": ""}, "value is '', not a number"),
        ({"value": "1,2"}, "11 fields where 10 are expected"),
        ({"value": "nan"}, "value is 'nan', not finite"),
        ({"value": "1e999"}, "value is '1e999', not finite"),
        ({"seed": "-1"}, "seed is '-1', not a whole number"),
        ({"fold": "x"}, "fold is 'x', not a whole number"),
        ({"measure": "dev_loss"}, "the same run, system and measure as line 2"),
    ],
)
def test_a_damaged_line_is_named(table, changes, message):
    append_measures(table, [row()])
    fields = dict(zip(COLUMNS, table.read_text().splitlines()[1].split(",")))
    with open(table, "a") as stream:
        stream.write(",".join({**fields, "measure": "kept", **changes}.values()) + "\n")
    damaged = table.read_text()
    with pytest.raises(DataError, match=r"measures\.csv:3: ") as caught:
        read_measures(table)
    assert message in str(caught.value)
    with pytest.raises(DataError):
        append_measures(table, [row("kept", 0.5)])
    assert table.read_text() == damaged


def test_a_table_of_results_is_none_of_measures(table):
    table.write_text("experiment,setting,recipe,fold,seed,system,condition\n")
    with pytest.raises(DataError, match=r"measures\.csv:1: the columns have to be experiment,setting,.*,value,"):
        read_measures(table)


def test_reductions_by_hand():
    assert MEASURES["dev_loss"].reduction(2.0, 1.5) == MEASURES["kept"].reduction(0.5, 0.625) == 25.0
    assert MEASURES["parameters"].reduction(4.0, 5.0) == -25.0
    with pytest.raises(DataError, match="bytes a stored frame of the base is 0"):
        MEASURES["bytes_per_row"].reduction(0.0, 1.0)
