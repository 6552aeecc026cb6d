"""Small real corpora: noise bursts for audio, three speakers a part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pyasr.base.executor import make_executor

WORDS = ("YES", "NO", "STOP")
LEXICON = "YES Y EH S\nNO N OW\nSTOP S T AA P\n"
ARPA = """\\data\\
ngram 1=5

\\1-grams:
-0.6 </s>
-99 <s>
-0.6 YES
-0.6 NO
-0.6 STOP

\\end\\
"""


@pytest.fixture
def serial():
    return make_executor("serial")


def samples(seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


@pytest.fixture
def write_audio():
    """write_audio(path, seconds=1.0, rate=16000): a mono noise file in the format of the path's suffix."""

    def write(path: Path, seconds: float = 1.0, rate: int = 16000) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(str(path), samples(seconds, rate, sum(path.name.encode())), rate, subtype="PCM_16")
        return path

    return write


@pytest.fixture
def kaldi_tree(tmp_path, write_audio) -> Path:
    """A corpus of Kaldi data directories: train, dev and test, three speakers a part, three words each."""
    root = tmp_path / "tree"
    for part in ("train", "dev", "test"):
        names = [f"{part}{speaker}-{index}" for speaker in range(3) for index in range(3)]
        lines = {"wav.scp": [], "text": [], "utt2spk": []}
        for index, name in enumerate(names):
            write_audio(root / "audio" / f"{name}.wav")
            lines["wav.scp"].append(f"{name} audio/{name}.wav")
            lines["text"].append(f"{name} {WORDS[index % 3]}")
            lines["utt2spk"].append(f"{name} {name.split('-')[0]}")
        (root / part).mkdir()
        for file, content in lines.items():
            (root / part / file).write_text("\n".join(content) + "\n")
    (root / "lexicon.txt").write_text(LEXICON)
    (root / "lm.arpa").write_text(ARPA)
    return root
