"""Stages that label the untranscribed part: the teacher's posteriors in a store, `pyasr.targets`."""

from __future__ import annotations

import shutil
from pathlib import Path

from lhotse import CutSet

from pyasr.base.artifact import write_json, write_jsonl
from pyasr.base.errors import ConfigError
from pyasr.base.skips import Skips
from pyasr.corpora import read_cuts
from pyasr.corpora.manifest import iterate_cuts
from pyasr.corpora.shards import manifest_names, part_of
from pyasr.nn.network import Network
from pyasr.run.stage import Context, Digest
from pyasr.targets import PosteriorStore
from pyasr.targets.label import label_cuts, label_manifests, store_metadata
from pyasr.targets.statistics import statistics

ABSENT = "absent.json"
"""In the place of a system that this corpus has no data for: {"reason"}."""
NOTHING_UNTRANSCRIBED = "the corpus has no untranscribed part"


def label(context: Context) -> Digest:
    """targets/"""
    return _label(context, "teacher", context.exp / "targets")


def relabel(context: Context) -> Digest:
    """targets_smbr/"""
    folder = context.exp / "targets_smbr"
    if not context.recipe.smbr.relabel:
        return absent(folder, "smbr.relabel is false")
    return _label(context, "teacher_smbr", folder)


def _label(context: Context, teacher: str, folder: Path) -> Digest:
    """Store the posteriors of a system's network in folder/store, or look at those that targets.store names."""
    options = context.recipe.targets
    many, cuts = manifests(context), read_cuts(context.exp / "data" / "untranscribed.jsonl.gz")
    if not len(cuts) and not many.exists():
        return absent(folder, NOTHING_UNTRANSCRIBED)
    network_folder = context.exp / "train" / teacher / "network"
    network = Network.load(network_folder)
    phases = network.frontend.options.stack if options.stacking == "all" else 1
    metadata = store_metadata(network, network_folder, phases, options.temperature)
    store = store_folder(context, folder)
    if store == options.store:
        made = _check_given(context, PosteriorStore.open(store), cuts, metadata)
    else:
        _open_or_create(store, network.model.num_senones, options.k, metadata)
        arguments = (network_folder, store, phases, options.skip_limit, context.executor, options.temperature)
        made = label_manifests(many, *arguments) if many.exists() else label_cuts(cuts, many.name, *arguments)
    write_jsonl(folder / "skipped.jsonl", made.rows)
    found = statistics(PosteriorStore.open(store))
    return {
        "utterances": found.cuts,
        "rows": found.frames,
        "bytes_per_row": round(found.block_bytes / max(1, found.frames), 2),
        "max_posterior": round(found.max_posterior, 4),
        "entropy": round(found.entropy, 4),
        "kept": round(found.kept, 5),
        "skipped": made.by_reason(),
    }


def store_folder(context: Context, labels: Path) -> Path | str:
    """Of the posteriors of the label stage that writes `labels`: its own, but for the one that `label` was given."""
    given = context.recipe.targets.store
    return given if given and labels == context.exp / "targets" else labels / "store"


def _check_given(context: Context, store: PosteriorStore, cuts: CutSet, metadata: Digest) -> Skips:
    """What the given store lacks; ConfigError when it is of another teacher, or made with other options."""
    options, many = context.recipe.targets, manifests(context)
    for name, found, wanted in [("k", store.k, options.k), ("metadata", store.metadata, metadata)]:
        if found != wanted:
            raise ConfigError(
                f"targets.store = {options.store}: its {name} is {found}, here it is {wanted}; label with the teacher"
                f" {context.exp}/train/teacher/network and what section targets says (stacking = 'all': --all-phases)"
            )
    skips, total = Skips("utterances", options.skip_limit), 0
    if many.exists():
        shards = store.parts()  # listed once, however many manifests there are
        paths = {part_of(name): many / name for name in manifest_names(many)}
        parts = ((store.of_shards(part, shards.get(part, ())), iterate_cuts(path)) for part, path in paths.items())
    else:
        parts = iter([(store, cuts)])
    for part, of_part in parts:
        for cut in of_part:
            total += 1
            if not part.has_all(cut.id):
                skips.add(cut.id, "not in targets.store")
    skips.check(total)
    return skips


def manifests(context: Context) -> Path:
    """The folder of the untranscribed part, if it is one."""
    return context.exp / "data" / "untranscribed"


def _open_or_create(folder: Path, num_senones: int, k: int, metadata: Digest) -> None:
    """Go on with the store that an interrupted run of the same began, or make a new one."""
    if folder.exists():
        store = PosteriorStore.open(folder)
        if (store.num_senones, store.k, store.metadata) == (num_senones, k, metadata):
            return
        shutil.rmtree(folder)
    PosteriorStore.create(folder, num_senones, k, **metadata)


def absent(folder: Path, reason: str) -> Digest:
    write_json(folder / ABSENT, {"reason": reason})
    return {"notes": [f"nothing to do: {reason}"]}
