"""What is said of long work where there is no terminal."""

import pytest

from pyasr.base import progress
from pyasr.base.progress import track


@pytest.fixture
def said(monkeypatch, capsys):
    """said(iterable, ...): the lines, one an item, each a second after the one before it."""

    def run(iterable, **options):
        seconds = iter(range(1000))
        monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
        monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(seconds)))
        assert list(track(iterable, "work", **options)) == list(iterable)
        return capsys.readouterr().err.splitlines()

    return run


def test_of_a_known_number_of_items(said):
    assert said([7, 8, 9, 10])[1] == "  work: 2/4 utt, 2 s left"


def test_without_a_number(said):
    assert said([7, 8], total=None, unit="batch")[0] == "  work: 1/2 batch, 1 s left"
    assert list(track(iter([1]), "work")) == [1]


def test_of_a_known_share_that_begins_in_the_middle(said):
    lines = said([0.5, 0.6, 0.7, 1.0], unit="batch", share=lambda item: item)
    assert lines[0] == "  work: 1 batch, 50.0 %"
    assert lines[1:3] == ["  work: 2 batch, 60.0 %, 4 s left", "  work: 3 batch, 70.0 %, 3 s left"]


def test_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(progress.rich.console.Console, "is_terminal", property(lambda self: True))
    assert list(track([0.5, 1.0], "work", share=lambda item: item)) == [0.5, 1.0]
    assert list(track([1, 2], "work")) == [1, 2]
