"""Writes the demo corpus: who says what, the synthesis, the lexicon, the text for the language model, the noise.

Every word is spoken from phoneme codes, the ones the engine itself gives for the word alone in that voice. So the
lexicon is right by construction, and the engine's phoneme events are true phone times in the lexicon's phones.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from pyasr.base.artifact import atomic_path, write_jsonl, write_text
from pyasr.base.executor import run_jobs, split_jobs
from pyasr.base.seeds import rng
from pyasr.corpora.demo.noise import room_noise, write_noise
from pyasr.corpora.demo.phones import SILENCE, phone_segments, pronunciation
from pyasr.corpora.demo.prompts import draw_prompt, invented_words, vocabulary
from pyasr.corpora.demo.speak import Reply, Request, resample, speak
from pyasr.corpora.demo.speakers import VOICES, Speaker, make_speakers
from pyasr.corpora.manifest import PARTS, Summary, Utterance, make_parts, write_corpus
from pyasr.corpora.options import DemoOptions, DemoPart

SAMPLING_RATE = 16000
_BATCH = 20  # utterances a job
_WORD_BATCH = 150
_NEXT_WORD = "EIGHT"
_PAUSE_P = 0.12  # of a pause between two words
_PAUSE = " [[_:]]"

Codes = dict[str, dict[str, str]]  # {voice: {word: phoneme codes separated by spaces}}
Lexicon = dict[str, list[tuple[str, ...]]]  # {word: its pronunciations}


@dataclass(frozen=True)
class _Prompt:
    id: str
    speaker: Speaker
    words: tuple[str, ...]
    audio: Path


def prepare(
    options: DemoOptions, corpus_dir: Path | None, out_dir: Path, seed: int, executor: Executor
) -> Summary:
    """Write the demo corpus to `out_dir`, with noise/, phone_times.jsonl and speakers.jsonl. `corpus_dir` is unused."""
    invented = invented_words(options.invented_words)
    codes = _phoneme_codes(vocabulary(invented), executor)
    lexicon = _lexicon(codes, executor)
    lines = [" ".join([word, *phones]) for word, alternatives in lexicon.items() for phones in alternatives]
    write_text(out_dir / "lexicon.txt", "\n".join(lines) + "\n")
    prompts = {}
    for part in PARTS:
        skip = options.transcribed.speakers if part == "untranscribed" else 0
        prompts[part] = _prompts(part, getattr(options, part), skip, out_dir / "audio" / part, seed, invented)
    everything = [prompt for part in PARTS for prompt in prompts[part]]
    times = _synthesise_all(everything, codes, seed, executor)
    write_jsonl(out_dir / "phone_times.jsonl", times)
    speakers = {prompt.speaker.name: prompt.speaker for prompt in everything}
    write_jsonl(out_dir / "speakers.jsonl", (asdict(speaker) for speaker in speakers.values()))
    sentences = (draw_prompt(rng(seed, "demo-lm-text", index), invented) for index in range(options.lm_sentences))
    write_text(out_dir / "lm_text.txt", "".join(" ".join(words) + "\n" for words in sentences))
    write_noise(out_dir / "noise", options.noise_clips, codes, seed, executor)
    utterances = {
        part: [Utterance(p.id, p.speaker.name, " ".join(p.words), p.audio) for p in prompts[part]] for part in PARTS
    }
    cuts_by_part, skipped = make_parts(utterances, executor)
    differing = sum(_differs(prompt, row, lexicon) for prompt, row in zip(everything, times, strict=True))
    notes = [f"{differing} of {len(everything)} utterances are spoken with phones that the lexicon lacks"]
    return write_corpus(out_dir, cuts_by_part, skipped=skipped, notes=notes)


def synthesise_untranscribed(size: DemoPart, folder: Path, seed: int, executor: Executor) -> list[Utterance]:
    """What the demo's untranscribed part would be without a transcribed one, audio below `folder`; without texts."""
    prompts = _prompts("untranscribed", size, 0, folder, seed, invented=())
    _synthesise_all(prompts, _phoneme_codes(vocabulary(), executor), seed, executor)
    return [Utterance(prompt.id, prompt.speaker.name, None, prompt.audio) for prompt in prompts]


def _phoneme_codes(words: list[str], executor: Executor) -> Codes:
    """As the engine says each word alone."""
    done = run_jobs(executor, _codes_of, _word_batches(words), "asking for phonemes", unit="batch")
    return {voice: {word: code for codes in done for word, code in codes[voice].items()} for voice in VOICES}


def _codes_of(words: list[str]) -> Codes:
    # The comma keeps "a" from being read as an article and "no" as an abbreviation.
    requests = [Request(voice, f"{word.lower()},", phonemes=True) for voice in VOICES for word in words]
    replies = iter(speak(requests))
    return {voice: {word: next(replies).phonemes or "" for word in words} for voice in VOICES}


def _lexicon(codes: Codes, executor: Executor) -> Lexicon:
    words = list(codes[VOICES[0]])
    done = run_jobs(executor, partial(_spoken, codes=codes), _word_batches(words), "speaking each word", unit="batch")
    return {word: pronunciations for part in done for word, pronunciations in part.items()}


def _spoken(words: list[str], codes: Codes) -> Lexicon:
    """Of each word: alone and before a vowel ("the apple", "four eight"), in every voice."""
    lexicon: dict[str, dict[tuple[str, ...], None]] = {word: {} for word in words}  # ordered sets
    for voice in VOICES:
        replies = speak([Request(voice, _in_codes((word, _NEXT_WORD), codes[voice])) for word in words])
        tail = pronunciation(codes[voice][_NEXT_WORD], voice)
        for word, reply in zip(words, replies):
            spoken = pronunciation(" ".join(code for _, code in reply.events), voice)
            lexicon[word][pronunciation(codes[voice][word], voice)] = None
            lexicon[word][spoken[: len(spoken) - len(tail)]] = None
    return {word: list(alternatives) for word, alternatives in lexicon.items()}


def _word_batches(words: list[str]) -> list[list[str]]:
    return split_jobs(words, -(-len(words) // _WORD_BATCH))


def _in_codes(words: tuple[str, ...], codes: dict[str, str]) -> str:
    return " ".join("[[" + "|".join(codes[word].split()) + "]]" for word in words)


def _prompts(
    part: str, size: DemoPart, skip: int, folder: Path, seed: int, invented: tuple[str, ...]
) -> list[_Prompt]:
    """skip: speakers of the same side that other parts have; folder: of the audio."""
    speakers = make_speakers(part, size.speakers, skip, seed)
    prompts = []
    for index in range(size.utterances):
        speaker = speakers[index % len(speakers)]
        name = f"{speaker.name}-{index // len(speakers):03d}"
        words = tuple(draw_prompt(rng(seed, "demo-prompt", part, index), invented))
        prompts.append(_Prompt(name, speaker, words, folder / speaker.name / f"{name}.flac"))
    return sorted(prompts, key=lambda prompt: prompt.id)


def _synthesise_all(prompts: list[_Prompt], codes: Codes, seed: int, executor: Executor) -> list[dict]:
    """Write the audio; return the rows of phone_times.jsonl."""
    jobs = split_jobs(prompts, -(-len(prompts) // _BATCH))
    done = run_jobs(executor, partial(_synthesise, codes=codes, seed=seed), jobs, "synthesising speech", unit="batch")
    return [row for job in done for row in job]


def _synthesise(job: list[_Prompt], codes: Codes, seed: int) -> list[dict]:
    """Write the audio of a batch; return its rows of phone_times.jsonl."""
    replies = speak([_request(prompt, codes, seed) for prompt in job])
    return [_write_utterance(prompt, reply, seed) for prompt, reply in zip(job, replies)]


def _request(prompt: _Prompt, codes: Codes, seed: int) -> Request:
    speaker = prompt.speaker
    draws = rng(seed, "demo-pause", prompt.id).random(len(prompt.words) - 1)
    pauses = [_PAUSE if draw < _PAUSE_P else "" for draw in draws] + [""]
    spoken = [_in_codes((word,), codes[speaker.voice]) + pause for word, pause in zip(prompt.words, pauses)]
    voice = f"{speaker.voice}+{speaker.variant}"
    return Request(voice, " ".join(spoken), speaker.rate, speaker.pitch, speaker.range)


def _write_utterance(prompt: _Prompt, reply: Reply, seed: int) -> dict:
    draw = rng(seed, "demo-audio", prompt.id)
    lead, trail = (int(draw.uniform(0.15, 0.45) * SAMPLING_RATE) for _ in range(2))
    speech = resample(reply.samples, reply.rate, SAMPLING_RATE)
    level = 10 ** (prompt.speaker.level_db / 20)
    speech *= level / np.sqrt(np.mean(speech**2))
    samples = np.concatenate([np.zeros(lead), speech, np.zeros(trail)])
    # Digital silence exists in no recording, and a model of it would break on the first noise.
    samples += room_noise(draw, len(samples)) * level * 10 ** (prompt.speaker.floor_db / 20)
    samples *= min(1.0, 0.99 / np.abs(samples).max())
    prompt.audio.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(prompt.audio) as temporary:
        soundfile.write(str(temporary), samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    segments = phone_segments(
        reply.events, reply.rate, prompt.speaker.voice, lead / SAMPLING_RATE, len(samples) / SAMPLING_RATE
    )
    return {"id": prompt.id, "phones": segments}


def _differs(prompt: _Prompt, row: dict, lexicon: Lexicon) -> bool:
    """Whether an utterance was spoken with other phones than the lexicon allows for its words."""
    spoken = tuple(phone for phone, _, _ in row["phones"] if phone != SILENCE)
    ends = {0}
    for word in prompt.words:
        ends = {
            end + len(phones) for end in ends for phones in lexicon[word] if spoken[end : end + len(phones)] == phones
        }
    return len(spoken) not in ends
