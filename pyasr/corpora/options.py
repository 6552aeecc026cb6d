"""Options of the corpora: a union that `kind` tells apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pyasr.base.config import GrownOptions, Options


class An4Options(GrownOptions):
    """CMU AN4. fold unset: the official split; 0 to 6: one fold of the rotation over all 84 speakers.

    synthetic: utterances of the demo's synthetic speakers that are added to the untranscribed part; they need the
    extra `demo`.
    """

    newer = ("synthetic",)
    kind: Literal["an4"] = "an4"
    fold: int | None = Field(None, ge=0, le=6)
    transcribed_speakers: int = Field(15, ge=1)  # with a fold only; the texts of the others are withheld
    synthetic: int = Field(0, ge=0)


class DemoPart(Options):
    """Size of one part of the demo corpus."""

    speakers: int = Field(ge=1)
    utterances: int = Field(ge=1)


class DemoOptions(GrownOptions):
    """Synthesised speech and noise; needs no data.

    invented_words: added to the vocabulary of 297, for as many triphones as large corpora have.
    """

    newer = ("invented_words",)
    kind: Literal["demo"] = "demo"
    transcribed: DemoPart = DemoPart(speakers=12, utterances=300)
    untranscribed: DemoPart = DemoPart(speakers=40, utterances=1000)
    dev: DemoPart = DemoPart(speakers=6, utterances=60)
    test: DemoPart = DemoPart(speakers=8, utterances=160)
    lm_sentences: int = Field(20000, ge=1)  # drawn from the same grammar as the prompts, with another seed
    noise_clips: int = Field(4, ge=1)  # five-second clips of each kind of noise
    invented_words: int = Field(0, ge=0, le=100_000)


class KaldiDirOptions(Options):
    """Kaldi data directories: wav.scp, text, utt2spk, segments if any. Paths are relative to --corpus-dir."""

    kind: Literal["kaldi_dir"] = "kaldi_dir"
    transcribed: Path = Path("train")
    untranscribed: Path | None = None
    dev: Path = Path("dev")
    test: Path = Path("test")
    lexicon: Path = Path("lexicon.txt")
    lm: Path = Path("lm.arpa")


class ManifestsOptions(Options):
    """Lhotse CutSets, lexicon and ARPA language model. Paths are relative to --corpus-dir.

    untranscribed: a manifest; or a folder of them, of any size, read a few at a time.
    """

    kind: Literal["manifests"] = "manifests"
    transcribed: Path = Path("transcribed.jsonl.gz")
    untranscribed: Path | None = None
    dev: Path = Path("dev.jsonl.gz")
    test: Path = Path("test.jsonl.gz")
    lexicon: Path = Path("lexicon.txt")
    lm: Path = Path("lm.arpa")


class MiniLibrispeechOptions(Options):
    """Mini LibriSpeech (openslr 31): train-clean-5 transcribed, dev-clean-2 halved into dev and test."""

    kind: Literal["mini_librispeech"] = "mini_librispeech"
    lexicon: Path | None = None  # default: librispeech-lexicon.txt in or below the corpus folder
    lm: Path | None = None  # default: 3-gram.pruned.1e-7.arpa or .arpa.gz there


class LibrispeechOptions(Options):
    """LibriSpeech (openslr 12): 100 h transcribed, 860 h with texts withheld, dev-clean, test-clean."""

    kind: Literal["librispeech"] = "librispeech"
    transcribed: tuple[str, ...] = ("train-clean-100",)
    untranscribed: tuple[str, ...] = ("train-clean-360", "train-other-500")
    dev: tuple[str, ...] = ("dev-clean",)
    test: tuple[str, ...] = ("test-clean",)
    lexicon: Path | None = None
    lm: Path | None = None


CorpusOptions = Annotated[
    An4Options
    | DemoOptions
    | KaldiDirOptions
    | ManifestsOptions
    | MiniLibrispeechOptions
    | LibrispeechOptions,
    Field(discriminator="kind"),
]


class ValidationOptions(Options):
    """Limits of `pyasr.corpora.validate`."""

    skip_limit: float = Field(0.05, ge=0, le=1)  # fraction of a part's utterances that may be left out
    oov_limit: float = Field(0.05, ge=0, le=1)  # fraction of a part's running words that may be unknown
    min_duration_s: float = Field(0.1, gt=0)
    max_duration_s: float = Field(60.0, gt=0)
    max_words_per_s: float = Field(8.0, gt=0)  # a transcript faster than speech belongs to other audio
