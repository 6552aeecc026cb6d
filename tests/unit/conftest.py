"""Recognisers whose phones are tones, a Gaussian one and networks: small enough to make in seconds, real from audio
to words."""

import math
from dataclasses import dataclass
from pathlib import Path

import kaldifst
import numpy as np
import pytest
import torch

from pyasr.align.frontend import Frontend
from pyasr.align.gmm import DiagGmm
from pyasr.align.senones import Senones
from pyasr.align.system import GmmSystem
from pyasr.align.tree import Tree
from pyasr.decode.model_dir import (
    GmmModel,
    ModelOptions,
    NetworkModel,
    NetworkModelOptions,
    export_model,
    export_network_model,
)
from pyasr.decode.options import DecodeOptions, NetworkDecodeOptions
from pyasr.decode.part import Scales
from pyasr.decode.tune import Tuning
from pyasr.features.cmvn import cmvn_of
from pyasr.features.lfbe import compute_lfbe
from pyasr.features.mfcc import compute_mfcc
from pyasr.features.network import NetworkFrontend
from pyasr.features.options import LfbeOptions
from pyasr.lang.context import MonophoneContext
from pyasr.lang.grammar import make_l_fst
from pyasr.lang.hclg import build_hclg
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel
from pyasr.lang.words import WordTable
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.nn.options import NetworkOptions

TONES_HZ = {"SIL": 0.0, "DO": 400.0, "MI": 900.0, "SO": 2000.0, "TI": 3500.0}
LEXICON = {"DOMI": [("DO", "MI")], "SOTI": [("SO", "TI")], "MIDO": [("MI", "DO")], "TI": [("TI",)]}
PHONE_S = 0.15


@pytest.fixture(params=["kaldi", "k2"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each library that searches; one test body for both. k2 is skipped where it is not installed."""
    if request.param == "k2":
        reason = "k2 is not there, or for another torch; `python -m pyasr.run doctor` tells how to get it"
        pytest.importorskip("k2", reason=reason, exc_type=ImportError)
    return request.param


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

    model: GmmModel | NetworkModel
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


def make_tone_model(folder: Path) -> GmmModel:
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


def tone_senones() -> Senones:
    """A senone a phone, in one state."""
    phones = PhoneTable.from_pronunciations(p for prons in LEXICON.values() for p in prons)
    topology, ids = Topology(states=1, silence_states=1), range(phones.num_phones)
    tree = Tree(tuple((node,) for node in ids), tuple((-1, pdf, -1, -1) for pdf in ids), ())
    transitions = TransitionModel.build(phones, topology, tree, loop_p=0.8)
    return Senones(phones, topology, tree, transitions, np.ones(len(ids)))


def train_on_tones(options: NetworkOptions, senones: Senones) -> Network:
    """Learns which tone a frame is of, from utterances of ten tones."""
    lfbe = LfbeOptions(num_mel_bins=12)
    orders = [np.random.default_rng(seed).choice(list(TONES_HZ), 10) for seed in range(32)]
    spoken_tones = [tones(order, seed, gain=0.02 + 0.3 * (seed % 4)) for seed, order in enumerate(orders)]
    rows = np.concatenate([compute_lfbe(samples, lfbe) for samples in spoken_tones])
    frontend = NetworkFrontend(lfbe, rows.mean(axis=0), rows.std(axis=0))
    torch.manual_seed(0)
    model = AcousticModel(frontend.dim, senones.num_senones, options)
    frames = torch.stack([model.with_delay(torch.from_numpy(frontend.stacked(s))) for s in spoken_tones])
    ids = [[senones.phones.id(phone) - 1 for phone in order] for order in orders]
    targets = torch.tensor(ids).repeat_interleave(round(PHONE_S / 0.03), dim=1)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(frames).flatten(0, 1), targets.flatten())
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3, loss.item()
    return Network(model.eval(), frontend, senones.fingerprint)


def make_tone_network(folder: Path, options: NetworkOptions) -> NetworkModel:
    senones, words, lexicon = tone_senones(), WordTable.of(LEXICON), Lexicon(dict(LEXICON))
    l_fst, disambiguation = make_l_fst(lexicon, senones.phones, words)
    graph = build_hclg(l_fst, free_grammar(words), disambiguation, senones.tree, senones.transitions)
    network = train_on_tones(options, senones)
    search = NetworkModelOptions(search=NetworkDecodeOptions(lm_weights=(1.0, 2.0), word_penalties=(0.0,)))
    model = export_network_model(folder, network, senones, graph, words, lexicon, search)
    Tuning(Scales(1.0), {Scales(1.0): {"sub": 0, "del": 0, "ins": 0, "words": 1}}).save(model.tuning)
    return model


@pytest.fixture(scope="session")
def tone_network(tmp_path_factory: pytest.TempPathFactory) -> ToneSpeech:
    """The same with a forward-only network that hears two frames ahead; do not write into its folder."""
    options = NetworkOptions(layers=2, units=16, delay_frames=2)
    return ToneSpeech(make_tone_network(tmp_path_factory.mktemp("tones") / "network", options))


@pytest.fixture(scope="session")
def tone_teacher(tmp_path_factory: pytest.TempPathFactory) -> ToneSpeech:
    """The same with a bidirectional network."""
    options = NetworkOptions(preset="teacher-small", layers=1, units=12)
    return ToneSpeech(make_tone_network(tmp_path_factory.mktemp("tones") / "teacher", options))
