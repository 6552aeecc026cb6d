"""What the demo's speakers say: AN4-like prompts (spelling, numbers, dates, commands) and simple sentences.

A prompt is a function of the generator and the invented words alone. The text for the language model is drawn from the
same grammar with another key, so that it is not the test prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import numpy as np

from pyasr.base.seeds import rng as generator


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = _words("ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE")
TEENS = _words("TEN ELEVEN TWELVE THIRTEEN FOURTEEN FIFTEEN SIXTEEN SEVENTEEN EIGHTEEN NINETEEN")
TENS = _words("TWENTY THIRTY FORTY FIFTY SIXTY SEVENTY EIGHTY NINETY")
MONTHS = _words(
    "JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER"
)
ORDINALS = _words("FIRST SECOND THIRD FOURTH FIFTH SIXTH SEVENTH EIGHTH NINTH TENTH TWENTIETH THIRTIETH")
DAYS = _words("MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY")
COMMANDS = _words("ENTER STOP HELP YES NO GO START REPEAT ERASE RUBOUT CANCEL CONTINUE")
NAMES = _words(
    "ALICE ANNA BEN CARLA DAVID EMMA FRANK GRACE HENRY IRIS JACK KAREN LUCY MARTIN NORA OLIVER PETER QUENTIN ROSE"
    " SIMON THOMAS VERA WALTER"
)
PEOPLE = _words(
    "DOCTOR TEACHER FARMER DRIVER SAILOR PAINTER BAKER WRITER STUDENT NEIGHBOUR BROTHER SISTER MOTHER FATHER CHILD"
    " QUEEN KING SINGER NURSE PILOT"
)
THINGS = _words(
    "TABLE CHAIR WINDOW DOOR BOOK LETTER BOTTLE BASKET CARPET CANDLE MIRROR PICTURE HAMMER LADDER BLANKET PENCIL"
    " PAPER TICKET JACKET BUTTON CAMERA RADIO CLOCK KNIFE SPOON PLATE CHEESE BREAD BUTTER APPLE ORANGE CHERRY"
    " SHIP BOAT TRAIN WAGON BICYCLE KEY BELL BOX MAP ROPE STONE FEATHER GARDEN"
)
PLACES = _words(
    "KITCHEN BEDROOM OFFICE STATION MARKET HARBOUR VILLAGE CITY FOREST RIVER MOUNTAIN ISLAND BRIDGE SCHOOL CHURCH"
    " HOTEL GARAGE MUSEUM LIBRARY BEACH"
)
QUALITIES = _words(
    "OLD NEW RED BLUE GREEN YELLOW WHITE BLACK HEAVY LITTLE HUGE BROKEN CLEAN DIRTY EMPTY GOLDEN WOODEN HAPPY QUIET"
    " CHEAP SHARP SMOOTH STRANGE ROUND YOUNG"
)
DID = _words(
    "FOUND LOST BOUGHT SOLD PAINTED CARRIED DROPPED OPENED WASHED FORGOT BROUGHT WATCHED TOUCHED PUSHED NOTICED"
    " FIXED WANTED MOVED"
)
DO = _words("FIND BRING SHOW OPEN CLOSE MOVE CARRY WASH PAINT TOUCH WATCH REMEMBER DESCRIBE")
WHERE = _words("IN NEAR BEHIND UNDER BESIDE FROM")
WHEN = _words("TODAY TOMORROW YESTERDAY TONIGHT NOW LATER")
DEVICES = _words("LIGHT LAMP HEATER MUSIC TELEVISION OVEN FAN ALARM")

# Syllables of invented words, open but for the last, in spellings that the engine says with the demo's phones.
ONSETS = _words(
    "B BL BR CH D DR F FL FR G GL GR H J K KL KR L M N P PL PR R S SH SK SL SM SN SP ST STR SW T TH TR TW V W Y Z"
)
NUCLEI = _words("A E I O U AI EE IE OA OO OU OY AR ER OR")
CODAS = ("", *_words("B CK D F G L LD LM LT M MP N ND NG NK NT P S SH SK ST T TH V Z"))

_Grammar = Callable[[np.random.Generator], list[str]]


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def _digit(rng: np.random.Generator) -> str:
    return "OH" if rng.random() < 0.08 else _pick(rng, DIGITS)


def _below_hundred(rng: np.random.Generator) -> list[str]:
    kind = rng.random()
    if kind < 0.3:
        return [_pick(rng, TEENS)]
    return [_pick(rng, TENS)] + ([_pick(rng, DIGITS[1:])] if kind < 0.8 else [])


def _spelling(rng: np.random.Generator) -> list[str]:
    if rng.random() < 0.4:
        return list(_pick(rng, NAMES))
    return [_pick(rng, LETTERS) for _ in range(rng.integers(3, 7))]


def _digits(rng: np.random.Generator) -> list[str]:
    return [_digit(rng) for _ in range(7 if rng.random() < 0.5 else rng.integers(3, 6))]


def _date(rng: np.random.Generator) -> list[str]:
    ordinal = [_pick(rng, ORDINALS)] if rng.random() < 0.7 else ["TWENTY", _pick(rng, ORDINALS[:9])]
    day = [_pick(rng, DAYS)] if rng.random() < 0.3 else []
    year = ["NINETEEN", *_below_hundred(rng)] if rng.random() < 0.6 else []
    return [*day, _pick(rng, MONTHS), *ordinal, *year]


def _command(rng: np.random.Generator) -> list[str]:
    mixed = [_pick(rng, LETTERS) for _ in range(rng.integers(1, 5))] + [_digit(rng) for _ in range(rng.integers(0, 4))]
    return [_pick(rng, COMMANDS), *(mixed if rng.random() < 0.7 else [])]


def _amount(rng: np.random.Generator) -> list[str]:
    hundreds = [_pick(rng, DIGITS[1:]), "HUNDRED"] if rng.random() < 0.5 else [_pick(rng, DIGITS[1:]), "THOUSAND"]
    return [*hundreds, "AND", *_below_hundred(rng)]


def _noun(rng: np.random.Generator) -> list[str]:
    return ["THE", *([_pick(rng, QUALITIES)] if rng.random() < 0.6 else []), _pick(rng, THINGS)]


def _who(rng: np.random.Generator) -> list[str]:
    return [_pick(rng, NAMES)] if rng.random() < 0.5 else ["THE", _pick(rng, PEOPLE)]


def _place(rng: np.random.Generator) -> list[str]:
    return [_pick(rng, WHERE), "THE", _pick(rng, PLACES)]


def _statement(rng: np.random.Generator) -> list[str]:
    end = _place(rng) if rng.random() < 0.6 else [_pick(rng, WHEN)] if rng.random() < 0.4 else []
    return [*_who(rng), _pick(rng, DID), *_noun(rng), *end]


def _request(rng: np.random.Generator) -> list[str]:
    start = (["PLEASE"], ["CAN", "YOU"], ["WILL", _pick(rng, NAMES)], ["DO", "NOT"])[int(rng.integers(4))]
    return [*start, _pick(rng, DO), *_noun(rng), *(_place(rng) if rng.random() < 0.4 else [])]


def _home(rng: np.random.Generator) -> list[str]:
    switch = "ON" if rng.random() < 0.5 else "OFF"
    if rng.random() < 0.6:
        return ["TURN", switch, "THE", _pick(rng, DEVICES), "IN", "THE", _pick(rng, PLACES[:3])]
    return ["SET", "THE", "ALARM", "FOR", _pick(rng, DIGITS[5:] + TEENS[:3]), *_below_hundred(rng)]


_GRAMMARS: tuple[tuple[float, _Grammar], ...] = (
    (0.14, _spelling),
    (0.14, _digits),
    (0.12, _date),
    (0.12, _command),
    (0.06, _amount),
    (0.20, _statement),
    (0.14, _request),
    (0.08, _home),
)


def draw_prompt(rng: np.random.Generator, invented: Sequence[str] = ()) -> list[str]:
    """The words of one prompt; where there are invented words, every second prompt is three to six of them."""
    if invented and rng.random() < 0.5:
        return [invented[index] for index in rng.integers(len(invented), size=rng.integers(3, 7))]
    bounds = np.cumsum([weight for weight, _ in _GRAMMARS])
    return _GRAMMARS[int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))][1](rng)


def invented_words(num_words: int) -> tuple[str, ...]:
    """Words that no prompt has otherwise, the first of a sequence that is always the same."""
    others, words = set(vocabulary()), {}
    for index in count():
        if len(words) == num_words:
            break
        word = _invent(generator(0, "demo-invented-word", index))
        if word not in others:
            words[word] = None
    return tuple(words)


def _invent(rng: np.random.Generator) -> str:
    syllables = [_pick(rng, ONSETS) + _pick(rng, NUCLEI) for _ in range(rng.integers(2, 5))]
    return "".join(syllables) + _pick(rng, CODAS)


def vocabulary(invented: Sequence[str] = ()) -> list[str]:
    """Every word that a prompt can hold, sorted."""
    lists = (
        LETTERS, DIGITS, TEENS, TENS, MONTHS, ORDINALS, DAYS, COMMANDS, NAMES, PEOPLE, THINGS, PLACES, QUALITIES,
        DID, DO, WHERE, WHEN, DEVICES,
        ("OH", "HUNDRED", "THOUSAND", "AND", "THE", "PLEASE", "CAN", "YOU", "WILL", "DO", "NOT", "TURN", "ON"),
        ("OFF", "SET", "FOR", "IN"),
    )  # fmt: skip
    return sorted({word for words in (*lists, invented) for word in words})
