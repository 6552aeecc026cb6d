"""python -m pyasr.transcribe, with a recogniser of tones."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from pyasr.align.options import FmllrOptions
from pyasr.base.errors import DataError
from pyasr.decode.search import Hypothesis
from pyasr.features.audio import resample
from pyasr.transcribe.audio import read_audio
from pyasr.transcribe.cli import app
from pyasr.transcribe.gmm import GmmRecogniser


@pytest.fixture
def run(tone_speech):
    """Call the command line in this process: run(*arguments) -> result with exit_code, stdout, stderr."""
    return lambda *arguments: CliRunner().invoke(
        app, ["--model", str(tone_speech.model.folder), *map(str, arguments)]
    )


@pytest.fixture
def wav(tone_speech, tmp_path):
    """Write a sentence as a file and return its path."""

    def write(sentence, name="a.wav", rate=16000, channels=1, **more):
        samples = resample(tone_speech.say(sentence), 16000, rate)
        soundfile.write(tmp_path / name, np.stack([samples] * channels, axis=1), rate, **more)
        return tmp_path / name

    return write


def test_words_of_files(run, wav):
    first, second = wav("DOMI SOTI", "a.wav"), wav("SOTI DOMI TI", "b.flac")
    result = run(first, second)
    assert result.stdout == f"{first}\tDOMI SOTI\n{second}\tSOTI DOMI TI\n"
    assert result.exit_code == 0


def test_as_a_user_calls_it(tone_speech, wav):
    file = wav("SOTI")
    command = [sys.executable, "-m", "pyasr.transcribe", "--model", str(tone_speech.model.folder), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{file}\tSOTI\n"


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channels(run, wav, rate, channels):
    assert run(wav("DOMI SOTI", rate=rate, channels=channels)).stdout.endswith("\tDOMI SOTI\n")


def test_times_are_those_of_the_tones(run, wav, tone_speech):
    file = wav("DOMI TI SOTI")
    row = json.loads(run("--json", file).stdout)
    assert row["file"] == str(file) and row["text"] == "DOMI TI SOTI" and row["duration_s"] == 1.05
    # One tone a phone: SIL DO MI TI SO TI SIL.
    found = [value for word in row["words"] for value in (word["start_s"], word["end_s"])]
    expected = [phones * tone_speech.phone_s for phones in (1, 3, 3, 4, 4, 6)]
    np.testing.assert_allclose(found, expected, atol=0.021)
    lines = [line.split("\t") for line in run("--times", file).stdout.splitlines()]
    assert [line[3] for line in lines] == ["DOMI", "TI", "SOTI"]
    assert [float(value) for value in lines[0][1:3]] == [row["words"][0]["start_s"], row["words"][0]["end_s"]]


def damaged(folder, good):
    """Name -> what the message has to say; files are written to `folder`."""
    content = good.read_bytes()
    (folder / "empty.wav").touch()
    (folder / "cut.wav").write_bytes(content[: len(content) // 2])
    (folder / "text.wav").write_text("hello")
    soundfile.write(folder / "flac.flac", soundfile.read(good)[0], 16000)
    (folder / "cut.flac").write_bytes((folder / "flac.flac").read_bytes()[:4000])
    soundfile.write(folder / "short.wav", np.zeros(800), 16000)
    soundfile.write(folder / "none.wav", np.zeros(0), 16000)
    soundfile.write(folder / "low.wav", np.zeros(4000), 4000)
    soundfile.write(folder / "nan.wav", np.array([0.0, np.nan] * 2000), 16000, subtype="FLOAT")
    soundfile.write(folder / "long.flac", np.zeros(8000 * 601), 8000)
    return {
        "missing.wav": "no such file",
        "empty.wav": "is empty",
        "cut.wav": "truncated",
        "text.wav": "cannot be read as audio",
        "cut.flac": "cannot be read as audio",
        "short.wav": "too short: 0.050 s",
        "none.wav": "too short: 0.000 s",
        "low.wav": "4000 Hz",
        "nan.wav": "not finite",
        "long.flac": "601 s long",
    }


def test_damaged_files_are_reported_and_the_others_go_on(run, wav, tmp_path):
    good = wav("DOMI SOTI")
    expected = damaged(tmp_path, good)
    for same_speaker in ([], ["--same-speaker"]):
        result = run(*same_speaker, *(tmp_path / name for name in expected), good)
        assert result.exit_code == 1
        assert result.stdout == f"{good}\tDOMI SOTI\n"
        lines = result.stderr.splitlines()
        assert len(lines) == len(expected)
        for (name, message), line in zip(expected.items(), lines):
            assert line.startswith(f"error: {tmp_path / name}: ") and message in line


def test_a_file_too_short_for_any_word(run, tmp_path, tone_speech):
    soundfile.write(tmp_path / "a.wav", tone_speech.say("TI")[:1600], 16000)
    result = run(tmp_path / "a.wav")
    assert result.exit_code in (0, 1) and "Traceback" not in result.stderr


def test_silence_and_noise_do_not_break_it(run, tmp_path):
    soundfile.write(tmp_path / "zero.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(scale=0.3, size=16000), 16000)
    result = run(tmp_path / "zero.wav", tmp_path / "noise.wav")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 2


def test_a_wrong_model_folder(tmp_path, wav):
    result = CliRunner().invoke(app, ["--model", str(tmp_path), str(wav("TI"))])
    assert result.exit_code == 1 and "not the folder of a recogniser" in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_help_teaches():
    text = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    options = ("--model", "--times", "--json", "--same-speaker", "--streaming", "--precision", "--silence", "--rate")
    for said in (*options, "arecord", "estimated from the file itself", "exit status"):
        assert said in text


def test_same_speaker_pools_the_mean(tone_speech):
    """A file of one tone alone has a mean that hides the tone; other files of the speaker reveal it."""
    recogniser = GmmRecogniser(tone_speech.model)
    lonely = {"ti": tone_speech.say("TI")[2400:-2400]}
    others = {str(i): tone_speech.say("DOMI SOTI", i) for i in range(5)}
    pooled = recogniser.transcribe({**lonely, **others})
    assert pooled["ti"].text == "TI"
    assert list(pooled) == ["ti", *others]


def test_an_adapted_model_adapts_to_the_files(tone_speech, monkeypatch):
    """Two passes, each followed by a transform from what was recognised; the words and times come from the third."""
    base = tone_speech.model
    system = replace(base.system, unadapted=base.system.gmm)
    options = base.options.model_copy(update={"fmllr": FmllrOptions(min_frames=100)})
    recogniser = GmmRecogniser(replace(base, system=system, options=options))
    used = []
    search = recogniser._search

    def watched(mfcc, mean, transform, scales):
        used.append(transform)
        return search(mfcc, mean, transform, scales)

    monkeypatch.setattr(recogniser, "_search", watched)
    sentences = ["DOMI TI SOTI", "MIDO SOTI DOMI", "SOTI DOMI", "MIDO"] * 3
    samples = {str(i): tone_speech.say(sentence, i) for i, sentence in enumerate(sentences)}
    results = recogniser.transcribe(samples)
    assert [result.text for result in results.values()] == sentences
    assert used[0] is None and used[1] is not None and not np.array_equal(used[1], used[2])
    used.clear()
    assert recogniser.transcribe({"0": samples["0"]})["0"].text == "DOMI TI SOTI"
    assert used == [None] * 3  # too little speech to adapt to


def test_words_that_break_off_are_left_out(tone_speech, monkeypatch):
    """A search that reached no final state may have put out a word with no audio: it gets no times."""
    recogniser = GmmRecogniser(tone_speech.model)
    search = recogniser._search
    extra = tone_speech.model.words.id("SOTI")

    def unfinished(*arguments):
        return {
            name: Hypothesis((*found.word_ids, *[extra] * 40), found.tids, found.cost, False)
            for name, found in search(*arguments).items()
        }

    monkeypatch.setattr(recogniser, "_search", unfinished)
    result = recogniser.transcribe({"a": tone_speech.say("DOMI TI")})["a"]
    assert not result.reached_final and 0 < len(result.words) < 42


def test_reading_resamples_and_averages(tmp_path):
    time_s = np.arange(48000) / 48000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, np.zeros(48000)], axis=1), 48000, subtype="FLOAT")
    samples = read_audio(tmp_path / "a.wav")
    assert samples.dtype == np.float32 and samples.shape == (16000,)
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(samples[100:-100], expected[100:-100], atol=2e-3)
    with pytest.raises(DataError, match="no such file"):
        read_audio(tmp_path)
