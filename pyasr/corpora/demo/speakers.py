"""The demo's speakers: a voice, a variant of it, a pitch and a rate.

Variants that sound nearly alike (by mean MFCC, measured) form a family, and a family belongs to one side only, so
that nobody in dev, test or the babble noise sounds like a training speaker. Variants that cannot be understood
(whispers, monsters; more than 85 % word errors with triphones of other speakers) are left out, and the worst of
the rest (above 35 %) are training speakers only.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyasr.base.seeds import rng

VOICES = ("en-US", "en-GB-x-rp")
_BRITISH_SHARE = 0.25

_FAMILIES = {
    "train": (
        "Alex", "Andrea", "Andy", "Annie", "Denis victor", "Diogo Henrique Hugo", "Gene Gene2",
        "Mario", "Mike", "Nguyen", "Reed", "RicishayMax", "adam caleb klatt6", "anika", "announcer",
        "antonio", "aunty f4 linda", "boris", "david", "ed", "edward", "f3", "grandma", "grandpa max",
        "iven iven3 iven4", "john", "klatt klatt2", "m2 m6", "m4 m5", "marcelo", "norbert", "pablo", "robosoft4",
        "sandro", "shelby", "travis", "belinda",
    ),
    "dev": ("m3", "f1", "robosoft8", "klatt3 klatt4 klatt5", "Tweaky", "iven2", "robosoft7", "edward2"),
    "test": (
        "m1 pedro paul", "f2 f5", "steph steph2 steph3", "quincy", "benjamin", "michel miguel", "Storm", "m7",
        "rob robert", "Michael gustave",
    ),
    "babble": ("m8", "robosoft2", "RicishayMax2", "Jacky"),
}  # fmt: skip
_SIDE_OF_PART = {"transcribed": "train", "untranscribed": "train", "dev": "dev", "test": "test", "babble": "babble"}


@dataclass(frozen=True)
class Speaker:
    """One synthetic speaker. level_db: RMS of the speech in dB re full scale; floor_db: background below that."""

    name: str
    voice: str
    variant: str
    rate: int
    pitch: int
    range: int
    level_db: float
    floor_db: float


def make_speakers(part: str, count: int, skip: int, seed: int) -> list[Speaker]:
    """`count` speakers of a part. skip: how many speakers of the same side other parts have taken before.

    Families are dealt out in turn before any gives its second variant, and before any variant comes again (with
    another pitch, rate and level).
    """
    side = _SIDE_OF_PART[part]
    order = rng(seed, "demo-families", side).permutation(len(_FAMILIES[side]))
    speakers = []
    for index in range(skip, skip + count):
        round_number, place = divmod(index, len(order))
        family = _FAMILIES[side][order[place]].split()
        draw = rng(seed, "demo-speaker", side, index)
        speakers.append(
            Speaker(
                name=f"{part[:2]}{index - skip:03d}",
                voice=VOICES[1] if draw.random() < _BRITISH_SHARE else VOICES[0],
                variant=family[round_number % len(family)],
                rate=int(draw.integers(135, 195)),
                pitch=int(draw.integers(30, 75)),
                range=int(draw.integers(30, 70)),
                level_db=float(draw.uniform(-30, -20)),
                floor_db=float(draw.uniform(-35, -15)),
            )
        )
    return speakers
