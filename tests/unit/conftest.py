"""A recogniser whose phones are tones: small enough to make in a second, real from audio to words."""

import math
from dataclasses import dataclass
from pathlib import Path

import kaldifst
import numpy as np
import pytest

from pyasr.align.frontend import Frontend
from pyasr.align.gmm import DiagGmm
from pyasr.align.system import GmmSystem
from pyasr.decode.model_dir import Model, ModelOptions, export_model
from pyasr.decode.options import DecodeOptions
from pyasr.decode.part import Scales
from pyasr.decode.tune import Tuning
from pyasr.features.cmvn import cmvn_of
from pyasr.features.mfcc import compute_mfcc
from pyasr.lang.context import MonophoneContext
from pyasr.lang.grammar import make_l_fst
from pyasr.lang.hclg import build_hclg
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel
from pyasr.lang.words import WordTable

TONES_HZ = {"SIL": 0.0, "DO": 400.0, "MI": 900.0, "SO": 2000.0, "TI": 3500.0}
LEXICON = {"DOMI": [("DO", "MI")], "SOTI": [("SO", "TI")], "MIDO": [("MI", "DO")], "TI": [("TI",)]}
PHONE_S = 0.15


def tones(phones: list[str], seed: int = 0, gain: float = 0.2) -> np.ndarray:
    """float32 samples at 16 kHz: PHONE_S of each phone's tone in a little noise."""
    time_s = np.arange(round(16000 * PHONE_S)) / 16000
    noise = np.random.default_rng(seed).normal(scale=0.003, size=(len(phones), len(time_s)))
    parts = [gain * np.sin(2 * math.pi * TONES_HZ[phone] * time_s) + hiss for phone, hiss in zip(phones, noise)]
    return np.concatenate(parts).astype(np.float32)


def spoken(sentence: str) -> list[str]:
    """The phones of a sentence, silence at both ends."""
    return ["SIL", *(phone for word in sentence.split() for phone in LEXICON[word][0]), "SIL"]


@dataclass(frozen=True)
class ToneSpeech:
    """model: the recogniser. say(sentence, seed): samples of a sentence."""

    model: Model
    phone_s: float = PHONE_S

    def say(self, sentence: str, seed: int = 0, gain: float = 0.2) -> np.ndarray:
        return tones(spoken(sentence), seed, gain)


def tone_system() -> GmmSystem:
    """Monophones of one state; a Gaussian a phone from a long recording of all tones."""
    phones = PhoneTable.from_pronunciations(p for prons in LEXICON.values() for p in prons)
    topology = Topology(states=1, silence_states=1)
    context = MonophoneContext(phones, topology)
    order = [phone for seed in range(40) for phone in np.random.default_rng(seed).permutation(list(TONES_HZ))]
    mfcc = compute_mfcc(tones(order, seed=99))
    features = Frontend()(mfcc, cmvn_of([mfcc])).astype(np.float64)
    pdf = np.array([phones.id(phone) - 1 for phone in order]).repeat(round(PHONE_S * 100))
    means = np.stack([features[pdf == p].mean(axis=0) for p in range(context.num_pdfs)])
    variances = np.stack([features[pdf == p].var(axis=0) + 0.01 for p in range(context.num_pdfs)])
    transitions = TransitionModel.build(phones, topology, context, loop_p=0.9)
    return GmmSystem(phones, topology, context, transitions, Frontend(), DiagGmm.single(means, variances))


def free_grammar(words: WordTable) -> kaldifst.StdVectorFst:
    """Any sequence of at least one word, all equally likely."""
    cost = math.log(len(words.words))
    lines = [f"{src} 1 {words.id(w)} {words.id(w)} {cost}" for src in (0, 1) for w in words.words] + ["1 0.0"]
    grammar = kaldifst.compile("\n".join(lines) + "\n")
    kaldifst.arcsort(grammar, sort_type="ilabel")
    return grammar


def make_tone_model(folder: Path) -> Model:
    system, words, lexicon = tone_system(), WordTable.of(LEXICON), Lexicon(dict(LEXICON))
    l_fst, disambiguation = make_l_fst(lexicon, system.phones, words)
    graph = build_hclg(l_fst, free_grammar(words), disambiguation, system.context, system.transitions)
    options = ModelOptions(search=DecodeOptions(lm_weights=(5.0, 10.0, 15.0), word_penalties=(0.0, 1.0)))
    model = export_model(folder, system, graph, words, lexicon, options)
    Tuning(Scales(10.0), {Scales(10.0): {"sub": 0, "del": 0, "ins": 0, "words": 1}}).save(model.tuning)
    return model


@pytest.fixture(scope="session")
def tone_speech(tmp_path_factory: pytest.TempPathFactory) -> ToneSpeech:
    """A recogniser of tones; do not write into its folder."""
    return ToneSpeech(make_tone_model(tmp_path_factory.mktemp("tones") / "model"))
