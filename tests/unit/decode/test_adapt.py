"""Decoding with speaker adaptation: speakers whose features are distorted, each in a way of its own."""

from dataclasses import replace

import numpy as np
import pytest

from pyasr.align.options import FmllrOptions
from pyasr.base.executor import SerialExecutor, make_executor
from pyasr.decode.gmm_decode import adapt, decode, decode_condition, prepare, tune_model
from pyasr.decode.model_dir import export_model, load_model
from pyasr.decode.part import Failure
from pyasr.decode.score import score_rows, total, wer
from pyasr.decode.tune import middle_scales
from pyasr.features.archive import FeatureArchive
from pyasr.features.mfcc import compute_mfcc
from pyasr.lang.fst_arrays import FstArrays

SENTENCES = ["DOMI SOTI", "MIDO SOTI DOMI", "SOTI DOMI TI", "DOMI MIDO", "TI"]
SPEAKERS = ("ann", "bob", "cid")


def distorted(mfcc, speaker, seed):
    """Noise, and the coefficients mixed by another rotation for each speaker: what normalisation cannot undo."""
    generator = np.random.default_rng(SPEAKERS.index(speaker))
    dim = mfcc.shape[1]
    turn = np.tril(generator.normal(scale=0.15, size=(dim, dim)), -1)
    rotation = np.linalg.solve(np.eye(dim) + turn - turn.T, np.eye(dim) - turn + turn.T)  # Cayley
    noisy = mfcc + np.random.default_rng(seed).normal(scale=20, size=mfcc.shape)
    return (noisy @ rotation.T).astype(np.float32)


@pytest.fixture(scope="module")
def speech(tone_speech, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapt") / "features"
    references = {f"u{i:03d}": (SPEAKERS[i % 3], SENTENCES[i % 5]) for i in range(90)}
    rows = (
        (cut_id, distorted(compute_mfcc(tone_speech.say(text, seed)), speaker, seed))
        for seed, (cut_id, (speaker, text)) in enumerate(references.items())
    )
    FeatureArchive.write(folder, rows)
    return folder, references


def model_in(folder, tone_speech, fmllr):
    """The model of tones; with `fmllr` as an adapted system, its own mixtures taken for unadapted features."""
    base = tone_speech.model
    system = replace(base.system, unadapted=base.system.gmm) if fmllr else base.system
    options = base.options.model_copy(update={"fmllr": fmllr})
    return export_model(folder, system, FstArrays.read(base.graph), base.words, base.lexicon, options)


def speakers(references):
    return {cut_id: speaker for cut_id, (speaker, _) in references.items()}


def test_adaptation_wins(tone_speech, speech, tmp_path):
    folder, references = speech
    rates = {}
    for name, fmllr in (("plain", None), ("adapted", FmllrOptions())):
        model = model_in(tmp_path / name, tone_speech, fmllr)
        tune_model(model, folder, references, SerialExecutor())
        rows = decode_condition(load_model(model.folder), folder, speakers(references), "clean", SerialExecutor())
        rates[name] = wer(total(score_rows(references, rows)))
    assert rates["plain"] > 10.0
    assert rates["adapted"] < 0.6 * rates["plain"]


def test_transforms_are_made_of_what_was_recognised(tone_speech, speech, tmp_path):
    """Every utterance decoded once more gives the transforms again; those that failed have no part in it."""
    folder, references = speech
    model = model_in(tmp_path / "adapted", tone_speech, FmllrOptions())
    wanted = {**speakers(references), "ghost": "ann"}
    source = prepare(model, folder, wanted, SerialExecutor())
    assert sorted(source.transforms) == list(SPEAKERS)
    decoded = decode(model, source, middle_scales(model.options.search), SerialExecutor())
    assert isinstance(decoded["ghost"], Failure)
    again = adapt(model, source, decoded, SerialExecutor())
    without = {cut_id: outcome for cut_id, outcome in decoded.items() if cut_id != "ghost"}
    for speaker, matrix in adapt(model, source, without, SerialExecutor()).transforms.items():
        np.testing.assert_array_equal(matrix, again.transforms[speaker])


def test_a_speaker_with_little_speech_stays_unadapted(tone_speech, speech, tmp_path):
    folder, references = speech
    model = model_in(tmp_path / "adapted", tone_speech, FmllrOptions(min_frames=1000))
    few = {cut_id: speaker for cut_id, speaker in speakers(references).items() if speaker != "bob" or cut_id < "u010"}
    assert sorted(prepare(model, folder, few, SerialExecutor()).transforms) == ["ann", "cid"]


def test_other_speakers_and_workers_change_nothing(tone_speech, speech, tmp_path):
    folder, references = speech
    model = model_in(tmp_path / "adapted", tone_speech, FmllrOptions())
    with make_executor("processes:2") as executor:
        together = prepare(model, folder, speakers(references), executor)
    alone = {cut_id: speaker for cut_id, speaker in speakers(references).items() if speaker == "bob"}
    source = prepare(model, folder, alone, SerialExecutor())
    np.testing.assert_array_equal(source.transforms["bob"], together.transforms["bob"])
