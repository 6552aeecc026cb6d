"""Decoding of whole parts: over executors, at many scales, with utterances that fail."""

import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest

from pyasr.base.artifact import read_json, read_jsonl
from pyasr.base.errors import DataError
from pyasr.base.executor import SerialExecutor, make_executor
from pyasr.decode.gmm_decode import decode_condition, tune_model
from pyasr.decode.model_dir import load_model
from pyasr.decode.options import DecodeOptions
from pyasr.decode.part import Failure, Scales, decode_cuts, hypothesis_row
from pyasr.decode.score import score_rows, total
from pyasr.decode.search import Searcher
from pyasr.decode.tune import Tuning, best_scales, load_scales, middle_scales, scales_grid
from pyasr.features.archive import FeatureArchive
from pyasr.features.mfcc import compute_mfcc
from pyasr.lang.fst_arrays import FstArrays

SENTENCES = ["DOMI SOTI", "TI", "MIDO SOTI DOMI", "SOTI DOMI TI", "DOMI"]


@pytest.fixture(scope="module")
def part(tone_speech, tmp_path_factory):
    """40 utterances of two speakers: (archive folder, {cut_id: (speaker, text)})."""
    folder = tmp_path_factory.mktemp("part") / "features"
    references = {f"u{i:02d}": ("ann" if i % 2 else "bob", SENTENCES[i % len(SENTENCES)]) for i in range(40)}
    rows = ((cut_id, compute_mfcc(tone_speech.say(text, int(cut_id[1:])))) for cut_id, (_, text) in references.items())
    FeatureArchive.write(folder, rows)
    return folder, references


def speakers(references):
    return {cut_id: speaker for cut_id, (speaker, _) in references.items()}


def copy_of(model, tmp_path):
    return load_model(shutil.copytree(model.folder, tmp_path / "model"))


@dataclass(frozen=True)
class FixedLikelihoods:
    """Random matrices by id; counts nothing, fails where told to."""

    tid_to_pdf: np.ndarray
    failing: tuple[str, ...] = ()

    def open(self):
        return self

    def loglikes(self, cut_id):
        if cut_id in self.failing:
            raise DataError(f"{cut_id}: no features")
        return np.random.default_rng(int(cut_id)).normal(size=(12, 2)).astype(np.float32)


@pytest.fixture
def loop_graph(tmp_path):
    graph = FstArrays.from_arcs(
        0,
        np.array([0.0]),
        {
            "source": np.zeros(3, int),
            "ilabel": np.array([1, 2, 3]),
            "olabel": np.array([1, 0, 2]),
            "weight": np.array([0.3, 0.1, 0.5]),
            "nextstate": np.zeros(3, int),
        },
    )
    graph.write(tmp_path / "HCLG.fst")
    return tmp_path / "HCLG.fst"


TID_TO_PDF = np.array([-1, 0, 0, 1, 1], np.int32)
GRID = [Scales(1.0, 0.0), Scales(0.5, 0.0), Scales(1.0, 2.0)]


def test_every_scale_is_decoded_as_alone(loop_graph):
    options = DecodeOptions()
    ids = [str(i) for i in range(20)]
    decoded = decode_cuts(FixedLikelihoods(TID_TO_PDF), ids, loop_graph, GRID, options, SerialExecutor())
    assert list(decoded) == GRID
    for scales, outcomes in decoded.items():
        assert list(outcomes) == ids
        alone = Searcher.read(loop_graph, TID_TO_PDF, options.beam, options.max_active, scales.word_penalty)
        for cut_id, outcome in outcomes.items():
            expected = alone.decode(FixedLikelihoods(TID_TO_PDF).loglikes(cut_id), 1 / scales.lm_weight)
            assert (outcome.word_ids, outcome.cost) == (expected.word_ids, expected.cost)
    words = {scales: sum(len(o.word_ids) for o in outcomes.values()) for scales, outcomes in decoded.items()}
    assert words[GRID[2]] < words[GRID[0]]


def test_failures_are_listed_and_bounded(loop_graph):
    source = FixedLikelihoods(TID_TO_PDF, failing=("3",))
    ids = [str(i) for i in range(20)]
    (outcomes,) = decode_cuts(source, ids, loop_graph, GRID[:1], DecodeOptions(), SerialExecutor()).values()
    assert outcomes["3"] == Failure("3: no features")
    assert hypothesis_row("3", outcomes["3"], None) == {
        "id": "3", "words": [], "cost": None, "reached_final": False, "failed": "3: no features",
    }  # fmt: skip
    with pytest.raises(DataError, match="1 of 19 utterances"):
        decode_cuts(source, ids[:19], loop_graph, GRID[:1], DecodeOptions(), SerialExecutor())


def test_no_utterances():
    assert decode_cuts(FixedLikelihoods(TID_TO_PDF), [], "none.fst", GRID[:1], DecodeOptions(), SerialExecutor()) == {
        GRID[0]: {}
    }


@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_results_do_not_depend_on_the_workers(tone_speech, part, tmp_path, kind, request):
    folder, references = part
    found = []
    for spec in ("serial", "processes:2" if kind == "processes" else request.getfixturevalue("dask_cluster").address()):
        model = copy_of(tone_speech.model, tmp_path / spec.partition(":")[0])
        with make_executor(spec) as executor:
            tune_model(model, folder, references, executor)
            decode_condition(model, folder, speakers(references), "clean", executor)
        found.append((model.tuning.read_bytes(), model.hypotheses("clean").read_bytes()))
    assert found[0] == found[1]


def test_tones_are_recognised_and_scored(tone_speech, part, tmp_path):
    folder, references = part
    model = copy_of(tone_speech.model, tmp_path)
    tuning = tune_model(model, folder, references, SerialExecutor())
    assert tuning.dev_wer == 0.0
    written = read_json(model.tuning)
    assert len(written["grid"]) == 6 and {row["words"] for row in written["grid"]} == {80}
    assert load_model(model.folder).scales == tuning.chosen
    rows = decode_condition(model, folder, speakers(references), "clean", SerialExecutor())
    assert rows == read_jsonl(model.hypotheses("clean"))
    assert list(rows[0]) == ["id", "words", "cost", "reached_final"] and all(row["reached_final"] for row in rows)
    assert total(score_rows(references, rows)) == {"sub": 0, "del": 0, "ins": 0, "words": 80}


def test_utterances_without_features_fail_by_name(tone_speech, part, tmp_path):
    folder, references = part
    wanted = {**speakers(references), "ghost": "ann"}
    model = copy_of(tone_speech.model, tmp_path)
    rows = decode_condition(model, folder, wanted, "clean", SerialExecutor())
    assert rows[-1]["id"] == "ghost" and "no features" in rows[-1]["failed"]


def test_grid_and_middle():
    options = DecodeOptions(lm_weights=(7.0, 9.0, 11.0, 13.0), word_penalties=(-1.0, 0.0, 1.0))
    assert len(scales_grid(options)) == 12
    assert middle_scales(options) == Scales(9.0, 0.0)


def test_the_middle_of_what_cannot_be_told_from_the_best_is_chosen():
    errors = {Scales(w, p): 100 for w in (7.0, 9.0, 11.0, 13.0) for p in (0.0, 1.0, -0.5)}
    assert best_scales(errors) == Scales(9.0, 0.0)
    assert best_scales({**errors, Scales(13.0, 1.0): 95}) == Scales(9.0, 0.0)  # chance: 100 is within 95 + 9.7
    assert best_scales({**errors, Scales(13.0, 1.0): 85}) == Scales(13.0, 1.0)
    assert best_scales({**errors, Scales(7.0, 0.0): 111}) == Scales(11.0, 0.0)
    assert best_scales({Scales(7.0, 0.5): 1, Scales(7.0, -0.5): 1}) == Scales(7.0, -0.5)
    assert best_scales({Scales(7.0): 0, Scales(9.0): 1}) == Scales(7.0)


def test_a_choice_at_the_edge_is_marked(tmp_path):
    counts = {"sub": 1, "del": 0, "ins": 0, "words": 10}
    grid = {Scales(w): counts for w in (7.0, 9.0, 11.0)}
    assert Tuning(Scales(7.0), grid).at_edge and not Tuning(Scales(9.0), grid).at_edge
    Tuning(Scales(9.0, 0.5), {Scales(9.0, 0.5): counts}).save(tmp_path / "tuning.json")
    assert load_scales(tmp_path / "tuning.json") == Scales(9.0, 0.5)
    assert json.loads((tmp_path / "tuning.json").read_text())["dev_wer"] == 10.0


@pytest.mark.parametrize("content", ["{}", '{"lm_weight": 0, "word_penalty": 0}', '{"lm_weight": "x"}', "[1]", "{"])
def test_damaged_tuning_files_are_refused(tmp_path, content):
    (tmp_path / "tuning.json").write_text(content)
    with pytest.raises(DataError, match=r"tuning\.json"):
        load_scales(tmp_path / "tuning.json")
