"""The command line: `python -m pyasr.targets label|stat|list|verify|repair|merge`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import rich.console
import rich.markup
import rich.table
import typer

from pyasr.base.artifact import atomic_path, digest, read_jsonl, write_jsonl
from pyasr.base.command import run_command
from pyasr.base.errors import ConfigError, DataError
from pyasr.targets.coverage import Coverage, coverage
from pyasr.targets.label_cli import label
from pyasr.targets.merge import merge_stores
from pyasr.targets.repair import repair_store
from pyasr.targets.statistics import ENTROPY_BIN, statistics
from pyasr.targets.store import PosteriorStore
from pyasr.targets.verify import Damage, verify

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Look after a posterior store, the folder in which a teacher's outputs lie (EXP/targets/store of a recipe)."
    " DIR may be a path or an fsspec URL such as s3://bucket/store (pip install s3fs).",
)
app.command()(label)
Store = Annotated[str, typer.Argument(metavar="DIR", help="Folder of the store.", show_default=False)]
Manifest = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Lhotse cuts (.jsonl or .jsonl.gz) that should be stored; repeatable."),
]
Missing = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the ids of the manifests' missing or incomplete cuts here, one a line."),
]


@app.command()
def stat(directory: Store, manifest: Manifest = None, missing: Missing = None) -> None:
    """Sizes, how sure the teacher was, and how much of some manifests is there. Reads the indices alone.

    Kept mass is the probability of the k stored posteriors; entropy, in nats, is that of the k and all others as one.
    The histogram counts frames by the mean entropy of their cut; the indices have no entropies of frames.

    A manifest is compared with the part of the store that is named after its file, where `label` puts its cuts:

        python -m pyasr.targets stat STORE --manifest cuts.jsonl.gz --missing missing.txt
    """
    if missing is not None and not manifest:
        raise ConfigError("--missing needs --manifest FILE: which cuts should be there?")
    store = PosteriorStore.open(directory)
    found = statistics(store)
    per_frame = found.num_bytes / max(1, found.frames)
    rows = [
        ("format", f"k = {store.k} of {store.num_senones} senones"),
        ("metadata", json.dumps(store.metadata, ensure_ascii=False)),
        ("shards", f"{found.shards:,}"),
        ("cuts", f"{found.cuts:,}"),
        ("of these incomplete", f"{found.incomplete:,}"),
        ("stored twice", f"{found.doubled:,}"),
        ("frames", f"{found.frames:,}"),
        ("bytes", f"{found.num_bytes:,}, {per_frame:.2f} a frame; packed rows have {store.row_bytes}"),
        ("mean highest posterior", f"{found.max_posterior:.4f}"),
        ("mean entropy", f"{found.entropy:.4f} nats"),
        ("mean kept mass", f"{found.kept:.5f}"),
    ]
    if manifest:
        covered = _coverage(store, manifest, missing)
        rows += [
            ("manifest", f"{covered.cuts:,} cuts, {covered.hours:.2f} h"),
            ("of these stored", f"{covered.stored:,} cuts, {covered.stored_hours:.2f} h ({covered.share:.2%})"),
            ("missing", ", ".join(covered.missing) + (", ..." if covered.more else "") or "none"),
        ]
    _print_rows(rows)
    _print_histogram(found.frames_of_entropy)


@app.command("list")
def list_cuts(directory: Store) -> None:
    """A JSON object a cut, on stdout: id, shard, frames, mean highest posterior, entropy and kept mass."""
    store = PosteriorStore.open(directory)
    for name in store.shard_names():
        index = store.shard(name).index
        for number in range(len(index)):
            entry = index.entry(number)
            row = {"id": entry.cut_id, "shard": name, "frames": entry.num_rows, "complete": entry.complete}
            print(json.dumps({**row, **asdict(entry.summary)}, ensure_ascii=False))


@app.command("verify")
def verify_store(directory: Store) -> None:
    """Read every byte and compare it with its checksum; damage is printed with shard, cut and frames.

    The exit status is 1 when there is any. `repair` drops it:

        python -m pyasr.targets verify STORE || python -m pyasr.targets repair STORE --relabel relabel.jsonl
    """
    store = PosteriorStore.open(directory)
    count = 0
    for damage in verify(store):
        print(damage, flush=True)
        count += 1
    if count:
        raise DataError(f"{directory}: {count} places are damaged; python -m pyasr.targets repair {directory}")
    print(f"{directory}: {len(store.shard_names())} shards are as they were written")


@app.command()
def repair(
    directory: Store,
    relabel: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add what is to be labelled again to this list, a JSON object a place."),
    ] = None,
) -> None:
    """Drop damaged blocks, 256 frames each, and list which cuts to label again. Whole shards are not touched.

    Labelling again does just that: a cut that has lost blocks counts as missing. What earlier repairs dropped is listed
    too, until it is labelled. A shard is replaced when its damage is on the list, so after a kill just repair again.
    Nobody should write meanwhile:

        python -m pyasr.targets repair STORE --relabel relabel.jsonl

    Where both the index of a shard and a cut's header are damaged, nobody knows that cut's id any more:
    `stat --manifest FILE --missing FILE` lists all that is not there.
    """
    store = PosteriorStore.open(directory)
    listed = {} if relabel is None or not relabel.exists() else {digest(row): row for row in read_jsonl(relabel)}
    places = 0

    def report(damages: list[Damage]) -> None:
        nonlocal places
        places += len(damages)
        for damage in damages:
            print(damage, flush=True)
        if relabel is not None:
            listed.update((digest(row), row) for row in map(asdict, damages))
            write_jsonl(relabel, listed.values())

    report([])  # a list that cannot be written is known before the work
    cuts = repair_store(store, report)
    print(f"{directory}: {places} places are damaged or dropped; {cuts} cuts are to be labelled again")


@app.command()
def merge(
    into: Annotated[str, typer.Argument(metavar="INTO", help="The joint store; made, or added to.")],
    sources: Annotated[list[str], typer.Argument(metavar="DIR...", help="Stores of the same teacher, senones and k.")],
) -> None:
    """Join stores: their shards are linked (or copied to another file system), never written again.

    Of a cut that several hold, the one that was sealed first counts. INTO may be a store already; an interrupted merge
    goes on when it is run again:

        python -m pyasr.targets merge s3://bucket/store STORE_OF_MONDAY STORE_OF_TUESDAY
    """
    store = merge_stores(into, sources)
    print(f"{into}: {len(store.shard_names())} shards")


def _coverage(store: PosteriorStore, manifests: list[Path], missing: Path | None) -> Coverage:
    if missing is None:
        return coverage(store, manifests)
    with atomic_path(missing) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        return coverage(store, manifests, lambda cut_id: stream.write(f"{cut_id}\n"))


def _print_rows(rows: list[tuple[str, str]]) -> None:
    table = rich.table.Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(name, rich.markup.escape(value))
    rich.console.Console().print(table)


def _print_histogram(frames: list[int]) -> None:
    if not sum(frames):
        return
    table = rich.table.Table(title="Frames by the mean entropy of their cut", title_justify="left", box=None)
    table.add_column("nats", justify="right")
    table.add_column("frames", justify="right")
    table.add_column("")
    for number, count in enumerate(frames):
        low = number * ENTROPY_BIN
        table.add_row(f"{low:.2f} - {low + ENTROPY_BIN:.2f}", f"{count:,}", "#" * round(40 * count / max(frames)))
    rich.console.Console().print(table)


def main() -> None:
    """Exit codes: those of `run_command`."""
    run_command(app, "python -m pyasr.targets")
