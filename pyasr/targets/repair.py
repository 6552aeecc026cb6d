"""Damaged shards without their damaged blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pyasr.base.errors import DataError
from pyasr.base.progress import track
from pyasr.targets.block import BLOCK_ROWS
from pyasr.targets.index import CutEntry
from pyasr.targets.shard import BEGIN, MAGIC, ShardWriter, repaired_name
from pyasr.targets.store import PosteriorStore
from pyasr.targets.verify import Damage, read_cut, scan, verify_shard


def repair_store(store: PosteriorStore, report: Callable[[list[Damage]], None] = lambda damages: None) -> int:
    """Repair all shards; returns the number of cuts that are to be labelled again, after this repair or an earlier one.

    report: told the damage of each shard before the shard is replaced, so that who keeps it loses none to a kill; at
    the end what earlier repairs dropped and nobody has labelled since.
    """
    told: set[tuple[str | None, tuple[int, int] | None]] = set()
    for name in track(store.shard_names(), "repairing", unit="shard"):
        told.update((damage.cut_id, damage.frames) for damage in repair_shard(store, name, report))
    cuts = 0
    for part, names in store.parts().items():
        dropped = list(_dropped(store.of_shards(part, names), names))
        cuts += len({damage.cut_id for damage in dropped})
        if earlier := [damage for damage in dropped if (damage.cut_id, damage.frames) not in told]:
            report(earlier)
    return cuts


def repair_shard(
    store: PosteriorStore, name: str, report: Callable[[list[Damage]], None] = lambda damages: None
) -> list[Damage]:
    """Put a shard without its damaged blocks in the place of a damaged one; whole ones are left as they are.

    Returns what was damaged, which `report` is told before anything is changed. Cuts that lost blocks, or all of them,
    are `missing` from then on, and their other blocks can still be read. Where the index is damaged, the cuts are
    found by the headers before their blocks; one whose header is damaged, too, is lost. A kill between the two leaves
    the damaged shard beside the new one, and the next repair removes it. DataError for a shard of another store:
    nothing is wrong with it but the folder.
    """
    damages = list(verify_shard(store, name))
    if not damages:
        return []
    _check_owner(store, name)
    report(damages)
    bad: dict[str, set[int]] = {}
    for damage in damages:
        if damage.cut_id is not None and damage.frames is not None:
            bad.setdefault(damage.cut_id, set()).add(damage.frames[0])
    writer = ShardWriter(store.shard_folder, store.fingerprint, store.coder)
    try:
        kept = 0
        for offset, entry in _cuts(store, name):
            _, blocks = read_cut(store, name, offset, entry)
            firsts = bad.get(entry.cut_id, set())
            dropped = [number for number in range(len(blocks)) if number * BLOCK_ROWS in firsts]
            writer.put_blocks(
                entry.without(dropped), [block or b"" for n, block in enumerate(blocks) if n not in dropped]
            )
            kept += 1
        if kept:
            writer.seal(repaired_name(name))
        else:
            writer.discard()
    except BaseException:
        writer.discard()
        raise
    store.shard_folder.remove(name)
    return damages


def _dropped(part: PosteriorStore, names: Iterable[str]) -> Iterator[Damage]:
    """The blocks that repairs dropped, of cuts that no shard has whole."""
    for name in names:
        index = part.shard(name).index
        for entry in map(index.entry, sorted(index.incomplete)):
            if not part.has_all(entry.cut_id):
                for number, size in enumerate(entry.sizes):
                    if not size:
                        yield Damage(name, "dropped by an earlier repair", entry.cut_id, entry.frames(number))


def _check_owner(store: PosteriorStore, name: str) -> None:
    size = store.shard_folder.size(name)
    head, tail = store.shard_folder.read(name, 0, BEGIN), store.shard_folder.read(name, max(0, size - BEGIN), BEGIN)
    owner = head[len(MAGIC) :]
    if head.startswith(MAGIC) and tail == owner + MAGIC and owner.hex() != store.fingerprint:
        raise DataError(f"{store.shard_folder.location}/{name}: belongs to another store; move it there")


def _cuts(store: PosteriorStore, name: str) -> list[tuple[int, CutEntry]]:
    try:
        index = store.shard(name).index
    except DataError:
        return list(scan(store, name))
    return [(offset, index.entry(number)) for number, offset in enumerate(index.offsets.tolist())]
