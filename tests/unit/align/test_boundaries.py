import numpy as np

from pyasr.align.boundaries import start_distances_s
from pyasr.lang.context import MonophoneContext
from pyasr.lang.phones import PhoneTable
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel

PHONES = PhoneTable(("SIL", "A", "B", "C"))
TOPOLOGY = Topology(states=1, silence_states=1)
MODEL = TransitionModel.build(PHONES, TOPOLOGY, MonophoneContext(PHONES, TOPOLOGY))


def spell(text):
    """Transition ids, one frame a letter: A, B, C and S (silence) begin a phone, '-' goes on with it."""
    tids = []
    for letter in text:
        if letter == "-":
            tids.append(tids[-1] + tids[-1] % 2)  # the loop that belongs to an entry, or the same loop again
        else:
            phone_id = PHONES.id("SIL" if letter == "S" else letter)
            tids.append(MODEL.entry_tid(phone_id, 0, phone_id - 1))
    return np.array(tids, np.int32)


def test_distances_of_starts_without_silence():
    truth = {"u": [("SIL", 0.0), ("A", 0.025), ("A", 0.04), ("B", 0.05)]}
    distances = start_distances_s({"u": spell("S-A-AB-"), "unknown": spell("AB")}, MODEL, PHONES, truth)
    np.testing.assert_allclose(distances, [0.005, 0.0, 0.0], atol=1e-9)


def test_another_pronunciation_pairs_only_equal_phones():
    truth = {"u": [("A", 0.0), ("C", 0.03), ("B", 0.06)]}
    distances = start_distances_s({"u": spell("A--B--B-")}, MODEL, PHONES, truth)
    assert len(distances) == 2 and distances[0] == 0.0
