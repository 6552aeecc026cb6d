"""The folder of a recogniser, EXP/decode/SYSTEM: all that decoding needs, and nothing outside it.

    model.json     options: {"version", "mfcc", "align", "fmllr" (null: not adapted), "search"}
    system/        the acoustic model (`pyasr.align.system.GmmSystem`)
    HCLG.fst       the decoding graph, transition ids to word ids
    words.txt      the word table      lexicon.txt    pronunciations, for word times
    tuning.json    the scales chosen on dev, with the whole grid
    hyp/           CONDITION.jsonl: {"id", "words", "cost", "reached_final"}, and "failed" where there are none
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pyasr.align.options import AlignOptions, FmllrOptions
from pyasr.align.system import GmmSystem
from pyasr.base.artifact import read_json, write_json
from pyasr.base.config import Options, validate
from pyasr.base.errors import DataError
from pyasr.decode.options import DecodeOptions
from pyasr.decode.part import Scales
from pyasr.decode.tune import load_scales
from pyasr.features.options import MfccOptions
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.words import WordTable


class ModelOptions(Options):
    """What model.json holds."""

    version: Literal[1] = 1
    mfcc: MfccOptions = MfccOptions()
    align: AlignOptions = AlignOptions()
    fmllr: FmllrOptions | None = None
    search: DecodeOptions = DecodeOptions()


@dataclass(frozen=True)
class Model:
    """A recogniser. The graph is left on disk: a `Searcher` reads it."""

    folder: Path
    options: ModelOptions
    system: GmmSystem
    words: WordTable
    lexicon: Lexicon

    @property
    def system_folder(self) -> Path:
        return self.folder / "system"

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


def export_model(
    folder: str | Path, system: GmmSystem, graph: FstArrays, words: WordTable, lexicon: Lexicon, options: ModelOptions
) -> Model:
    """Write a recogniser, its options last: a folder without model.json is not one."""
    folder = Path(folder)
    (folder / "model.json").unlink(missing_ok=True)
    system.save(folder / "system")
    graph.write(folder / "HCLG.fst")
    words.save(folder / "words.txt")
    lexicon.write(folder / "lexicon.txt")
    write_json(folder / "model.json", options)
    return Model(folder, options, system, words, lexicon)


def load_model(folder: str | Path) -> Model:
    """Read a recogniser; DataError says what is missing or damaged."""
    folder = Path(folder)
    file = folder / "model.json"
    if not file.is_file():
        systems = sorted(found.parent.name for found in folder.glob("*/model.json")) if folder.is_dir() else []
        hint = f"; it holds the models {', '.join(systems)}" if systems else ", for example EXP/decode/tri_sat"
        raise DataError(f"{folder}: not the folder of a recogniser (no model.json){hint}")
    values = read_json(file)
    if not isinstance(values, dict):
        raise DataError(f"{file}: not the options of a recogniser; run the stage that writes it")
    model = Model(
        folder,
        validate(ModelOptions, values, str(file)),
        GmmSystem.load(folder / "system"),
        WordTable.load(folder / "words.txt"),
        Lexicon.read(folder / "lexicon.txt"),
    )
    if not model.graph.is_file():
        raise DataError(f"{model.graph}: missing; run the stage that writes it")
    return model
