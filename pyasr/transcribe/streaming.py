"""Live audio to words: samples in, partial and final results out, for many streams at once.

The way of a sample: resampled to 16 kHz; LFBE, less its running mean, stacked to 30 ms; the network, whose outputs
come `delay_frames` later; less log-priors; the search. All of it takes what has come so far and no more, so the words
are those of the whole recording, however its samples are divided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from pyasr.base.errors import DataError
from pyasr.decode.model_dir import NetworkModel
from pyasr.decode.search import Hypothesis
from pyasr.features.options import FRAME_SHIFT_S, SAMPLING_RATE
from pyasr.features.resample import ResampleStream
from pyasr.nn.streaming import LSTMState
from pyasr.transcribe.endpoint import DEFAULT_ENDPOINT, EndpointOptions, ends_here
from pyasr.transcribe.network import log_priors, pack
from pyasr.transcribe.transcript import TimedWord, path_words

_LOWEST_HZ, _HIGHEST_HZ = 8000, 192000
_LOUDEST = 8.0  # of samples that should lie in [-1, 1]: 18 dB above full scale; 16-bit integers are far above


@dataclass(frozen=True)
class Update:
    """What is known of an utterance. Times are seconds from the beginning of the stream.

    utterance: 0, 1, ... of the stream. final: the utterance has ended; otherwise its last words may still change.
    end_s: how far it was heard. reached_final: of a final one with words, False when it broke off within a sentence.
    """

    utterance: int
    final: bool
    words: tuple[TimedWord, ...]
    begin_s: float
    end_s: float
    reached_final: bool

    @property
    def text(self) -> str:
        return " ".join(word.word for word in self.words)


class StreamingRecogniser:
    """Recognises streams that `open` begins; network and decoding graph are held in memory once for all of them.

    precision: "fp32", "bf16" or "int8", of the network's weights. endpoint: when an utterance ends and the next
    begins; None: with the stream alone.
    What one stream is fed with, and whether, changes nothing in another's results, not a bit. For one thread; a
    second recogniser on the same folder is for a second thread or process.
    ConfigError for a bidirectional network.
    """

    def __init__(
        self, model: NetworkModel, precision: str = "fp32", endpoint: EndpointOptions | None = DEFAULT_ENDPOINT
    ) -> None:
        self.model, self.endpoint = model, endpoint
        self.lstm = pack(model, precision)
        self.searcher = model.searcher(model.scales.word_penalty)
        self.log_priors = log_priors(model)
        self.delay_frames = model.network.model.options.delay_frames
        self.frame_s = model.network.frontend.options.stack * FRAME_SHIFT_S

    def open(self, name: str = "stream", rate: int = SAMPLING_RATE) -> Stream:
        """Begin a stream of samples at `rate` Hz; `name` is for messages. A stream that is dropped needs no end."""
        return Stream(self, name, rate)

    def advance(self, streams: Iterable[Stream]) -> list[tuple[Stream, Update | DataError]]:
        """Recognise all that the streams were fed with; what is new, in order.

        The network is run for all streams at once, a frame of each. Streams without a new frame wait for nothing.
        An utterance that cannot be recognised gives a DataError, and its stream goes on with the next one.
        """
        streams = list(dict.fromkeys(streams))
        news: list[tuple[Stream, Update | DataError]] = []
        while batch := [(stream, frame) for stream in streams if (frame := stream.next_frame()) is not None]:
            for (stream, _), logp in zip(batch, self._log_posteriors(batch)):
                if (update := stream.hear(logp)) is not None:
                    news.append((stream, update))
        return news

    def _log_posteriors(self, batch: list[tuple[Stream, np.ndarray]]) -> np.ndarray:
        """float32 (N, S) of the next frame of each stream."""
        frames = torch.from_numpy(np.stack([frame for _, frame in batch]))[:, None]
        states = [stream.lstm_state for stream, _ in batch]
        together = LSTMState(torch.cat([s.h for s in states], dim=1), torch.cat([s.c for s in states], dim=1))
        logp = self.lstm.step(frames, together)
        for index, state in enumerate(states):
            state.h.copy_(together.h[:, index : index + 1])
            state.c.copy_(together.c[:, index : index + 1])
        return logp[:, 0].numpy()


class Stream:
    """The audio of one microphone, made by `StreamingRecogniser.open`."""

    def __init__(self, recogniser: StreamingRecogniser, name: str, rate: int) -> None:
        if not _LOWEST_HZ <= rate <= _HIGHEST_HZ:
            raise DataError(f"{name}: {rate} Hz; audio of {_LOWEST_HZ} to {_HIGHEST_HZ} Hz is recognised")
        self.name = name
        self._recogniser = recogniser
        self._resampler = ResampleStream(rate, SAMPLING_RATE)
        self._samples = np.empty(0, np.float32)  # at 16 kHz, not yet taken by an utterance
        self._accepted = 0
        self._finished = False
        self._utterance = _Utterance(recogniser, name, 0, 0)

    @property
    def lstm_state(self) -> LSTMState:
        return self._utterance.lstm_state

    def accept(self, samples: np.ndarray) -> None:
        """Feed the next samples (n,), float32 or float64 in [-1, 1] or int16, of any number; `advance` hears them.

        DataError for what is no audio: another shape or type, values that are not finite or far above 1; none of
        the samples is taken then. ValueError after `finish`.
        """
        if self._finished:
            raise ValueError(f"{self.name}: samples after finish()")
        samples = _as_audio(samples, f"{self.name}: at sample {self._accepted}")
        self._accepted += len(samples)
        self._samples = np.concatenate([self._samples, self._resampler.accept(samples)])

    def finish(self) -> None:
        """No samples will follow: the next `advance` gives the final result."""
        if not self._finished:
            self._samples = np.concatenate([self._samples, self._resampler.finish()])
            self._finished = True

    def next_frame(self) -> np.ndarray | None:
        """For `StreamingRecogniser`: the next stacked frame (D,) of the utterance; None when it is yet to come."""
        utterance = self._utterance
        if not utterance.frames and not utterance.ended:
            needed = utterance.frontend.samples_to_next
            if len(self._samples) >= needed:
                utterance.accept(self._samples[:needed])
                self._samples = self._samples[needed:]
            elif self._finished:
                utterance.accept(self._samples)
                self._samples = self._samples[:0]
                utterance.end()
        return utterance.frames.popleft() if utterance.frames else None

    def hear(self, logp: np.ndarray) -> Update | DataError | None:
        """For `StreamingRecogniser`: take the network's output (S,) for the frame; what is new, if anything is."""
        try:
            update = self._utterance.hear(logp)
        except DataError as error:
            self._next_utterance()
            return error
        if update is not None and update.final:
            self._next_utterance()
        return update

    def _next_utterance(self) -> None:
        old = self._utterance
        self._utterance = _Utterance(self._recogniser, self.name, old.index + 1, old.begin + old.num_samples)


class _Utterance:
    """From its first sample to its end: front end, state of the network, search.

    frames: stacked, not yet given to the network. begin: first sample, in the stream.
    """

    def __init__(self, recogniser: StreamingRecogniser, name: str, index: int, begin: int) -> None:
        self._recogniser, self.index, self.begin = recogniser, index, begin
        model = recogniser.model
        self.frontend = model.network.frontend.stream()
        self.lstm_state = recogniser.lstm.init_state(1)
        self._search = recogniser.searcher.start(model.scales.acoustic_scale, f"{name}: utterance {index}")
        self.frames: deque[np.ndarray] = deque()
        self._last: np.ndarray | None = None
        self._outputs_to_drop = recogniser.delay_frames
        self.ended = False
        self.num_samples = 0
        self._words: tuple[str, ...] = ()

    def accept(self, samples: np.ndarray) -> None:
        self.num_samples += len(samples)
        self._add(self.frontend.accept(samples))

    def end(self) -> None:
        """No samples will follow. As in `AcousticModel.with_delay` the last frame is repeated."""
        self._add(self.frontend.finish())
        if self._last is not None:
            self.frames.extend([self._last] * self._recogniser.delay_frames)
        self.ended = True

    def _add(self, frames: np.ndarray) -> None:
        self.frames.extend(frames)
        if len(frames):
            self._last = frames[-1]

    def hear(self, logp: np.ndarray) -> Update | None:
        if self._outputs_to_drop:
            self._outputs_to_drop -= 1
            return None
        self._search.advance((logp - self._recogniser.log_priors)[None])
        if not self.ended:
            found = self._search.best()
            if self._recogniser.endpoint is not None and ends_here(
                found, self._recogniser.model, self._recogniser.frame_s, self._recogniser.endpoint
            ):
                self.end()
            else:
                return self._partial(found)
        return None if self.frames else self._final()

    def _partial(self, found: Hypothesis) -> Update | None:
        update = self._update(found, final=False)
        words = tuple(word.word for word in update.words)
        if words == self._words:
            return None
        self._words = words
        return update

    def _final(self) -> Update:
        if self._recogniser.endpoint is not None and not (silence := self._search.best()).word_ids:
            # The grammar may ask for a word where nothing was said: between utterances nothing was.
            return self._update(silence, final=True)
        return self._update(self._search.finish(), final=True)

    def _update(self, found: Hypothesis, final: bool) -> Update:
        begin_s = self.begin / SAMPLING_RATE
        heard_s = begin_s + len(found.tids) * self._recogniser.frame_s
        end_s = (self.begin + self.num_samples) / SAMPLING_RATE if final else heard_s
        words = path_words(self._recogniser.model, found, found.reached_final, begin_s)
        return Update(self.index, final, words, begin_s, end_s, found.reached_final)


def _as_audio(samples: np.ndarray, where: str) -> np.ndarray:
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise DataError(f"{where}: samples of shape {samples.shape}; one channel (n,) is needed")
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(32768)
    if samples.dtype not in (np.float32, np.float64):
        raise DataError(f"{where}: samples of type {samples.dtype}; float32 in [-1, 1] or int16 are needed")
    samples = samples.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise DataError(f"{where}: samples that are not finite numbers")
    loudest = float(np.abs(samples).max(initial=0.0))
    if loudest > _LOUDEST:
        raise DataError(f"{where}: a sample of {loudest:.6g}, but full scale is 1; pass 16-bit samples as int16")
    return samples
