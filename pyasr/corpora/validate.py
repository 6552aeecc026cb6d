"""Checks before work: every file is decoded and every transcript read once, so that nothing fails an hour later.

What makes all numbers wrong is an error: an id used twice, a speaker in training and in test, too much left out.
What spoils one utterance is a skip, listed with the utterance, the file and the reason, and bounded by a limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lhotse import CutSet, MonoCut

from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.base.skips import Skips
from pyasr.corpora.check_audio import audio_fault
from pyasr.corpora.manifest import PARTS, iterate_cuts
from pyasr.corpora.options import ValidationOptions
from pyasr.corpora.shards import Size, SkipRows, rewrite

SAMPLING_RATE = 16000
_JOBS = 64  # fixed, so that the partition does not depend on the number of workers
_SHOWN = 5
_TRAINING = ("transcribed", "untranscribed")


@dataclass
class Validated:
    """cuts: what is left, by part. skips: rows {"id", "part", "reason"}. oov: unknown words with counts, by part."""

    cuts: dict[str, CutSet]
    skips: Skips
    oov: dict[str, dict[str, int]]
    notes: list[str]


def validate_cuts(
    cuts: Mapping[str, CutSet],
    known_words: AbstractSet[str],
    options: ValidationOptions,
    executor: Executor,
    corpus_skipped: Sequence[dict[str, str]] = (),
) -> Validated:
    """Check all parts of a corpus; return what is usable.

    known_words: the words of the lexicon. corpus_skipped: rows of the corpus' skipped.jsonl; they count towards
    the limit. Training utterances with unknown words are dropped; those of dev and test are kept and counted,
    for leaving them out would flatter the word error rate.
    DataError: an id twice, a speaker in training and test, a part without utterances, more skipped than
    `options.skip_limit` (in a part or of all) or more unknown words than `options.oov_limit` in a part.
    """
    by_part = {part: list(cuts.get(part, ())) for part in PARTS}
    _check_shapes(by_part)
    _check_ids(by_part)
    notes = _check_speakers(by_part) + _note_rates(by_part)
    everything = [(part, cut) for part in PARTS for cut in by_part[part]]
    jobs = split_jobs([cut for _, cut in everything], _JOBS)
    faults = [fault for job in run_jobs(executor, _audio_faults, jobs, "checking audio") for fault in job]

    skips = Skips("utterances", options.skip_limit)
    skips.extend(corpus_skipped)
    oov: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
    kept: dict[str, list[MonoCut]] = {part: [] for part in PARTS}
    for (part, cut), fault in zip(everything, faults, strict=True):
        reason = fault or _text_fault(part, cut, options)
        unknown = [] if reason else _unknown_words(cut, known_words)
        oov[part].update(unknown)
        if unknown and part == "transcribed":
            reason = f"words outside the lexicon: {' '.join(unknown)}"
        if reason:
            skips.rows.append({"id": cut.id, "part": part, "reason": reason})
        else:
            kept[part].append(cut)
    _check_oov(by_part, oov, known_words, options.oov_limit)
    for part in PARTS:
        _check_part(part, kept[part], skips)
    skips.check(len(everything) + len(corpus_skipped))
    notes += [_oov_note(part, oov[part]) for part in PARTS if oov[part]]
    return Validated(
        cuts={part: CutSet.from_cuts(kept[part]) for part in PARTS},
        skips=skips,
        oov={part: dict(oov[part].most_common()) for part in PARTS},
        notes=notes,
    )


def validate_manifests(
    folder: Path, target: Path, cuts: Mapping[str, CutSet], options: ValidationOptions, executor: Executor
) -> Size:
    """Check an untranscribed part in many manifests, each by itself, and write what is usable to `target`.

    cuts: the other parts. Errors as of `validate_cuts`, but an id that is used in two of the manifests is not seen.
    """
    taken = {cut.id: part for part, of_part in cuts.items() for cut in of_part}
    check = partial(_check_manifest, options, taken, _by_speaker(cuts["test"]))
    size = rewrite(folder, target, check, executor, "checking audio")
    Skips("untranscribed utterances", options.skip_limit, size.skips).check(size.utterances + len(size.skips))
    return size


def _check_manifest(
    options: ValidationOptions, taken: Mapping[str, str], test: Mapping[str, str], path: Path
) -> tuple[list[MonoCut], SkipRows]:
    cuts = list(iterate_cuts(path))
    _check_shapes({path.name: cuts})
    _check_ids({path.name: cuts}, taken)
    _refuse_shared(path.name, cuts, test)
    faults = [audio_fault(cut) or _text_fault("untranscribed", cut, options) for cut in cuts]
    skips = [
        {"id": cut.id, "part": "untranscribed", "reason": fault} for cut, fault in zip(cuts, faults) if fault
    ]
    return [cut for cut, fault in zip(cuts, faults) if not fault], skips


def _audio_faults(cuts: list[MonoCut]) -> list[str | None]:
    return [audio_fault(cut) for cut in cuts]


def _check_shapes(by_part: Mapping[str, Sequence[MonoCut]]) -> None:
    for part, cuts in by_part.items():
        for cut in cuts:
            if not isinstance(cut, MonoCut) or cut.recording is None:
                raise DataError(f"{part}: cut {cut.id} is not one channel of one recording; split it first")
            if len(cut.supervisions) != 1 or not cut.supervisions[0].speaker:
                raise DataError(
                    f"{part}: cut {cut.id} needs one supervision with a speaker, has {len(cut.supervisions)};"
                    " use CutSet.trim_to_supervisions and set the speakers"
                )


def _check_ids(by_part: Mapping[str, Sequence[MonoCut]], taken: Mapping[str, str] | None = None) -> None:
    """taken: ids of other parts, with the part."""
    seen = dict(taken or {})
    for part, cuts in by_part.items():
        for cut in cuts:
            if cut.id in seen:
                raise DataError(f"utterance id {cut.id} is used twice: in {seen[cut.id]} and in {part}")
            seen[cut.id] = part


def _check_speakers(by_part: Mapping[str, Sequence[MonoCut]]) -> list[str]:
    """DataError when training and test share speakers; a note when dev shares some with either."""
    speakers = {part: {cut.supervisions[0].speaker for cut in cuts} for part, cuts in by_part.items()}
    for part in _TRAINING:
        _refuse_shared(part, by_part[part], _by_speaker(by_part["test"]))
    shared_dev = {part: sorted(speakers[part] & speakers["dev"]) for part in (*_TRAINING, "test")}
    return [
        f"{len(names)} speakers of dev are also in {part}: {', '.join(names[:_SHOWN])}"
        for part, names in shared_dev.items()
        if names
    ]


def _by_speaker(cuts: Iterable[MonoCut]) -> dict[str, str]:
    """{speaker: the id of the first cut}"""
    found: dict[str, str] = {}
    for cut in cuts:
        found.setdefault(cut.supervisions[0].speaker, cut.id)
    return found


def _refuse_shared(part: str, cuts: Iterable[MonoCut], test: Mapping[str, str]) -> None:
    """test: of each of its speakers a cut."""
    shared = sorted({cut.supervisions[0].speaker for cut in cuts} & test.keys())
    if shared:
        raise DataError(
            f"{len(shared)} speakers are in {part} and in test ({', '.join(shared[:_SHOWN])}; for example"
            f" {test[shared[0]]}): move each to one part, or the word error rate says nothing about new speakers"
        )


def _note_rates(by_part: Mapping[str, Sequence[MonoCut]]) -> list[str]:
    rates = Counter(cut.sampling_rate for cuts in by_part.values() for cut in cuts)
    if set(rates) <= {SAMPLING_RATE}:
        return []
    listed = ", ".join(f"{count} utterances at {rate} Hz" for rate, count in sorted(rates.items()))
    return [f"{listed}: resampled to {SAMPLING_RATE} Hz when read"]


def _text_fault(part: str, cut: MonoCut, options: ValidationOptions) -> str | None:
    text = cut.supervisions[0].text
    if cut.duration < options.min_duration_s:
        return f"too short: {cut.duration:.2f} s, less than {options.min_duration_s:g} s"
    if cut.duration > options.max_duration_s:
        return f"too long: {cut.duration:.2f} s, more than {options.max_duration_s:g} s"
    if part == "untranscribed":
        return None
    words = (text or "").split()
    if not words:
        return "empty transcript"
    if len(words) > options.max_words_per_s * cut.duration:
        return f"too short for its transcript: {len(words)} words in {cut.duration:.2f} s"
    return None


def _unknown_words(cut: MonoCut, known_words: AbstractSet[str]) -> list[str]:
    return [word for word in (cut.supervisions[0].text or "").split() if word not in known_words]


def _check_oov(
    by_part: Mapping[str, Sequence[MonoCut]],
    oov: Mapping[str, Counter[str]],
    known_words: AbstractSet[str],
    limit: float,
) -> None:
    for part, unknown in oov.items():
        words = sum(len((cut.supervisions[0].text or "").split()) for cut in by_part[part])
        if sum(unknown.values()) <= limit * words:
            continue
        upper = {word.upper() for word in known_words}
        case_only = sum(count for word, count in unknown.items() if word.upper() in upper)
        hint = "; most differ from the lexicon in case only" if case_only > sum(unknown.values()) / 2 else ""
        raise DataError(
            f"{part}: {sum(unknown.values())} of {words} words are outside the lexicon, more than the limit of"
            f" {100 * limit:g} %{hint}: {_listed(unknown)}; add them to the lexicon or raise oov_limit"
        )


def _check_part(part: str, kept: Sequence[MonoCut], skips: Skips) -> None:
    rows = [row for row in skips.rows if row.get("part") == part]
    Skips(f"{part} utterances", skips.limit, rows).check(len(rows) + len(kept))
    if not kept and part != "untranscribed":
        raise DataError(f"{part}: no utterances; check the corpus folder and its options")


def _oov_note(part: str, unknown: Counter[str]) -> str:
    done = "their utterances dropped" if part == "transcribed" else "kept: each is an error"
    return f"{part}: {sum(unknown.values())} words outside the lexicon ({done}): {_listed(unknown)}"


def _listed(unknown: Counter[str]) -> str:
    listed = ", ".join(f"{word} {count}" for word, count in unknown.most_common(_SHOWN))
    return listed + (f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else "")
