"""The choice of the library that searches; that both find the same is tested with the searches themselves."""

import sys

import numpy as np
import pytest
import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment

from pyasr.base.artifact import digest, plain
from pyasr.base.config import validate
from pyasr.base.errors import ConfigError
from pyasr.base.executor import SerialExecutor
from pyasr.corpora import write_cuts
from pyasr.decode.k2_install import k2_command
from pyasr.decode.network_decode import network_source
from pyasr.decode.options import DecodeOptions, NetworkDecodeOptions
from pyasr.decode.part import Scales, decode_cuts
from pyasr.decode.search import Searcher
from pyasr.targets.lattices import make_lattices
from pyasr.targets.options import LatticeOptions

SENTENCES = ["DOMI SOTI", "TI", "MIDO SOTI DOMI", "SOTI DOMI TI"]


def cuts_of(speech, folder):
    for number, text in enumerate(SENTENCES):
        samples = speech.say(text, seed=100 + number)
        soundfile.write(folder / f"u{number}.flac", samples, 16000)
        recording = Recording.from_file(folder / f"u{number}.flac", recording_id=f"u{number}")
        supervision = SupervisionSegment(f"u{number}", f"u{number}", 0.0, recording.duration, text=text, speaker="s")
        yield MonoCut(f"u{number}", 0.0, recording.duration, 0, supervisions=[supervision], recording=recording)


def test_from_audio_to_words(tone_network, backend, tmp_path):
    model, manifest = tone_network.model, tmp_path / "cuts.jsonl.gz"
    write_cuts(manifest, list(cuts_of(tone_network, tmp_path)))
    options = model.options.search.model_copy(update={"backend": backend})
    grid, ids = [Scales(1.0), Scales(2.0, 0.5)], [f"u{number}" for number in range(len(SENTENCES))]
    source = network_source(model, manifest)
    decoded = decode_cuts(source, ids, model.graph, grid, options, SerialExecutor())
    opened = source.open()
    for scales, outcomes in decoded.items():
        kaldi = Searcher.read(model.graph, opened.tid_to_pdf, options.beam, options.max_active, scales.word_penalty)
        for (cut_id, outcome), text in zip(outcomes.items(), SENTENCES, strict=True):
            expected = kaldi.decode(opened.loglikes(cut_id), scales.acoustic_scale)
            assert " ".join(model.words.name(word) for word in outcome.word_ids) == text
            assert outcome.reached_final and outcome.cost == pytest.approx(expected.cost, rel=1e-4)
            np.testing.assert_array_equal(outcome.tids, expected.tids)


def test_what_was_made_before_there_was_a_choice_stays_up_to_date():
    for kind in (DecodeOptions, NetworkDecodeOptions, LatticeOptions):
        assert "backend" not in plain(kind()) and plain(kind(backend="k2"))["backend"] == "k2"
        assert digest(kind()) != digest(kind(backend="k2"))
        assert validate(kind, plain(kind(backend="k2")), "here") == kind(backend="k2")
    with pytest.raises(ConfigError, match=r"here: backend: .*'kaldi' or 'k2'"):
        validate(DecodeOptions, {"backend": "k3"}, "here")


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "k2", None)  # importing it now fails
    message = r"backend = 'k2': k2 is not installed; .* pip install k2==1\.[\w.]+\+\w+[\d.]*\.torch2\.\d+"
    with pytest.raises(ConfigError, match=message):
        decode_cuts(None, ["u"], "none.fst", [Scales(1.0)], DecodeOptions(backend="k2"), SerialExecutor())
    lattices = tmp_path / "lattices"
    with pytest.raises(ConfigError, match=message):
        options = LatticeOptions(backend="k2")
        make_lattices(lattices, None, ["u"], "none.fst", Scales(1.0), options, {}, SerialExecutor())
    assert not lattices.exists()


def test_a_library_for_another_torch_is_told_from_a_missing_one(monkeypatch, tmp_path):
    (tmp_path / "k2.py").write_text("raise ImportError('k2 was built using PyTorch 1.13.1')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "k2", raising=False)
    with pytest.raises(ConfigError, match=r"k2 does not load \(k2 was built using PyTorch 1.13.1\)"):
        decode_cuts(None, ["u"], "none.fst", [Scales(1.0)], DecodeOptions(backend="k2"), SerialExecutor())


@pytest.mark.parametrize(
    ("torch_version", "cuda", "command"),
    [
        ("2.13.0+cpu", None, "k2==1.24.4.dev20260710+cpu.torch2.13.0 -f https://k2-fsa.github.io/k2/cpu.html"),
        ("2.9.1+cu128", "12.8", "k2==1.24.4.dev20260625+cuda12.8.torch2.9.1 -f https://k2-fsa.github.io/k2/cuda.html"),
    ],
)
def test_the_command_is_for_the_torch_and_cuda_at_hand(torch_version, cuda, command):
    assert k2_command(torch_version, cuda) == f"pip install {command}"
