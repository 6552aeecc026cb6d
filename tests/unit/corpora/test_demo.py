"""The demo corpus: equal bits, a lexicon that fits what is spoken, true phone times, disjoint speakers and noise."""

import importlib.util
import itertools
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from pyasr.base.artifact import read_jsonl
from pyasr.base.errors import ConfigError, PyasrError
from pyasr.base.executor import make_executor
from pyasr.base.seeds import rng
from pyasr.corpora import PARTS, prepare_corpus, read_cuts, validate_cuts
from pyasr.corpora.demo import speak as speak_module
from pyasr.corpora.demo.phones import phone_of, phone_segments
from pyasr.corpora.demo.prompts import draw_prompt, invented_words, vocabulary
from pyasr.corpora.demo.speak import Request, resample, speak
from pyasr.corpora.demo.speakers import make_speakers
from pyasr.corpora.options import DemoOptions, DemoPart, ValidationOptions

has_engine = importlib.util.find_spec("espeakng_loader") is not None
needs_engine = pytest.mark.skipif(not has_engine, reason="the optional extra `demo` is not installed")

SMALL = DemoOptions(
    transcribed=DemoPart(speakers=3, utterances=12),
    untranscribed=DemoPart(speakers=2, utterances=6),
    dev=DemoPart(speakers=2, utterances=6),
    test=DemoPart(speakers=2, utterances=6),
    lm_sentences=50,
    noise_clips=1,
)
HELLO = Request("en-US+f2", "[[h@l'oU]] [[w'3:ld]]")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    if not has_engine:
        pytest.skip("the optional extra `demo` is not installed")
    out = tmp_path_factory.mktemp("demo") / "one"
    summary = prepare_corpus(SMALL, None, out, 1, make_executor("serial"))
    return out, summary


def _cuts(out):
    return {part: read_cuts(out / f"{part}.jsonl.gz") for part in PARTS}


def _lexicon(out):
    lexicon: dict[str, set[tuple[str, ...]]] = {}
    for line in (out / "lexicon.txt").read_text().splitlines():
        word, *phones = line.split()
        lexicon.setdefault(word, set()).add(tuple(phones))
    return lexicon


@needs_engine
def test_equal_requests_give_equal_bits_whatever_is_said_before():
    other = Request("en-GB-x-rp+m3", "[[st'0p]]", rate=140, pitch=80)
    first = speak([HELLO])[0]
    again = speak([other, HELLO, HELLO])
    for reply in again[1:]:
        np.testing.assert_array_equal(reply.samples, first.samples)
        assert reply.events == first.events
    assert not np.array_equal(again[0].samples[:1000], first.samples[:1000])


@needs_engine
def test_breathy_variants_give_equal_bits_in_another_process_and_at_another_time():
    requests = [Request(f"en-US+{variant}", HELLO.text) for variant in ("f2", "f3", "f5", "sandro", "victor")]
    first = speak(requests)
    time.sleep(1.1)  # the engine's own seed is the time in seconds
    for one, other in zip(first, speak(requests)):
        np.testing.assert_array_equal(one.samples, other.samples)


@needs_engine
def test_an_unknown_variant_is_an_error_and_not_the_plain_voice():
    with pytest.raises(PyasrError, match=r"espeak-ng has no voice 'en-US\+nobody'"):
        speak([Request("en-US+nobody", "hello")])


def test_without_the_engine_the_error_says_what_to_install(monkeypatch):
    gone = [sys.executable, "-c", f"raise SystemExit({speak_module._NOT_INSTALLED})"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **options: run(gone, **options))
    with pytest.raises(ConfigError, match=r"pip install espeakng-loader"):
        speak([HELLO])


@needs_engine
def test_the_engine_is_not_loaded_into_this_process(demo):
    with open("/proc/self/maps") as maps:
        assert "espeak" not in maps.read()


@needs_engine
def test_the_number_of_workers_changes_no_bit(demo, tmp_path):
    out, _ = demo
    with make_executor("processes:2") as pool:
        prepare_corpus(SMALL, None, tmp_path / "two", 1, pool)
    files = [path.relative_to(out) for path in sorted(out.rglob("*")) if path.suffix in (".flac", ".txt", ".jsonl")]
    assert len(files) > 30
    for name in files:
        assert (out / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_sizes_and_disjoint_speakers(demo):
    out, summary = demo
    assert {part: (row["utterances"], row["speakers"]) for part, row in summary.parts.items()} == {
        "transcribed": (12, 3), "untranscribed": (6, 2), "dev": (6, 2), "test": (6, 2),
    }  # fmt: skip
    options = ValidationOptions(skip_limit=0)
    validated = validate_cuts(_cuts(out), _lexicon(out).keys(), options, make_executor("serial"))
    assert validated.notes == [] and validated.skips.count == 0
    voices = {row["name"]: row["variant"] for row in read_jsonl(out / "speakers.jsonl")}
    training = {variant for name, variant in voices.items() if name[:2] in ("tr", "un")}
    assert not training & {variant for name, variant in voices.items() if name[:2] in ("de", "te")}


def test_every_utterance_is_spoken_as_the_lexicon_says(demo):
    out, summary = demo
    assert summary.notes == ["0 of 30 utterances are spoken with phones that the lexicon lacks"]
    lexicon = _lexicon(out)
    texts = {cut.id: cut.supervisions[0].text for cuts in _cuts(out).values() for cut in cuts}
    texts |= {row["id"]: row["text"] for row in read_jsonl(out / "withheld.jsonl")}
    for row in read_jsonl(out / "phone_times.jsonl"):
        spoken = tuple(phone for phone, _, _ in row["phones"] if phone != "SIL")
        choices = itertools.product(*(lexicon[word] for word in texts[row["id"]].split()))
        assert any(tuple(itertools.chain(*choice)) == spoken for choice in choices), row["id"]


def test_phone_times_cover_the_audio_and_fit_it(demo):
    out, _ = demo
    cuts = {cut.id: cut for part in _cuts(out).values() for cut in part}
    inside, outside = [], []
    for row in read_jsonl(out / "phone_times.jsonl"):
        cut, phones = cuts[row["id"]], row["phones"]
        assert phones[0][0] == phones[-1][0] == "SIL" and phones[0][1] == 0.0
        assert phones[-1][2] == pytest.approx(cut.duration, abs=1e-3)
        assert all(left[2] == right[1] and left[1] <= left[2] for left, right in zip(phones, phones[1:]))
        samples = cut.load_audio()[0]
        for name, start, end in (phones[0], *[phone for phone in phones if phone[0] == "IY"]):
            power = np.mean(samples[int(start * 16000) : int(end * 16000)] ** 2)
            (outside if name == "SIL" else inside).append(10 * np.log10(power))
    assert len(inside) > 10
    assert min(inside) > max(outside)


def test_lm_text_is_of_the_vocabulary_and_other_than_the_test_prompts(demo):
    out, _ = demo
    sentences = (out / "lm_text.txt").read_text().splitlines()
    assert len(sentences) == 50
    assert {word for line in sentences for word in line.split()} <= _lexicon(out).keys()
    assert not (out / "lm.arpa").exists()
    test = [cut.supervisions[0].text for cut in _cuts(out)["test"]]
    assert test != sentences[: len(test)]


def test_noise_kinds_are_disjoint_and_of_one_level(demo):
    out, _ = demo
    clips = {part: (out / "noise" / part).iterdir() for part in ("train", "test")}
    kinds = {part: {path.stem.rstrip("0123456789") for path in paths} for part, paths in clips.items()}
    assert kinds["train"] == {"white", "pink", "hum", "rain", "band"}
    assert kinds["test"] == {"brown", "babble", "keyboard", "engine"}
    for path in (out / "noise").rglob("*.flac"):
        samples, rate = soundfile.read(str(path))
        assert (rate, len(samples)) == (16000, 80000)
        assert np.abs(samples).max() < 1.0 and np.sqrt(np.mean(samples**2)) > 0.02


def test_seeds_give_other_prompts_and_speakers():
    assert draw_prompt(rng(1, "x")) == draw_prompt(rng(1, "x"))
    prompts = [[tuple(draw_prompt(rng(seed, "x", index))) for index in range(20)] for seed in (1, 2)]
    assert prompts[0] != prompts[1]
    assert make_speakers("test", 8, 0, 1) == make_speakers("test", 8, 0, 1) != make_speakers("test", 8, 0, 2)


def test_the_vocabulary_covers_the_grammar():
    words = {word for index in range(3000) for word in draw_prompt(rng(3, index))}
    assert words <= set(vocabulary())
    assert len(words) > 280


def test_invented_words_are_new_ones_and_fill_half_of_the_prompts():
    words = invented_words(500)
    assert len(set(words)) == 500 and not set(words) & set(vocabulary())
    assert invented_words(20) == words[:20] and invented_words(0) == ()
    assert set(vocabulary(words)) == set(vocabulary()) | set(words)
    prompts = [draw_prompt(rng(1, index), words) for index in range(1000)]
    of_words = [prompt for prompt in prompts if set(prompt) & set(words)]
    assert 400 < len(of_words) < 600
    assert all(set(prompt) <= set(words) and 3 <= len(prompt) <= 6 for prompt in of_words)
    assert all(set(prompt) <= set(vocabulary()) for prompt in prompts if prompt not in of_words)


@needs_engine
def test_invented_words_are_in_the_lexicon_and_spoken_as_it_says(tmp_path):
    options = SMALL.model_copy(update={"invented_words": 100, "test": DemoPart(speakers=2, utterances=20)})
    prepare_corpus(options, None, tmp_path, 1, make_executor("serial"))
    lexicon = _lexicon(tmp_path)
    assert set(invented_words(100)) <= lexicon.keys()
    times = {
        row["id"]: [phone for phone, _, _ in row["phones"] if phone != "SIL"]
        for row in read_jsonl(tmp_path / "phone_times.jsonl")
    }
    spoken = 0
    for cut in _cuts(tmp_path)["test"]:
        words = cut.supervisions[0].text.split()
        if words[0] in set(invented_words(100)):
            choices = itertools.product(*(lexicon[word] for word in words))
            spoken += any([*itertools.chain(*choice)] == times[cut.id] for choice in choices)
    assert spoken >= 5


def test_unknown_phonemes_are_errors():
    with pytest.raises(PyasrError, match=r"lacks the engine's phoneme 'Q' of voice en-US"):
        phone_of("Q", "en-US")


def test_phone_segments_merge_silence_and_links():
    events = [(0, "_"), (1000, "'i:"), (2000, ";"), (2500, "'E"), (4000, "_:"), (4100, "_")]
    assert phone_segments(events, 10000, "en-US", 0.5, 2.0) == [
        ("SIL", 0.0, 0.6), ("IY", 0.6, 0.75), ("EH", 0.75, 0.9), ("SIL", 0.9, 2.0),
    ]  # fmt: skip


@pytest.mark.parametrize("rate", [22050, 8000, 16000])
def test_resampling_keeps_a_tone(rate):
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate) * np.hanning(rate)
    expected = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000) * np.hanning(16000)
    np.testing.assert_allclose(resample(tone, rate, 16000), expected, atol=2e-3)
