"""Kaldi archives read back with kaldi-native-io."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pyasr.align.alignments import save_alignments
from pyasr.export.cli import app
from pyasr.features.archive import FeatureArchive
from pyasr.ops import pack_topk, unpack_topk
from pyasr.targets import PosteriorStore

kaldi = pytest.importorskip("kaldi_native_io", reason="needs the extra export: pip install '.[export]'")


def export(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_features(tmp_path):
    rng = np.random.default_rng(0)
    rows = {name: rng.normal(size=(length, 13)).astype(np.float32) for name, length in (("b", 7), ("a", 1))}
    FeatureArchive.write(tmp_path / "f", rows.items())
    done = export("features", tmp_path / "f", f"ark,scp:{tmp_path}/f.ark,{tmp_path}/f.scp")
    assert done.exit_code == 0 and done.stdout == "2 utterances\n"
    with kaldi.RandomAccessFloatMatrixReader(f"scp:{tmp_path}/f.scp") as reader:
        for name, matrix in rows.items():
            np.testing.assert_array_equal(reader[name], matrix)


def test_alignments(tone_speech, tmp_path):
    model = tone_speech.model
    alignments = {"u1": np.array([1, 2, 2, 5], np.int32), "u2": np.array([3], np.int32)}
    save_alignments(tmp_path / "a.npz", alignments)
    assert export("alignments", tmp_path / "a.npz", f"ark,t:{tmp_path}/a.txt").exit_code == 0
    lines = [line.split() for line in (tmp_path / "a.txt").read_text().splitlines()]
    assert lines == [["u1", "1", "2", "2", "5"], ["u2", "3"]]
    transitions = model.system.transitions
    for what, table in (("pdfs", transitions.tid_to_pdf), ("phones", transitions.tid_to_phone)):
        options = ("--system", model.folder / "system", "--as", what)
        assert export("alignments", tmp_path / "a.npz", f"ark:{tmp_path}/a.ark", *options).exit_code == 0
        with kaldi.SequentialInt32VectorReader(f"ark:{tmp_path}/a.ark") as reader:
            found = {key: list(value) for key, value in reader}
        assert found == {name: table[tids].tolist() for name, tids in alignments.items()}
    save_alignments(tmp_path / "a.npz", {"u1": np.array([1000], np.int32)})
    done = export("alignments", tmp_path / "a.npz", f"ark:{tmp_path}/b.ark", "--system", model.folder / "system")
    assert done.exit_code == 1 and "u1 was aligned by another system" in done.stderr


def test_posteriors(tmp_path):
    packed = {name: pack_topk(3 * torch.randn(length, 97), 5) for name, length in (("u1", 4), ("u2", 0), ("u3", 9))}
    with PosteriorStore.create(tmp_path / "s", 97, 5).writer() as writer:
        for name, rows in packed.items():
            writer.put(name, rows)
    assert export("posteriors", tmp_path / "s", f"ark:{tmp_path}/p.ark").exit_code == 0
    with kaldi.SequentialPosteriorReader(f"ark:{tmp_path}/p.ark") as reader:
        found = {key: [list(frame) for frame in value] for key, value in reader}
    assert found.keys() == packed.keys()
    for name, rows in packed.items():
        ids, logp = unpack_topk(rows, 5, 97)
        assert [[pair[0] for pair in frame] for frame in found[name]] == ids.tolist()
        probabilities = np.array([[pair[1] for pair in frame] for frame in found[name]]).reshape(-1, 5)
        np.testing.assert_allclose(probabilities, logp.exp().numpy(), rtol=1e-6)


def test_what_cannot_be_written(tmp_path):
    save_alignments(tmp_path / "a.npz", {"two words": np.array([1], np.int32)})
    for wspecifier, said in (
        ("a.ark", "is no wspecifier"),
        (f"ark:{tmp_path}/none/a.ark", "none/a.ark: no such folder"),
        (f"ark:{tmp_path}/a.ark", "'two words': a Kaldi archive has no keys with spaces"),
    ):
        done = export("alignments", tmp_path / "a.npz", wspecifier)
        assert done.exit_code == 1 and said in done.stderr
    assert export("posteriors", tmp_path, f"ark:{tmp_path}/a.ark").exit_code == 1
