"""From transition ids per frame to phones, words and times; and to the ids of another model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyasr.lang.context import ContextMap
from pyasr.lang.transitions import TransitionModel


def phone_starts(tids: np.ndarray, transitions: TransitionModel) -> np.ndarray:
    """int64 (n,): frames at which a phone begins. tids: int32 (T,)."""
    return np.flatnonzero(transitions.is_entry(tids) & (transitions.tid_to_state[tids] == 0))


def phone_segments(tids: np.ndarray, transitions: TransitionModel) -> list[tuple[int, int, int]]:
    """(phone_id, start_frame, end_frame), end exclusive. Entry ids tell repeated phones apart."""
    starts = phone_starts(tids, transitions)
    ends = [*starts[1:], len(tids)]
    return [(int(transitions.tid_to_phone[tids[s]]), int(s), int(e)) for s, e in zip(starts, ends)]


def word_segments(arc_word: np.ndarray) -> list[tuple[int, int, int]]:
    """(word_index, start_frame, end_frame), end exclusive. arc_word: int32 (T,), -1 in silence."""
    changes = np.flatnonzero(np.diff(arc_word, prepend=-2))
    ends = [*changes[1:], len(arc_word)]
    return [(int(arc_word[s]), int(s), int(e)) for s, e in zip(changes, ends) if arc_word[s] >= 0]


def split_into_words(
    segments: Sequence[tuple[int, int, int]],
    pronunciations: Sequence[Sequence[tuple[int, ...]]],
    silence_id: int,
    complete: bool = True,
) -> list[tuple[int, int, int]] | None:
    """(word_index, start_frame, end_frame), end exclusive, of the words of a path; None where they are not its words.

    segments: of `phone_segments`. pronunciations: for each word its alternatives, phone ids. Silence may stand before
    the first word and after each, as in the decoding graph.
    complete: False for a path that breaks off. Of its last words the phones, or the last of them, are then missing,
    since a graph puts a word out before its phones; words without a phone are left out. Phones at the end may be
    those of a word that was not put out yet.
    """
    phones = [phone_id for phone_id, _, _ in segments]
    # For each word, by where it may end: where it then begins, and where the word before it ends.
    layers: list[dict[int, tuple[int, int]]] = []
    ends = {0}
    for alternatives in pronunciations:
        layer: dict[int, tuple[int, int]] = {}
        for before in ends:
            starts = {before, before + 1} if phones[before : before + 1] == [silence_id] else {before}
            for start in starts:
                for alternative in alternatives:
                    heard = tuple(phones[start : start + len(alternative)])
                    if heard == alternative or (not complete and heard and heard == alternative[: len(phones) - start]):
                        layer.setdefault(start + len(heard), (start, before))
        if not layer and not complete and any(phones[end:] in ([], [silence_id]) for end in ends):
            break
        layers.append(layer)
        ends = set(layer)
    if complete:
        ends = {end for end in ends if phones[end:] in ([], [silence_id])}
    if not ends:
        return None
    end, words = max(ends), []
    for index in reversed(range(len(layers))):
        start, before = layers[index][end]
        words.append((index, segments[start][1], segments[end - 1][2]))
        end = before
    return words[::-1]


def phone_windows(phone_ids: list[int], width: int) -> list[tuple[int, ...]]:
    """The context window of each phone of an utterance; 0 stands for what lies outside."""
    if width == 1:
        return [(phone_id,) for phone_id in phone_ids]
    padded = [0, *phone_ids, 0]
    return list(zip(padded, padded[1:], padded[2:]))


def convert_alignment(
    tids: np.ndarray, old: TransitionModel, new: TransitionModel, new_context: ContextMap
) -> np.ndarray:
    """The same phones, states and times in the transition ids of another model with the same topology.

    tids: int32 (T,) of `old`. Returns int32 (T,) of `new`. DataError when the topologies differ.
    """
    segments = phone_segments(tids, old)
    windows = phone_windows([phone_id for phone_id, _, _ in segments], new_context.width)
    converted = np.empty_like(tids)
    loops = ~old.is_entry(tids)
    for window, (_, start, end) in zip(windows, segments):
        entries = np.array(new.entry_tids(window, new_context), np.int32)
        converted[start:end] = entries[old.tid_to_state[tids[start:end]]] + loops[start:end]
    return converted
