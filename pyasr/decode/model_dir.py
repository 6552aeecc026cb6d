"""The folder of a recogniser, EXP/decode/SYSTEM: all that decoding needs, and nothing outside it.

    model.json     options: {"version", "kind": "gmm", "mfcc", "align", "fmllr" (null: not adapted), "search"}
                   or {"version", "kind": "network", "search"}
    system/        of a GMM: the acoustic model (`pyasr.align.system.GmmSystem`)
    network/       of a network: `pyasr.nn.network.Network`
    senones/       of a network: `pyasr.align.senones.Senones`
    HCLG.fst       the decoding graph, transition ids to word ids
    words.txt      the word table      lexicon.txt    pronunciations, for word times
    tuning.json    the scales chosen on dev, with the whole grid
    hyp/           CONDITION.jsonl: {"id", "words", "cost", "reached_final"}, and "failed" where there are none
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pyasr.align.options import AlignOptions, FmllrOptions
from pyasr.align.senones import Senones
from pyasr.align.system import GmmSystem
from pyasr.base.artifact import read_json, write_json
from pyasr.base.config import Options, validate
from pyasr.base.errors import DataError
from pyasr.decode.options import DecodeOptions, NetworkDecodeOptions
from pyasr.decode.part import Scales
from pyasr.decode.search import Searcher
from pyasr.decode.tune import load_scales
from pyasr.features.options import MfccOptions
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.lang.transitions import TransitionModel
from pyasr.lang.words import WordTable
from pyasr.nn.network import Network


class ModelOptions(Options):
    """What model.json of a Gaussian system holds."""

    version: Literal[1] = 1
    kind: Literal["gmm"] = "gmm"
    mfcc: MfccOptions = MfccOptions()
    align: AlignOptions = AlignOptions()
    fmllr: FmllrOptions | None = None
    search: DecodeOptions = DecodeOptions()


class NetworkModelOptions(Options):
    """What model.json of a network holds."""

    version: Literal[1] = 1
    kind: Literal["network"] = "network"
    search: NetworkDecodeOptions = NetworkDecodeOptions()


@dataclass(frozen=True)
class Model:
    """What recognisers of all kinds have. The graph is left on disk: a `Searcher` reads it."""

    folder: Path
    words: WordTable
    lexicon: Lexicon

    @property
    def graph(self) -> Path:
        return self.folder / "HCLG.fst"

    @property
    def tuning(self) -> Path:
        return self.folder / "tuning.json"

    @cached_property
    def scales(self) -> Scales:
        """The scales that were chosen on dev; DataError when none were yet."""
        return load_scales(self.tuning)

    def hypotheses(self, condition: str) -> Path:
        """The file of hypotheses of a test condition."""
        return self.folder / "hyp" / f"{condition}.jsonl"

    def _searcher(self, transitions: TransitionModel, search: DecodeOptions, word_penalty: float) -> Searcher:
        return Searcher.read(self.graph, transitions.tid_to_pdf, search.beam, search.max_active, word_penalty)


@dataclass(frozen=True)
class GmmModel(Model):
    """A Gaussian system."""

    options: ModelOptions
    system: GmmSystem

    @property
    def system_folder(self) -> Path:
        return self.folder / "system"

    def searcher(self, word_penalty: float) -> Searcher:
        """Reads the graph."""
        return self._searcher(self.system.transitions, self.options.search, word_penalty)


@dataclass(frozen=True)
class NetworkModel(Model):
    """A network with the senones that its outputs stand for."""

    options: NetworkModelOptions
    network: Network
    senones: Senones

    @property
    def network_folder(self) -> Path:
        return self.folder / "network"

    @property
    def senones_folder(self) -> Path:
        return self.folder / "senones"

    @property
    def phones(self) -> PhoneTable:
        return self.senones.phones

    @property
    def transitions(self) -> TransitionModel:
        return self.senones.transitions

    def searcher(self, word_penalty: float) -> Searcher:
        """Reads the graph."""
        return self._searcher(self.transitions, self.options.search, word_penalty)


def export_model(
    folder: str | Path, system: GmmSystem, graph: FstArrays, words: WordTable, lexicon: Lexicon, options: ModelOptions
) -> GmmModel:
    """Write the recogniser of a Gaussian system, its options last: a folder without model.json is not one."""
    model = GmmModel(Path(folder), words, lexicon, options, system)
    (model.folder / "model.json").unlink(missing_ok=True)
    system.save(model.system_folder)
    _write_common(model, graph, options)
    return model


def export_network_model(
    folder: str | Path,
    network: Network,
    senones: Senones,
    graph: FstArrays,
    words: WordTable,
    lexicon: Lexicon,
    options: NetworkModelOptions,
) -> NetworkModel:
    """The same for a network."""
    check_senones(network, senones, folder)
    model = NetworkModel(Path(folder), words, lexicon, options, network, senones)
    (model.folder / "model.json").unlink(missing_ok=True)
    network.save(model.network_folder)
    senones.save(model.senones_folder)
    _write_common(model, graph, options)
    return model


def _write_common(model: Model, graph: FstArrays, options: Options) -> None:
    graph.write(model.graph)
    model.words.save(model.folder / "words.txt")
    model.lexicon.write(model.folder / "lexicon.txt")
    write_json(model.folder / "model.json", options)


def check_senones(network: Network, senones: Senones, where: str | Path) -> None:
    """DataError when a network's outputs stand for other senones."""
    if network.senones != senones.fingerprint:
        raise DataError(f"{where}: trained for other senones; train it again, or use the senones it was trained for")


def load_model(folder: str | Path) -> GmmModel | NetworkModel:
    """Read a recogniser of either kind; DataError says what is missing or damaged."""
    folder = Path(folder)
    values = _read_options(folder)
    if values.get("kind", "gmm") == "network":
        options = validate(NetworkModelOptions, values, str(folder / "model.json"))
        network, senones = Network.load(folder / "network"), Senones.load(folder / "senones")
        check_senones(network, senones, folder / "network")
        model = NetworkModel(folder, *_read_words(folder), options, network, senones)
    else:
        options = validate(ModelOptions, values, str(folder / "model.json"))
        model = GmmModel(folder, *_read_words(folder), options, GmmSystem.load(folder / "system"))
    if not model.graph.is_file():
        raise DataError(f"{model.graph}: missing; run the stage that writes it")
    return model


def _read_options(folder: Path) -> dict[str, Any]:
    file = folder / "model.json"
    if not file.is_file():
        systems = sorted(found.parent.name for found in folder.glob("*/model.json")) if folder.is_dir() else []
        hint = f"; it holds the models {', '.join(systems)}" if systems else ", for example EXP/decode/tri_sat"
        if (folder / "network").is_dir():
            hint = "; it was written by an older revision: run the stage that writes it again"
        raise DataError(f"{folder}: not the folder of a recogniser (no model.json){hint}")
    values = read_json(file)
    if not isinstance(values, dict):
        raise DataError(f"{file}: not the options of a recogniser; run the stage that writes it")
    return values


def _read_words(folder: Path) -> tuple[WordTable, Lexicon]:
    return WordTable.load(folder / "words.txt"), Lexicon.read(folder / "lexicon.txt")
