"""The live recogniser on one core and on two: how fast, how soon, how many streams, and the same words as offline.

    python benchmarks/recogniser.py --model EXP/decode/student --corpus-dir AN4 --json FILE

Real-time factor: seconds of work a second of audio, a stream fed as fast as it is recognised in chunks of 30 ms, on
one core, the model's network and search together; and with the full-size network (5 x 768, 3183 outputs, untrained)
run beside it on every frame, for its cost. Its peer is the recognition of the same files whole (without the full-size
network, which there would run as `torch.nn.LSTM`). "CPU" is the same in time of the processor, which other work on
the machine does not change.

Delay: from the end of a word, as the final result has it, to the first partial result with it in its place that no
later one takes back. Once in audio (how much more had been heard), once by the clock with audio fed at the speed of
speech. A word is put out when its first phones are heard: negative delays are words that were right before they ended.

Streams: 16 at the speed of speech, on two cores; how far behind its audio a chunk's results came. Beside it, as fast
as possible, all streams in one step of the network against each in a step of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import row

from pyasr.base.executor import SerialExecutor
from pyasr.corpora import read_cuts
from pyasr.corpora.an4 import prepare
from pyasr.corpora.options import An4Options
from pyasr.decode.model_dir import load_model
from pyasr.decode.score import score_utterance, total, wer
from pyasr.features.audio import load_samples
from pyasr.nn import StreamingLSTM
from pyasr.transcribe.network import NetworkRecogniser
from pyasr.transcribe.streaming import StreamingRecogniser

CHUNK = 480  # 30 ms
STREAMS = 16
INPUTS, UNITS, LAYERS, SENONES = 192, 768, 5, 3183


class WithFullSize(StreamingRecogniser):
    """Runs an untrained full-size network on every frame, and throws its results away."""

    def __init__(self, model, precision, **more):
        super().__init__(model, precision, **more)
        lstm, output = torch.nn.LSTM(INPUTS, UNITS, LAYERS), torch.nn.Linear(UNITS, SENONES)
        with torch.no_grad():  # as large as training leaves them: the default's gates hardly move
            for parameter in (*lstm.parameters(), *output.parameters()):
                parameter.mul_(2)
        self._full = StreamingLSTM.from_lstm(lstm, output, precision)
        self._state, self._frames = self._full.init_state(1), torch.randn(64, 1, 1, INPUTS)
        self._next = 0

    def _log_posteriors(self, batch):
        self._next = (self._next + 1) % len(self._frames)
        if self._state.h.shape[1] != len(batch):
            self._state = self._full.init_state(len(batch))
        self._full.step(self._frames[self._next].expand(len(batch), 1, INPUTS), self._state)
        return super()._log_posteriors(batch)


def listen(recogniser, samples, at_speech_speed=False):
    """[(seconds of audio heard, seconds on the clock since its beginning, update)] of one stream."""
    stream, rows, begin = recogniser.open(), [], time.perf_counter()
    for start in range(0, len(samples), CHUNK):
        heard_s = min(start + CHUNK, len(samples)) / 16000
        if at_speech_speed:
            time.sleep(max(0.0, begin + heard_s - time.perf_counter()))
        stream.accept(samples[start : start + CHUNK])
        if heard_s == len(samples) / 16000:
            stream.finish()
        updates = recogniser.advance([stream])
        rows += [(heard_s, time.perf_counter() - begin, update) for _, update in updates]
    return rows


def delays(rows):
    """For each word of the final result: seconds from its end to the partial result that settled it, (audio, clock)."""
    found, final = [], rows[-1][2]
    for index, word in enumerate(final.words):
        settled = len(rows) - 1
        while settled and [w.word for w in rows[settled - 1][2].words][index : index + 1] == [word.word]:
            settled -= 1
        audio_s, clock_s, _ = rows[settled]
        found.append((audio_s - word.end_s, clock_s - word.end_s))
    return found


@contextlib.contextmanager
def cores(count):
    """On the first `count` of the cores that this process may use."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(allowed)[:count]))
    torch.set_num_threads(count)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def timed(work):
    """(result, seconds, seconds of the processor)."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - clock, time.process_time() - processor


def speed(model, precision, utterances):
    """Real-time factors, the comparison with offline recognition, and delays in audio."""
    audio_s = sum(len(samples) for _, samples, _ in utterances) / 16000
    rows, seconds = [], {}
    for what, kind in (("student", StreamingRecogniser), ("student and full-size network", WithFullSize)):
        recogniser = kind(model, precision, endpoint=None)
        listen(recogniser, utterances[0][1])
        heard, clock, processor = timed(lambda r=recogniser: [listen(r, samples) for _, samples, _ in utterances])
        seconds[what] = clock
        print(f"{precision}, {what}: real-time factor {clock / audio_s:.4f}, CPU {processor / audio_s:.4f}")
    offline = NetworkRecogniser(model, precision)
    whole, clock, _ = timed(lambda: [offline.transcribe({"a": samples})["a"] for _, samples, _ in utterances])
    for what, streaming_s in seconds.items():
        rows.append(row(f"live, {precision}, 1 core, {what}", "s of audio/s", audio_s / streaming_s, audio_s / clock,
                        "the same files whole, student alone"))  # fmt: skip
    live = [h[-1][2] for h in heard]
    different = sum([w.word for w in a.words] != [w.word for w in b.words] for a, b in zip(live, whole))
    rates = [
        wer(total(score_utterance(str(i), "", text.split(), r.text.split(), None)
                  for i, ((_, _, text), r) in enumerate(zip(utterances, results))))
        for results in (live, whole)
    ]  # fmt: skip
    print(f"{precision}: WER live {rates[0]:.2f}, offline {rates[1]:.2f}; {different} of {len(live)} utterances differ")
    report_delays(f"{precision}, in audio", [audio for h in heard for audio, _ in delays(h)])
    return rows


def report_delays(what, found):
    ms = sorted(1000 * value for value in found)
    nine = ms[int(0.9 * len(ms))]
    print(f"delay {what}: median {statistics.median(ms):.0f} ms, 90 % {nine:.0f} ms, of {len(ms)} words")


def at_speech_speed(model, precision, utterances, limit_s):
    """Delays by the clock, one stream on one core with the full-size network beside it."""
    recogniser, found, spent = WithFullSize(model, precision, endpoint=None), [], 0.0
    for _, samples, _ in utterances:
        found += [clock for _, clock in delays(listen(recogniser, samples, at_speech_speed=True))]
        spent += len(samples) / 16000
        if spent > limit_s:
            break
    report_delays(f"{precision}, by the clock", found)


def many_streams(model, precision, utterances, limit_s):
    """STREAMS streams at the speed of speech; each begins with another utterance and takes one after the other."""
    recogniser = StreamingRecogniser(model, precision)
    streams = [recogniser.open(str(i)) for i in range(STREAMS)]
    speech = np.concatenate([samples for _, samples, _ in utterances])
    audio = [np.roll(speech, -i * len(speech) // STREAMS)[: int(limit_s * 16000)] for i in range(STREAMS)]
    behind, begin = [], time.perf_counter()
    for end in range(CHUNK, len(audio[0]), CHUNK):
        due = begin + end / 16000
        time.sleep(max(0.0, due - time.perf_counter()))
        for stream, samples in zip(streams, audio):
            stream.accept(samples[end - CHUNK : end])
        recogniser.advance(streams)
        behind.append(1000 * (time.perf_counter() - due))
    behind.sort()
    median, most = behind[len(behind) // 2], behind[int(0.99 * len(behind))]
    print(f"{STREAMS} streams, {precision}, 2 cores, {limit_s:.0f} s: results come after their audio by {median:.1f} ms"
          f" (median), {most:.1f} ms (99 %), {behind[-1]:.1f} ms at most")  # fmt: skip


def together_or_apart(model, precision, utterances, kind, what):
    """Seconds of audio a second for STREAMS streams in one step of the network, and in a step each."""
    recogniser = kind(model, precision)
    speech = [np.resize(samples, 32000) for _, samples, _ in utterances[:STREAMS]]
    seconds = {}
    for batched in (True, False):
        streams = [recogniser.open() for _ in speech]

        def work(streams=streams, batched=batched):
            for end in range(CHUNK, 32000, CHUNK):
                for stream, samples in zip(streams, speech):
                    stream.accept(samples[end - CHUNK : end])
                for group in [streams] if batched else [[stream] for stream in streams]:
                    recogniser.advance(group)

        _, _, seconds[batched] = timed(work)
    audio_s = 2 * len(speech)
    return row(f"{len(speech)} streams in one step, {precision}, {what}", "s of audio/s of CPU",
               audio_s / seconds[True], audio_s / seconds[False], "a step for each stream")  # fmt: skip


def test_cuts(arguments):
    if arguments.cuts:
        return list(read_cuts(arguments.cuts))
    folder = Path(tempfile.mkdtemp(prefix="an4-"))
    prepare(An4Options(), arguments.corpus_dir, folder, 0, SerialExecutor())
    return list(read_cuts(folder / "test.jsonl.gz"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a forward-only network")
    parser.add_argument("--corpus-dir", type=Path, help="AN4, whose official test set is recognised")
    parser.add_argument("--cuts", type=Path, help="or a manifest, such as EXP/data/test.jsonl.gz")
    parser.add_argument("--utterances", type=int, default=None, help="the first so many; default all")
    parser.add_argument("--precisions", default="fp32,bf16,int8")
    parser.add_argument("--speech-s", type=float, default=60.0, help="audio fed at the speed of speech; 0: none")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    if not (arguments.corpus_dir or arguments.cuts):
        parser.error("give --corpus-dir or --cuts")
    model = load_model(arguments.model)
    cuts = test_cuts(arguments)[: arguments.utterances]
    utterances = [(cut.id, load_samples(cut), cut.supervisions[0].text) for cut in cuts]
    rows = []
    for precision in arguments.precisions.split(","):
        with cores(1):
            rows += speed(model, precision, utterances)
            for kind, what in ((StreamingRecogniser, "student"), (WithFullSize, "student and full-size network")):
                rows.append(together_or_apart(model, precision, utterances, kind, what))
            if arguments.speech_s:
                at_speech_speed(model, precision, utterances, arguments.speech_s)
        if arguments.speech_s:
            with cores(2):
                many_streams(model, precision, utterances, arguments.speech_s)
    for r in rows:
        print(f"{r['name']}: {r['ours']:.4g} {r['unit']}, {r['peer_what']} {r['peer']:.4g}: {r['ratio']:.2f} times")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
