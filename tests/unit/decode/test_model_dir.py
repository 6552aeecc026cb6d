"""The folder of a recogniser: written, read, damaged."""

import json
import shutil

import pytest

from pyasr.base.errors import ConfigError, DataError
from pyasr.decode.model_dir import export_model, load_model
from pyasr.lang.fst_arrays import FstArrays


@pytest.fixture
def folder(tone_speech, tmp_path):
    return shutil.copytree(tone_speech.model.folder, tmp_path / "tri")


def test_what_is_written_is_read(tone_speech, folder):
    model = load_model(folder)
    assert model.options == tone_speech.model.options
    assert model.scales.lm_weight == 10.0
    assert model.words == tone_speech.model.words
    assert list(model.lexicon) == list(tone_speech.model.lexicon)


def test_the_folder_stands_alone(folder, tmp_path):
    moved = folder.rename(tmp_path / "elsewhere")
    assert load_model(moved).graph.parent == moved


@pytest.mark.parametrize("name", ["HCLG.fst", "words.txt", "lexicon.txt", "system/model.npz", "system/system.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=name.rpartition("/")[2].replace(".", r"\.")):
        load_model(folder)


@pytest.mark.parametrize("name", ["words.txt", "system/model.npz", "system/system.json", "model.json"])
def test_a_damaged_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=f"{folder}"):
        load_model(folder)


def test_unknown_options_are_refused(folder):
    values = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**values, "mfc": {}}))
    with pytest.raises(ConfigError, match=r"model\.json.*'mfc'.*'mfcc'"):
        load_model(folder)
    (folder / "model.json").write_text("[]")
    with pytest.raises(DataError, match=r"model\.json: not the options"):
        load_model(folder)


def test_not_a_recogniser(folder):
    with pytest.raises(DataError, match=r"no model\.json.*EXP/decode/tri_sat"):
        load_model(folder / "nothing")
    with pytest.raises(DataError, match="it holds the models tri"):
        load_model(folder.parent)


def test_not_tuned_yet(folder):
    (folder / "tuning.json").unlink()
    with pytest.raises(DataError, match=r"tuning\.json: missing"):
        _ = load_model(folder).scales


def test_an_interrupted_export_is_not_a_recogniser(tone_speech, folder, monkeypatch):
    model = load_model(folder)

    def killed(*_):
        raise KeyboardInterrupt

    graph = FstArrays.read(model.graph)
    monkeypatch.setattr(FstArrays, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        export_model(folder, model.system, graph, model.words, model.lexicon, model.options)
    with pytest.raises(DataError, match=r"no model\.json"):
        load_model(folder)


@pytest.fixture
def network_folder(tone_network, tmp_path):
    return shutil.copytree(tone_network.model.folder, tmp_path / "student")


def test_a_network_is_read(tone_network, network_folder):
    moved = network_folder.rename(network_folder.parent / "elsewhere")
    model = load_model(moved)
    assert model.options == tone_network.model.options and model.options.kind == "network"
    assert model.scales.lm_weight == 1.0 and model.graph.parent == moved
    assert model.senones.fingerprint == tone_network.model.senones.fingerprint
    samples = tone_network.say("DOMI")
    expected = tone_network.model.network.log_posteriors(samples)
    assert (model.network.log_posteriors(samples) == expected).all()


@pytest.mark.parametrize("name", ["HCLG.fst", "words.txt", "network/weights.pt", "senones/senones.npz", "tuning.json"])
def test_a_missing_file_of_a_network_is_named(network_folder, name):
    (network_folder / name).unlink()
    with pytest.raises(DataError, match=name.rpartition("/")[2].replace(".", r"\.")):
        _ = load_model(network_folder).scales


def test_a_network_for_other_senones_is_refused(network_folder):
    file = network_folder / "network" / "network.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "senones": "others"}))
    with pytest.raises(DataError, match="network: trained for other senones"):
        load_model(network_folder)


def test_a_network_folder_of_an_older_revision(network_folder):
    (network_folder / "model.json").unlink()
    with pytest.raises(DataError, match=r"no model\.json.*older revision: run the stage"):
        load_model(network_folder)
