"""Live audio against whole recordings: the same words, whatever the chunks, the other streams and the endpoints."""

import gc
import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from pyasr.base.errors import ConfigError, DataError
from pyasr.features.audio import resample
from pyasr.transcribe.cli import app
from pyasr.transcribe.endpoint import EndpointOptions
from pyasr.transcribe.network import NetworkRecogniser
from pyasr.transcribe.streaming import StreamingRecogniser

# No tone twice in a row: that would be one longer tone.
SENTENCES = ("DOMI SOTI", "SOTI DOMI TI", "TI", "MIDO MIDO SOTI", "DOMI TI MIDO SOTI")


def chunks(samples, seed):
    """Of 0 to 4000 samples each."""
    ends = np.cumsum(np.random.default_rng(seed).integers(0, 4000, size=len(samples) // 1000 + 1))
    return np.split(samples, ends[ends < len(samples)])


def listen(recogniser, samples, seed=0, **more):
    """All updates of one stream."""
    stream, updates = recogniser.open(**more), []
    for chunk in chunks(samples, seed):
        stream.accept(chunk)
        updates += [update for _, update in recogniser.advance([stream])]
    stream.finish()
    return updates + [update for _, update in recogniser.advance([stream])]


def finals(updates):
    return [update for update in updates if update.final]


@pytest.fixture(scope="module")
def recogniser(tone_network):
    return StreamingRecogniser(tone_network.model, endpoint=None)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_words_are_those_of_the_whole_recording(tone_network, precision):
    live = StreamingRecogniser(tone_network.model, precision, endpoint=None)
    whole = NetworkRecogniser(tone_network.model, precision)
    for seed, sentence in enumerate(SENTENCES):
        samples = tone_network.say(sentence, seed, gain=0.05 + 0.1 * seed)
        expected = whole.transcribe({"a": samples})["a"]
        updates = listen(live, samples, seed)
        assert expected.text == sentence
        assert [update.final for update in updates] == [False] * (len(updates) - 1) + [True]
        assert updates[-1].words == expected.words and updates[-1].reached_final == expected.reached_final
        assert updates[-1].end_s == pytest.approx(expected.duration_s, abs=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_posteriors_are_the_same_bit_for_bit(tone_network, precision, monkeypatch):
    live, heard = StreamingRecogniser(tone_network.model, precision, endpoint=None), []
    run = live._log_posteriors
    monkeypatch.setattr(live, "_log_posteriors", lambda batch: heard.append(run(batch)) or heard[-1])
    samples = np.random.default_rng(0).normal(scale=0.1, size=30011).astype(np.float32)
    listen(live, samples, 5)
    whole = NetworkRecogniser(tone_network.model, precision)._log_posteriors(samples)
    np.testing.assert_array_equal(np.concatenate(heard)[2:], whole)  # the network hears two frames ahead


def test_partial_results_come_while_words_are_spoken(recogniser, tone_network):
    samples = tone_network.say("DOMI SOTI MIDO")
    updates = listen(recogniser, samples)
    partial = [update for update in updates if not update.final]
    texts = [update.text for update in partial]
    assert all(before != after for before, after in zip(texts, texts[1:]))
    # At the latest a frame, its window and the delay after a word's end it has been said.
    for index, word in enumerate(updates[-1].words):
        said = [update.end_s for update in partial if [w.word for w in update.words][index : index + 1] == [word.word]]
        assert said and min(said) <= word.end_s + 0.06
    for update in partial:
        assert all(word.end_s <= update.end_s + 1e-6 for word in update.words)


def test_streams_side_by_side_do_not_touch_each_other(recogniser, tone_network):
    speech = [tone_network.say(sentence, seed) for seed, sentence in enumerate(SENTENCES)]
    alone = [listen(recogniser, samples, seed) for seed, samples in enumerate(speech)]
    streams = [recogniser.open(str(index)) for index in range(len(speech))]
    parts = [iter(chunks(samples, seed)) for seed, samples in enumerate(speech)]
    together = {stream: [] for stream in streams}
    rng, running = np.random.default_rng(1), list(streams)
    while running:
        for stream in list(running):
            if rng.random() < 0.6:
                chunk = next(parts[streams.index(stream)], None)
                if chunk is None:
                    stream.finish()
                    running.remove(stream)
                else:
                    stream.accept(chunk)
        for stream, update in recogniser.advance(streams):
            together[stream].append(update)
    assert list(together.values()) == alone


GARBAGE = {
    "nan": (np.array([0.0, np.nan], np.float32), "bad: at sample 1600: samples that are not finite"),
    "infinite": (np.array([np.inf]), "not finite"),
    "integers as floats": (np.array([12000.0, -3.0]), "a sample of 12000, but full scale is 1"),
    "stereo": (np.zeros((10, 2), np.float32), r"shape \(10, 2\)"),
    "bytes": (np.zeros(10, np.uint8), "type uint8"),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_refused_and_the_stream_goes_on(recogniser, tone_network, kind):
    garbage, message = GARBAGE[kind]
    samples = tone_network.say("DOMI TI")
    stream = recogniser.open("bad")
    stream.accept(samples[:1600])
    with pytest.raises(DataError, match=message):
        stream.accept(garbage)
    stream.accept(samples[1600:])
    stream.finish()
    assert [update for _, update in recogniser.advance([stream])] == listen(recogniser, samples)


def test_one_streams_troubles_are_its_own(recogniser, tone_network):
    """Noise, silence, NaN, a stall, a stream that fails in mid-air and one that goes away, beside a good one."""
    samples = tone_network.say("DOMI SOTI TI")
    expected, updates = listen(recogniser, samples), []
    good, noisy, silent, broken, stalled, gone = (recogniser.open(name) for name in "gnsbxy")
    rng = np.random.default_rng(0)
    streams, failed = [noisy, silent, good, broken, stalled, gone], []
    for index, chunk in enumerate(chunks(samples, 0)):
        good.accept(chunk)
        noisy.accept(rng.normal(scale=2.0, size=len(chunk)).clip(-8, 8))
        silent.accept(np.zeros(len(chunk), np.float32))
        broken.accept(rng.normal(size=len(chunk)).clip(-1, 1))
        if index == 1:
            stalled.accept(samples[:2000])
            broken.lstm_state.c.fill_(0)  # its state is its own ...
            broken._utterance._search.advance = _fail
        if index == 2 and gone in streams:
            streams.remove(gone)
            del gone
            gc.collect()
        for stream, update in recogniser.advance(streams):
            if stream is good:
                updates.append(update)
            elif isinstance(update, DataError):
                failed.append((stream, str(update)))
    good.finish()
    updates += [update for stream, update in recogniser.advance([good, stalled])]
    assert updates == expected
    assert failed == [(broken, "no path survives")]
    broken.finish()
    (*_, (_, last)) = recogniser.advance([broken])
    assert last.final and last.utterance == 1  # ... and it goes on with a new utterance


def _fail(loglikes):
    raise DataError("no path survives")


@pytest.mark.parametrize("seed", [0, 1])
def test_silence_ends_an_utterance_and_the_next_begins_anew(tone_network, seed):
    live = StreamingRecogniser(tone_network.model, endpoint=EndpointOptions(after_words_s=0.4))
    hiss = np.random.default_rng(7).normal(scale=0.003, size=12000).astype(np.float32)
    samples = np.concatenate([part for s in SENTENCES[:3] for part in (tone_network.say(s), hiss)])
    updates = finals(listen(live, samples, seed))
    spoken = [update for update in updates if update.words]
    assert [update.text for update in spoken] == list(SENTENCES[:3])
    assert [update.utterance for update in updates] == list(range(len(updates)))
    whole = NetworkRecogniser(tone_network.model)
    for update, following in zip(updates, [*updates[1:], None]):
        begin, end = round(update.begin_s * 16000), round(update.end_s * 16000)
        assert following is None or following.begin_s == update.end_s
        if not update.words:  # whole recordings have the word that this grammar asks for
            continue
        alone = whole.transcribe({"a": samples[begin:end]})["a"]
        assert [word.word for word in alone.words] == [word.word for word in update.words]
        times = [(w.start_s - update.begin_s, w.end_s - update.begin_s) for w in update.words]
        np.testing.assert_allclose(times, [(w.start_s, w.end_s) for w in alone.words], atol=2e-3)
        if following is not None:
            assert 0.4 <= update.end_s - update.words[-1].end_s < 0.6


def test_silence_without_words_and_speech_without_silence(tone_network):
    options = EndpointOptions(after_words_s=0.5, before_words_s=1.0, longest_s=2.0)
    live = StreamingRecogniser(tone_network.model, endpoint=options)
    hiss = np.random.default_rng(7).normal(scale=0.003, size=40000).astype(np.float32)
    first, second, *_ = finals(listen(live, hiss))
    assert first.text == second.text == "" and 1.0 <= first.end_s < 1.2
    first, *_ = finals(listen(live, tone_network.say(" ".join(["DOMI SOTI MIDO"] * 5))))
    assert first.words and 2.0 <= first.end_s < 2.2


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_other_rates(recogniser, tone_network, rate):
    samples = resample(tone_network.say("DOMI SOTI MIDO"), 16000, rate)
    (final,) = finals(listen(recogniser, samples, rate=rate))
    assert final.text == "DOMI SOTI MIDO" and final.end_s == pytest.approx(len(samples) / rate, abs=1e-3)


def test_integers_are_the_same_audio(recogniser, tone_network):
    whole = np.round(tone_network.say("SOTI TI") * 32768)
    assert listen(recogniser, whole.astype(np.int16)) == listen(recogniser, (whole / 32768).astype(np.float32))


@pytest.mark.parametrize("length", [0, 1, 100, 700])
def test_hardly_any_audio(recogniser, length):
    updates = listen(recogniser, np.zeros(length, np.float32))
    assert len(finals(updates)) == (length == 700)  # one stacked frame


def test_what_cannot_be_opened(recogniser, tone_teacher):
    with pytest.raises(DataError, match="mic: 4000 Hz; audio of 8000 to"):
        recogniser.open("mic", 4000)
    with pytest.raises(ConfigError, match="cannot follow live"):
        StreamingRecogniser(tone_teacher.model)
    stream = recogniser.open("mic")
    stream.finish()
    with pytest.raises(ValueError, match="mic: samples after finish"):
        stream.accept(np.zeros(1, np.float32))


def pcm(samples):
    return np.round(samples * 32768).astype("<i2").tobytes()


def piped(tone_network, data, *arguments):
    return CliRunner().invoke(app, ["--model", str(tone_network.model.folder), *arguments, "-"], input=data)


def test_raw_audio_from_standard_input(tone_network):
    hiss = np.random.default_rng(7).normal(scale=0.003, size=16000).astype(np.float32)
    data = pcm(np.concatenate([tone_network.say("DOMI SOTI"), hiss, tone_network.say("TI")]))
    assert piped(tone_network, data).stdout == "DOMI SOTI\nTI\n"
    assert piped(tone_network, data, "--silence", "0").stdout == "DOMI SOTI TI\n"
    lines = piped(tone_network, data, "--times").stdout.splitlines()
    assert [line.split("\t")[2] for line in lines] == ["DOMI", "SOTI", "TI"]
    assert float(lines[2].split("\t")[0]) > 1.5
    rows = [json.loads(line) for line in piped(tone_network, data, "--json").stdout.splitlines()]
    assert [row["text"] for row in rows if row["final"]] == ["DOMI SOTI", "TI"]
    assert {"file": "-", "utterance": 0}.items() <= rows[0].items() and not rows[0]["final"]
    other = pcm(resample(tone_network.say("DOMI SOTI"), 16000, 48000))
    assert piped(tone_network, other, "--rate", "48000").stdout == "DOMI SOTI\n"


def test_what_is_no_raw_audio(tone_network):
    for data, said in (
        (b"", "no audio came on standard input"),
        (b"RIFF....WAVEfmt ", "this is a WAV file"),
        (pcm(tone_network.say("TI")) + b"x", "an odd number of bytes"),
    ):
        result = piped(tone_network, data)
        assert result.exit_code == 1 and said in result.stderr
    result = CliRunner().invoke(app, ["--model", str(tone_network.model.folder), "-", "a.wav"])
    assert result.exit_code == 1 and "live audio stands alone" in result.stderr


def test_results_come_before_the_audio_has_ended(tone_network):
    command = [sys.executable, "-m", "pyasr.transcribe", "--model", str(tone_network.model.folder), "--json", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(pcm(tone_network.say("DOMI SOTI")))
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        assert not first["final"] and first["text"]
        rest, _ = process.communicate(pcm(tone_network.say("TI")))
    assert json.loads(rest.splitlines()[-1])["text"].split()[-1] == "TI"
    assert process.returncode == 0
