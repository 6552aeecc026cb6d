"""A toy language of well separated sounds, and speech made from its HMMs with known boundaries."""

from dataclasses import dataclass

import numpy as np
import pytest

from pyasr.align.data import TrainingSet, Utterance
from pyasr.align.frontend import Frontend
from pyasr.align.gmm import DiagGmm
from pyasr.align.options import AlignOptions
from pyasr.align.system import GmmSystem
from pyasr.base.seeds import rng
from pyasr.features.archive import FeatureArchive
from pyasr.lang.context import MonophoneContext
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel

DIM = 4
PHONES = PhoneTable(("SIL", "a", "b", "c", "d", "e"))
TOPOLOGY = Topology(states=2, silence_states=2)
WORDS = ((2, 3), (4, 5), (6, 2, 5), (3, 6))


@dataclass(frozen=True)
class Toy:
    """data: utterances of several speakers. segments: cut_id -> [(phone_id, start, end)].
    system: monophones with the true Gaussians on the features as they are."""

    data: TrainingSet
    segments: dict[str, list[tuple[int, int, int]]]
    system: GmmSystem
    align: AlignOptions


def true_system() -> GmmSystem:
    context = MonophoneContext(PHONES, TOPOLOGY)
    # Sounds in general position, about 6 standard deviations apart.
    means = 6.0 * rng(3, "means").standard_normal((context.num_pdfs, DIM))
    transitions = TransitionModel.build(PHONES, TOPOLOGY, context)
    return GmmSystem(
        PHONES, TOPOLOGY, context, transitions, Frontend(0, np.eye(DIM)), DiagGmm.single(means, np.ones_like(means))
    )


def make_utterance(system, speaker, transform, random):
    """Words, frames and segments of one utterance: silence, four words, silence."""
    words = [WORDS[i] for i in random.integers(len(WORDS), size=4)]
    phones = [1, *(phone for word in words for phone in word), 1]
    frames, segments, time = [], [], 0
    for phone in phones:
        start = time
        for pdf in system.context.pdfs((phone,)):
            length = int(random.integers(2, 6))
            frames.append(system.gmm.means[pdf] + random.standard_normal((length, DIM)))
            time += length
        segments.append((phone, start, time))
    features = np.concatenate(frames) @ transform[:, :-1].T + transform[:, -1]
    return tuple((word,) for word in words), features.astype(np.float32), segments


@pytest.fixture
def make_toy(tmp_path):
    def make(num_utterances=40, num_speakers=4, spread=0.0):
        """spread: how far the speakers' affine transforms are from none."""
        system, random = true_system(), rng(5, "toy")
        utterances, rows, segments = [], [], {}
        for number in range(num_utterances):
            speaker = f"s{number * num_speakers // num_utterances}"
            bend = rng(7, speaker).standard_normal((DIM, DIM + 1))
            words, features, its_segments = make_utterance(
                system, speaker, np.eye(DIM, DIM + 1) + spread * bend, random
            )
            utterances.append(Utterance(f"u{number:03d}", speaker, words))
            rows.append((utterances[-1].cut_id, features))
            segments[utterances[-1].cut_id] = its_segments
        archive = FeatureArchive.write(tmp_path / "features", rows)
        cmvn = {f"s{i}": np.stack([np.zeros(DIM), np.ones(DIM)]) for i in range(num_speakers)}
        return Toy(TrainingSet(archive, tuple(utterances), cmvn), segments, system, AlignOptions(acoustic_scale=1.0))

    return make
