"""Stages of `pyasr.decode` for networks: each makes a recogniser and decodes the test part with it."""

from __future__ import annotations

from pyasr.align.senones import Senones
from pyasr.base.artifact import read_json, write_json
from pyasr.corpora import read_cuts
from pyasr.decode.gmm_decode import speakers_of
from pyasr.decode.model_dir import NetworkModel, NetworkModelOptions, export_network_model
from pyasr.decode.network_decode import decode_condition, network_source, tune_model
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.words import WordTable
from pyasr.nn.network import Network
from pyasr.run.stage import Context, Digest
from pyasr.run.steps.decode import describe
from pyasr.run.steps.features import test_conditions
from pyasr.run.steps.inputs import references_of
from pyasr.run.steps.labels import ABSENT


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


def student_relabelled(context: Context) -> Digest:
    """decode/student_relabelled/"""
    return _decode(context, "student_relabelled")


def _decode(context: Context, system: str) -> Digest:
    absent = context.exp / "train" / system / ABSENT
    if absent.exists():
        reason = read_json(absent)["reason"]
        write_json(context.exp / "decode" / system / ABSENT, {"reason": reason})
        return {"notes": [f"nothing to do: {reason}"]}
    model, data = _make_model(context, system), context.exp / "data"
    references = references_of(read_cuts(data / "dev.jsonl.gz"))
    tuning = tune_model(model, data / "dev.jsonl.gz", references, context.executor)
    cut_ids = list(speakers_of(read_cuts(data / "test.jsonl.gz")))
    failed = {}
    for condition, noise in test_conditions(context).items():
        source = network_source(model, data / "test.jsonl.gz", noise)
        rows = decode_condition(model, source, cut_ids, condition, context.executor)
        failed[condition] = sum("failed" in row for row in rows)
    return describe(tuning, len(cut_ids), failed, "decode_network")


def _make_model(context: Context, system: str) -> NetworkModel:
    """The folder decode/SYSTEM with all that decoding needs."""
    senones, lang = context.exp / "senones", context.exp / "lang"
    return export_network_model(
        context.exp / "decode" / system,
        Network.load(context.exp / "train" / system / "network"),
        Senones.load(senones / "set"),
        FstArrays.read(senones / "HCLG.fst"),
        WordTable.load(lang / "words.txt"),
        Lexicon.read(lang / "lexicon.txt"),
        NetworkModelOptions(search=context.recipe.decode_network),
    )
