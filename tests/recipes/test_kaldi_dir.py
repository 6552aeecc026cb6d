"""A user's corpus: Kaldi data directories, a lexicon, a language model, and a TOML file. No code."""

import json
import os
from pathlib import Path

import pytest
import soundfile

from pyasr.base.executor import SerialExecutor
from pyasr.corpora import read_cuts
from pyasr.corpora.an4 import prepare as prepare_an4
from pyasr.corpora.options import An4Options
from pyasr.lang.ngram import estimate_arpa

SMALL_TRAINING = """
[gmm.align]
retry_beam = 1000.0
skip_limit = 0.5
[gmm.mono]
iterations = 6
realign = [2, 4]
num_gauss = 150
growth_iterations = 4
[gmm.tri]
iterations = 4
realign = [2]
num_gauss = 250
growth_iterations = 3
tree = { max_leaves = 80, min_occupancy = 20.0 }
[gmm.lda]
iterations = 4
realign = [2]
num_gauss = 250
growth_iterations = 3
mllt = [2]
tree = { max_leaves = 80, min_occupancy = 20.0 }
[gmm.sat]
iterations = 4
realign = [2]
num_gauss = 250
growth_iterations = 3
fmllr_iterations = [2]
tree = { max_leaves = 80, min_occupancy = 20.0 }
[train.teacher]
network = { layers = 1, units = 16 }
phases = [{ max_sub_epochs = 1 }]
[train.supervised]
network = { layers = 1, units = 16 }
phases = [{ max_sub_epochs = 1 }]
[decode_network]
beam = 8.0
lm_weights = [3.0]
word_penalties = [0.0]
"""
NETWORKS = {"teacher", "supervised", "topline"}  # without an untranscribed part there is no student


def write_data_dir(folder, cuts, joined=False):
    """wav.scp, text, utt2spk of the cuts; joined: all in one recording, told apart by `segments`."""
    folder.mkdir(parents=True)
    cuts = sorted(cuts, key=lambda cut: cut.id)
    texts = [f"{cut.id} {cut.supervisions[0].text}\n" for cut in cuts]
    speakers = [f"{cut.id} {cut.supervisions[0].speaker}\n" for cut in cuts]
    if joined:
        samples, segments, rate = [], [], cuts[0].sampling_rate
        for cut in cuts:
            start = len(samples)
            samples.extend(cut.load_audio()[0])
            segments.append(f"{cut.id} tape {start / rate:.4f} {len(samples) / rate:.4f}\n")
        soundfile.write(folder / "tape.wav", samples, rate, subtype="PCM_16")
        (folder / "segments").write_text("".join(segments))
        wavs = [f"tape {folder / 'tape.wav'}\n"]
    else:
        wavs = [f"{cut.id} {cut.recording.sources[0].source}\n" for cut in cuts]
    for name, lines in (("wav.scp", wavs), ("text", texts), ("utt2spk", speakers)):
        (folder / name).write_text("".join(lines))


def check_run(folder, corpus, recipe, cuts):
    """Write the recipe, run it, and look at what came out."""
    (folder / "mine.toml").write_text(f'corpus_dir = "{corpus.name}"\n[corpus]\nkind = "kaldi_dir"\n{SMALL_TRAINING}')
    output = recipe(folder, "--recipe", "mine.toml")
    assert "no noise: only the clean test condition" in output
    results = json.loads((folder / "exp" / "mine" / "results.json").read_text())
    assert results["recipe"] == "mine"
    assert set(results["wer"]) == {"mono", "tri", "tri_sat"} | NETWORKS and set(results["wer"]["tri"]) == {"clean"}
    words = sum(len(cut.supervisions[0].text.split()) for cut in cuts["test"])
    assert results["wer"]["tri"]["clean"]["words"] == words
    return results


def test_audio_of_the_demo_as_kaldi_directories(demo, recipe, tmp_path):
    exp, corpus = demo[0] / "exp", tmp_path / "corpus"
    cuts = {part: list(read_cuts(exp / "data" / f"{part}.jsonl.gz")) for part in ("transcribed", "dev", "test")}
    for name, part in (("train", "transcribed"), ("dev", "dev"), ("test", "test")):
        write_data_dir(corpus / name, cuts[part], joined=name == "dev")
    (corpus / "lexicon.txt").write_bytes((exp / "lang" / "lexicon.txt").read_bytes())
    (corpus / "lm.arpa").write_bytes((exp / "lang" / "lm.arpa").read_bytes())
    check_run(tmp_path, corpus, recipe, cuts)


def test_audio_of_an4_as_kaldi_directories(recipe, tmp_path):
    if "PYASR_AN4_DIR" not in os.environ:
        pytest.skip("PYASR_AN4_DIR is not set")
    an4, corpus = Path(os.environ["PYASR_AN4_DIR"]), tmp_path / "corpus"
    prepare_an4(An4Options(), an4, tmp_path / "an4", 1, SerialExecutor())
    take = {"transcribed": 150, "dev": 20, "test": 30}
    cuts = {part: list(read_cuts(tmp_path / "an4" / f"{part}.jsonl.gz"))[:count] for part, count in take.items()}
    for name, part in (("train", "transcribed"), ("dev", "dev"), ("test", "test")):
        write_data_dir(corpus / name, cuts[part], joined=name == "dev")
    (corpus / "lexicon.txt").write_bytes((tmp_path / "an4" / "lexicon.txt").read_bytes())
    estimate_arpa((cut.supervisions[0].text.split() for cut in cuts["transcribed"]), 1, corpus / "lm.arpa")
    results = check_run(tmp_path, corpus, recipe, cuts)
    assert min(row["clean"]["wer"] for row in results["wer"].values()) < 60
