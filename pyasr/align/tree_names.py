"""Triphones and the questions of trees in words."""

from __future__ import annotations

import numpy as np

from pyasr.align.tree import Tree
from pyasr.lang.phones import EPSILON_ID, PhoneTable


def question_name(tree: Tree, phones: PhoneTable, side: int, question: int, answer: bool) -> str:
    """As "left in AA AE" or "right not in _E _S"."""
    where = ("left", "phone", "right")[side]
    return f"{where} {'in' if answer else 'not in'} {phone_set_name(tree.questions[question], phones)}"


def phone_set_name(members: frozenset[int], phones: PhoneTable) -> str:
    """Places in the word or phones in all places, where these are all there is; else single phones."""
    wanted = members - {EPSILON_ID}
    by_place: dict[str, set[int]] = {}
    for phone_id in phones.ids:
        by_place.setdefault(phones.position(phone_id), set()).add(phone_id)
    for named in (
        [(place, ids) for place, ids in by_place.items() if place],
        [(phones.base(group[0]), set(group)) for group in phones.groups],
    ):
        whole = [(name, ids) for name, ids in named if ids <= wanted]
        if wanted and wanted == set().union(*(ids for _, ids in whole)):
            return " ".join(sorted(name for name, _ in whole))
    return " ".join(phones.name(phone_id) for phone_id in sorted(wanted))


def triphone_name(window: np.ndarray, phones: PhoneTable) -> str:
    """As "K_B-AE_I+T_E"; "." stands for what lies outside the utterance. window: (left, centre, right, ...)."""
    left, centre, right = ("." if phone_id == EPSILON_ID else phones.name(phone_id) for phone_id in window[:3].tolist())
    return f"{left}-{centre}+{right}"
