"""The corpus folder: what every corpus writes, and every later stage reads.

    {transcribed,untranscribed,dev,test}.jsonl.gz   Lhotse cuts: one supervision a cut (same id), one channel
    untranscribed/*.jsonl.gz   in the place of untranscribed.jsonl.gz, which is empty then: a part of any size
    withheld.jsonl     {"id", "text"} of the untranscribed part, read by the topline and the scorer only
    lexicon.txt        WORD PHONE PHONE ...; alternatives on further lines
    lm.arpa or lm_text.txt   a language model, or sentences to estimate one from (one a line)
    skipped.jsonl      {"id", "part", "reason"} of utterances left out while reading the corpus
    noise/{train,test}/*.flac, phone_times.jsonl    demo only

The supervisions of the untranscribed part have no text. Writing is a function of the content alone (the
gzip header carries no time), so equal corpora are equal files.
"""

from __future__ import annotations

import gzip
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.serialization import deserialize_item

from pyasr.base.artifact import atomic_path, write_jsonl
from pyasr.base.errors import DataError
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.corpora.check_audio import probe_audio

PARTS = ("transcribed", "untranscribed", "dev", "test")
_PROBE_JOBS = 32  # fixed, so that the partition does not depend on the number of workers
_ROUNDING_S = 0.02  # segment times are commonly rounded to 10 ms: up to this beyond the end is cut off


@dataclass(frozen=True)
class Utterance:
    """One utterance as a corpus describes it. duration_s None: up to the end of the audio file."""

    id: str
    speaker: str
    text: str | None
    audio: Path
    start_s: float = 0.0
    duration_s: float | None = None
    recording_id: str | None = None


@dataclass
class Summary:
    """What a corpus wrote (utterances, speakers, hours a part), notes for the digest, what was left out."""

    parts: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def write_cuts(path: str | Path, cuts: Iterable[MonoCut]) -> None:
    """Write cuts as .jsonl.gz, atomically and reproducibly."""
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as stream,
    ):
        for cut in cuts:
            stream.write((json.dumps(cut.to_dict(), ensure_ascii=False, sort_keys=True) + "\n").encode())


def read_cuts(path: str | Path) -> CutSet:
    """Read a .jsonl.gz (or plain .jsonl) of cuts into memory; DataError names file and line. May be empty."""
    return CutSet.from_cuts(iterate_cuts(path))


def iterate_cuts(path: str | Path) -> Iterator[MonoCut]:
    """The cuts of a .jsonl.gz (or plain .jsonl), one at a time; errors as of `read_cuts`."""
    for number, line in enumerate(iterate_lines(path), 1):
        yield parse_cut(line, f"{path}:{number}")


def iterate_lines(path: str | Path) -> Iterator[str]:
    """The lines of a text file, gzipped if its name says so. DataError when it is missing or damaged."""
    path = Path(path)
    try:
        with open(path, "rb") as raw:
            stream = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            yield from io.TextIOWrapper(stream, encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; run the stage that writes it") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: damaged ({error}); run the stage that writes it again") from error


def parse_cut(line: str, where: str) -> MonoCut:
    """A cut from its line of a manifest; DataError begins with `where`."""
    try:
        return deserialize_item(json.loads(line))
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where}: not a Lhotse cut ({error})") from error


def make_cuts(
    utterances: Sequence[Utterance], executor: Executor
) -> tuple[list[MonoCut], list[dict[str, str]]]:
    """Cuts of the utterances whose audio header can be read, in order, and skip rows for the others.

    Only headers are read here; `pyasr.corpora.validate` decodes the samples.
    """
    by_file: dict[Path, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_file[utterance.audio].append(utterance)
    jobs = split_jobs(sorted(by_file), _PROBE_JOBS)
    probed = run_jobs(executor, _probe_files, jobs, "reading audio headers")
    headers = {path: header for job in probed for path, header in job}
    cuts, skipped = [], []
    for utterance in utterances:
        try:
            cuts.append(_make_cut(utterance, headers[utterance.audio]))
        except DataError as error:
            skipped.append({"id": utterance.id, "reason": str(error)})
    return cuts, skipped


def make_parts(
    utterances: Mapping[str, Sequence[Utterance]], executor: Executor
) -> tuple[dict[str, list[MonoCut]], list[dict[str, str]]]:
    """`make_cuts` of several parts; the skip rows name the part."""
    cuts, skipped = {}, []
    for part, items in utterances.items():
        cuts[part], rows = make_cuts(items, executor)
        skipped += [{"part": part, **row} for row in rows]
    return cuts, skipped


def _probe_files(paths: list[Path]) -> list[tuple[Path, tuple[int, int] | str]]:
    return [(path, probe_audio(path)) for path in paths]


def _make_cut(utterance: Utterance, header: tuple[int, int] | str) -> MonoCut:
    if isinstance(header, str):
        raise DataError(header)
    sampling_rate, num_samples = header
    total_s = num_samples / sampling_rate
    end_s = total_s if utterance.duration_s is None else utterance.start_s + utterance.duration_s
    if end_s > total_s + _ROUNDING_S:
        raise DataError(
            f"segment beyond the end: it ends at {end_s:.2f} s, {utterance.audio} lasts {total_s:.2f} s"
        )
    duration_s = round(min(end_s, total_s) - utterance.start_s, 8)
    if duration_s <= 0:
        raise DataError(f"segment of no length: start {utterance.start_s} s in {utterance.audio}")
    recording = Recording(
        id=utterance.recording_id or utterance.id,
        sources=[AudioSource(type="file", channels=[0], source=str(utterance.audio))],
        sampling_rate=sampling_rate,
        num_samples=num_samples,
        duration=total_s,
    )
    supervision = SupervisionSegment(
        id=utterance.id,
        recording_id=recording.id,
        start=0.0,
        duration=duration_s,
        channel=0,
        text=utterance.text,
        speaker=utterance.speaker,
    )
    return MonoCut(
        id=utterance.id,
        start=utterance.start_s,
        duration=duration_s,
        channel=0,
        supervisions=[supervision],
        recording=recording,
    )


def withhold_texts(cuts: Iterable[MonoCut]) -> tuple[list[MonoCut], list[dict[str, str]]]:
    """The cuts without their texts, and the texts as rows of withheld.jsonl."""
    bare, withheld = [], []
    for cut in cuts:
        supervision = cut.supervisions[0]
        if supervision.text is not None:
            withheld.append({"id": cut.id, "text": supervision.text})
            supervision.text = None
        bare.append(cut)
    return bare, withheld


def write_corpus(
    out_dir: Path,
    cuts_by_part: Mapping[str, Iterable[MonoCut]],
    *,
    skipped: Sequence[dict[str, str]] = (),
    notes: Sequence[str] = (),
) -> Summary:
    """Write the four manifests, withheld.jsonl and skipped.jsonl; return the summary.

    skipped: rows {"id", "part", "reason"}; the part may be missing where it is not known.
    The texts of the untranscribed part are withheld here, for every corpus alike.
    """
    cuts_by_part = {part: list(cuts_by_part.get(part, ())) for part in PARTS}
    cuts_by_part["untranscribed"], withheld = withhold_texts(cuts_by_part["untranscribed"])
    for part, cuts in cuts_by_part.items():
        write_cuts(out_dir / f"{part}.jsonl.gz", cuts)
    write_jsonl(out_dir / "withheld.jsonl", withheld)
    write_jsonl(out_dir / "skipped.jsonl", skipped)
    parts = {
        part: {
            "utterances": len(cuts),
            "speakers": len({cut.supervisions[0].speaker for cut in cuts}),
            "hours": round(sum(cut.duration for cut in cuts) / 3600, 4),
        }
        for part, cuts in cuts_by_part.items()
    }
    return Summary(parts, list(notes), list(skipped))
