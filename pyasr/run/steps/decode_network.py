"""Stages of `pyasr.decode` for networks: each makes a recogniser and decodes the test part with it."""

from __future__ import annotations

from pyasr.align.senones import Senones
from pyasr.base.artifact import copy_whole, read_json, write_json
from pyasr.corpora import read_cuts
from pyasr.decode.gmm_decode import speakers_of
from pyasr.decode.network_decode import NetworkRecogniser, check_senones
from pyasr.lang.words import WordTable
from pyasr.nn.network import Network
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.decode import describe
from pyasr.run.steps.features import test_conditions
from pyasr.run.steps.inputs import references_of
from pyasr.run.steps.networks import ABSENT


def teacher(context: Context) -> Digest:
    """decode/teacher/"""
    return _decode(context, "teacher")


def supervised(context: Context) -> Digest:
    """decode/supervised/"""
    return _decode(context, "supervised")


def student(context: Context) -> Digest:
    """decode/student/"""
    return _decode(context, "student")


def topline(context: Context) -> Digest:
    """decode/topline/"""
    return _decode(context, "topline")


def teacher_smbr(context: Context) -> Digest:
    """decode/teacher_smbr/"""
    return _decode(context, "teacher_smbr")


def student_smbr(context: Context) -> Digest:
    """decode/student_smbr/"""
    return _decode(context, "student_smbr")


def _decode(context: Context, system: str) -> Digest:
    absent = context.exp / "train" / system / ABSENT
    if absent.exists():
        reason = read_json(absent)["reason"]
        write_json(context.exp / "decode" / system / ABSENT, {"reason": reason})
        return {"notes": [f"nothing to do: {reason}"]}
    recogniser, data = _make_recogniser(context, system), context.exp / "data"
    references = references_of(read_cuts(data / "dev.jsonl.gz"))
    tuning = recogniser.tune(data / "dev.jsonl.gz", references, context.executor)
    cut_ids = list(speakers_of(read_cuts(data / "test.jsonl.gz")))
    failed = {}
    for condition, noise in test_conditions(context).items():
        source = recogniser.source(data / "test.jsonl.gz", noise)
        rows = recogniser.decode(source, cut_ids, tuning.chosen, condition, context.executor)
        failed[condition] = sum("failed" in row for row in rows)
    return describe(tuning, len(cut_ids), failed, "decode_network")


def _make_recogniser(context: Context, system: str) -> NetworkRecogniser:
    """The folder decode/SYSTEM with all that decoding needs."""
    folder, senones = context.exp / "decode" / system, context.exp / "senones"
    trained = context.exp / "train" / system / "network"
    check_senones(Network.load(trained), Senones.load(senones / "set"), trained)
    copy_whole(trained, folder / "network")
    copy_whole(senones / "set", folder / "senones")
    for file in (senones / "HCLG.fst", context.exp / "lang" / "words.txt", context.exp / "lang" / "lexicon.txt"):
        copy_whole(file, folder / file.name)
    return NetworkRecogniser(folder, context.recipe.decode_network, WordTable.load(folder / "words.txt"))
