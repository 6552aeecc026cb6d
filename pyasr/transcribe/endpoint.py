"""When an utterance of a stream has ended: by the silence at the end of the best path."""

from __future__ import annotations

import numpy as np
import pydantic

from pyasr.base.config import Options
from pyasr.decode.model_dir import NetworkModel
from pyasr.decode.search import Hypothesis


class EndpointOptions(Options):
    """Seconds of silence that end an utterance, as in Kaldi's online decoders (online2/online-endpoint.h)."""

    after_words_s: float = pydantic.Field(0.6, gt=0)
    before_words_s: float = pydantic.Field(5.0, gt=0, description="without a word; the utterance is then empty")
    longest_s: float = pydantic.Field(30.0, gt=0, description="an utterance that is longer ends wherever it is")


DEFAULT_ENDPOINT = EndpointOptions()


def ends_here(found: Hypothesis, model: NetworkModel, frame_s: float, options: EndpointOptions) -> bool:
    """Whether an utterance ends with the last frame of its best path so far."""
    spoken = np.flatnonzero(model.transitions.tid_to_phone[found.tids] != model.phones.silence_id)
    silent = len(found.tids) - (int(spoken[-1]) + 1 if len(spoken) else 0)
    limit = options.after_words_s if found.word_ids else options.before_words_s
    return silent * frame_s >= limit or len(found.tids) * frame_s >= options.longest_s
