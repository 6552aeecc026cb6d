"""Printing on a terminal, where a line changes until its utterance has ended."""

import pytest

from pyasr.transcribe.show import Style, show_update
from pyasr.transcribe.streaming import Update
from pyasr.transcribe.transcript import TimedWord

TERMINAL = Style(on_terminal=True)
CLEAR = "\r\x1b[K"


def update(text, final=False, reached_final=True):
    words = tuple(TimedWord(word, 0.25 * i, 0.25 * i + 0.25) for i, word in enumerate(text.split()))
    return Update(0, final, words, 0.0, 1.0, reached_final)


@pytest.fixture
def terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    return capsys


def test_a_line_changes_and_then_stands(terminal):
    for news in (update("DO"), update("DO MI"), update("DO SO", final=True)):
        show_update("", news, TERMINAL)
    assert terminal.readouterr().out == f"{CLEAR}DO{CLEAR}DO MI{CLEAR}DO SO\n"


def test_of_a_long_line_the_end_is_shown(terminal):
    show_update("", update("ONE TWO THREE FOUR FIVE SIX"), TERMINAL)
    assert terminal.readouterr().out == f"{CLEAR}THREE FOUR FIVE SIX"


def test_an_empty_utterance_leaves_no_line(terminal):
    show_update("", update("MI"), TERMINAL)
    show_update("", update("", final=True, reached_final=False), TERMINAL)
    assert terminal.readouterr().out == f"{CLEAR}MI{CLEAR}"


def test_in_a_pipe_only_what_stands(capsys):
    for news in (update("DO"), update("DO SO", final=True)):
        show_update("", news, Style())
    assert capsys.readouterr().out == "DO SO\n"


def test_words_that_may_be_cut_off_come_with_a_warning(terminal):
    show_update("a.wav", update("MI", final=True, reached_final=False), Style(times=True, on_terminal=True))
    out, err = terminal.readouterr()
    assert out == f"{CLEAR}a.wav\t0.00\t0.25\tMI\n" and "warning: a.wav: the search ended before" in err
