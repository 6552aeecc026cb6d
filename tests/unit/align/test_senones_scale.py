"""Senones at the size of the article: four million triphone types of 160 phones to 3,000 leaves."""

import json
import subprocess
import sys
import textwrap

import pytest

PROGRAM = textwrap.dedent("""
    import json, resource, sys, time
    from pathlib import Path
    import numpy as np
    from pyasr.align.options import SenoneOptions
    from pyasr.align.senone_list import write_listing
    from pyasr.align.senones import Senones, cluster
    from pyasr.align.tree_stats import TreeStats, merge
    from pyasr.lang.phones import WORD_POSITIONS, PhoneTable

    out, num_types, num_parts, dim = Path(sys.argv[1]), int(sys.argv[2]), 16, 40
    phones = PhoneTable(("SIL", *(f"P{i:02d}{p}" for i in range(40) for p in WORD_POSITIONS)), word_positions=True)
    num = phones.num_phones + 1
    rng = np.random.default_rng(0)
    # A frame's mean: that of its phone, moved by its place and by the classes of both neighbours.
    base = np.array([0, *(list(dict.fromkeys(map(phones.base, phones.ids))).index(phones.base(p)) for p in phones.ids)])
    place = np.array([0, *(WORD_POSITIONS.index(phones.position(p) or "_I") for p in phones.ids)])
    of_phone = 3 * rng.standard_normal((41, dim))[base] + 0.7 * rng.standard_normal((4, dim))[place]
    pull = rng.standard_normal((2, 8, dim))
    per_phone = num_types // (phones.num_phones - 1)
    types = {phone: np.sort(rng.choice(num * num, per_phone, replace=False)) for phone in phones.ids[1:]}

    def part(number):
        '''A part of the data: an eighth of all types, each of them in one other part as well.'''
        rows, packed = [], []
        for phone, keys in types.items():
            keys = keys[np.isin(np.arange(per_phone) % num_parts, [number, (number + 1) % num_parts])]
            left, right = np.divmod(keys, num)
            count = np.ceil(3 * rng.pareto(1.0, len(keys)).clip(0.2, 1e4))
            mean = of_phone[phone] + pull[0, base[left] % 8] + pull[1, base[right] % 8]
            mean += rng.standard_normal(mean.shape) / np.sqrt(count)[:, None]
            rows.append(np.stack([left, np.full_like(left, phone), right, np.zeros_like(left)], axis=1))
            packed.append(count[:, None] * np.concatenate([np.ones((len(keys), 1)), mean, mean**2 + 1], axis=1))
        return TreeStats(np.concatenate(rows).astype(np.int32), np.concatenate(packed))

    seconds = {}
    def clock(what):
        now = time.monotonic()
        seconds[what], clock.last = round(now - clock.last, 1), now

    clock.last = time.monotonic()
    stats = merge(part(number) for number in range(num_parts))
    clock("make_and_merge")
    options = SenoneOptions(num_senones=3000, min_occupancy=500)
    senones = cluster(stats, [], phones, options)
    clock("cluster")
    leaves = senones.tree.leaves(stats.windows)
    clock("map_all")
    frames = np.bincount(leaves, stats.packed[:, 0], minlength=senones.num_senones)
    senones.save(out / "set")
    write_listing(senones, stats, out)
    clock("list")
    print(json.dumps({
        "types": len(stats.windows), "senones": senones.num_senones, "smallest": senones.occupancy[1:].min(),
        "occupancy_agrees": bool(np.allclose(frames, senones.occupancy)),
        "reloads": Senones.load(out / "set").fingerprint == senones.fingerprint,
        "listed": len((out / "senones.txt").read_text().splitlines()) - 1,
        "seconds": seconds, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }))
""")


@pytest.mark.full
def test_four_million_triphones_become_3000_senones(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), "4000000"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout)
    print(figures)
    assert figures["types"] == 4_000_000
    assert figures["senones"] == figures["listed"] == 3000
    assert figures["smallest"] >= 500
    assert figures["occupancy_agrees"] and figures["reloads"]
    assert figures["peak_gb"] < 6
    assert sum(figures["seconds"].values()) < 600, "the aim of a run at scale; a quiet machine needs a part of it"
