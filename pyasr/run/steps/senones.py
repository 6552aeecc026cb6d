"""Senones: the tree for networks, hard targets, the decoding graph, and the front end that all networks share."""

from __future__ import annotations

from collections import Counter

from pyasr.align.align_part import align_part
from pyasr.align.alignments import save_alignments
from pyasr.align.data import TrainingSet
from pyasr.align.senone_list import write_listing
from pyasr.align.senones import grow_senones, senone_targets
from pyasr.align.train import EmState
from pyasr.base.artifact import write_json, write_jsonl
from pyasr.corpora import read_cuts
from pyasr.features.archive import FeatureArchive
from pyasr.features.network import estimate_frontend
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.inputs import decoding_graph


def grow(context: Context) -> Digest:
    """senones/"""
    recipe, folder, data = context.recipe, context.exp / "senones", context.exp / "data"
    lang, features = context.exp / "lang", context.exp / "features"
    lexicon, phones = Lexicon.read(lang / "lexicon.txt"), PhoneTable.load(lang / "phones.json")
    sat = EmState.load_result(context.exp / "gmm" / "sat")
    transcribed, dev = read_cuts(data / "transcribed.jsonl.gz"), read_cuts(data / "dev.jsonl.gz")

    train_set = TrainingSet.from_cuts(transcribed, FeatureArchive.open(features / "train"), lexicon, phones)
    senones, stats = grow_senones(
        train_set, sat, recipe.senones, context.executor, stack=recipe.features.lfbe.stack
    )
    senones.save(folder / "set")
    write_listing(senones, stats, folder)

    dev_set = TrainingSet.from_cuts(dev, FeatureArchive.open(features / "dev"), lexicon, phones)
    aligned, skipped = align_part(dev_set, sat, recipe.gmm.align, recipe.gmm.sat.fmllr, context.executor, "dev")
    write_jsonl(folder / "skipped.jsonl", [{**row, "part": "dev"} for row in skipped])
    for part, alignments in (("transcribed", sat.alignments), ("dev", aligned)):
        targets = senone_targets(alignments, sat.system.transitions, senones)
        save_alignments(folder / f"targets_{part}.npz", targets)

    scale = recipe.decode_network.transition_scale
    decoding_graph(context, phones, senones.tree, senones.transitions, scale).write(folder / "HCLG.fst")

    frontend = estimate_frontend(transcribed, recipe.features.lfbe, context.executor)
    write_json(folder / "frontend.json", frontend.to_dict())
    return {
        "senones": senones.num_senones,
        "triphones_seen": len({tuple(row) for row in stats.windows[:, :3].tolist()}),
        "utterances": len(sat.alignments),
        "dev_utterances": len(aligned),
        "skipped": dict(Counter(row["reason"].split(":")[0] for row in skipped).most_common()),
    }
