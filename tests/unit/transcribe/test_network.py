"""python -m pyasr.transcribe with networks, whole files: forward-only in every precision, and bidirectional."""

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from pyasr.base.errors import ConfigError, DataError
from pyasr.transcribe.cli import app
from pyasr.transcribe.network import NetworkRecogniser
from pyasr.transcribe.recogniser import make_recogniser


def run(speech, *arguments, **more):
    return CliRunner().invoke(app, ["--model", str(speech.model.folder), *map(str, arguments)], **more)


@pytest.fixture
def files(tone_network, tmp_path):
    sentences = {"a.wav": "DOMI SOTI", "b.wav": "SOTI DOMI TI"}
    for name, sentence in sentences.items():
        soundfile.write(tmp_path / name, tone_network.say(sentence), 16000)
    return {tmp_path / name: sentence for name, sentence in sentences.items()}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("streaming", [[], ["--streaming"]])
def test_words_of_files(tone_network, files, precision, streaming):
    result = run(tone_network, "--precision", precision, *streaming, *files)
    assert result.stdout == "".join(f"{file}\t{sentence}\n" for file, sentence in files.items())
    assert result.exit_code == 0


def test_a_bidirectional_network_recognises_files(tone_teacher, files):
    result = run(tone_teacher, *files)
    assert result.stdout == "".join(f"{file}\t{sentence}\n" for file, sentence in files.items())


def test_what_a_bidirectional_network_cannot(tone_teacher, files):
    for arguments, said in (
        (["--streaming", *files], "a bidirectional network reads an utterance from its end too"),
        (["-"], "choose a forward-only one, such as EXP/decode/student"),
        (["--precision", "int8", *files], "a bidirectional network runs in fp32 alone, not in int8"),
    ):
        result = run(tone_teacher, *arguments)
        assert result.exit_code == 1 and result.stdout == "" and said in result.stderr
        assert result.stderr.startswith(f"error: {tone_teacher.model.folder}: ")


def test_what_a_gaussian_system_cannot(tone_speech, files):
    for arguments, said in ((["--streaming", *files], "cannot follow live audio"), (["-"], "cannot follow live audio")):
        result = run(tone_speech, *arguments)
        assert result.exit_code == 1 and said in result.stderr
    with pytest.raises(ConfigError, match="a Gaussian system has no int8 form"):
        make_recogniser(tone_speech.model, "int8")


@pytest.mark.parametrize("speech", ["tone_network", "tone_teacher"])
def test_times_are_those_of_the_tones(speech, request, tmp_path):
    speech = request.getfixturevalue(speech)
    soundfile.write(tmp_path / "a.wav", speech.say("DOMI TI SOTI"), 16000)
    row = json.loads(run(speech, "--json", tmp_path / "a.wav").stdout)
    assert row["text"] == "DOMI TI SOTI" and row["duration_s"] == 1.05
    # One tone a phone: SIL DO MI TI SO TI SIL.
    found = [value for word in row["words"] for value in (word["start_s"], word["end_s"])]
    expected = [phones * speech.phone_s for phones in (1, 3, 3, 4, 4, 6)]
    np.testing.assert_allclose(found, expected, atol=0.061)
    lines = [line.split("\t") for line in run(speech, "--times", tmp_path / "a.wav").stdout.splitlines()]
    assert [line[3] for line in lines] == ["DOMI", "TI", "SOTI"]


def test_posteriors_are_those_that_were_decoded(tone_network):
    """What runs on live audio and what the decode stage runs differ in rounding alone."""
    samples = tone_network.say("SOTI MIDO")
    found = NetworkRecogniser(tone_network.model)._log_posteriors(samples)
    np.testing.assert_allclose(found, tone_network.model.network.log_posteriors(samples), atol=2e-5)


def test_a_recording_that_fails_stops_no_other(tone_network):
    samples = tone_network.say("DOMI")
    recordings = {"short": samples[:100], "none": samples[:0], "a": samples}
    results = NetworkRecogniser(tone_network.model).transcribe(recordings)
    assert isinstance(results["short"], DataError) and "short: too short: 100 samples" in str(results["short"])
    assert isinstance(results["none"], DataError)
    assert results["a"].text == "DOMI" and results["a"].reached_final


def test_words_that_break_off(tone_network):
    """Cut within a word, what was heard of it is there or not, but never a word without audio."""
    whole = tone_network.say("DOMI SOTI MIDO")
    recogniser = NetworkRecogniser(tone_network.model)
    for length in range(3000, len(whole), 1700):
        result = recogniser.transcribe({"a": whole[:length]})["a"]
        if isinstance(result, DataError):
            continue
        assert all(0 <= word.start_s < word.end_s <= length / 16000 + 0.03 for word in result.words)
