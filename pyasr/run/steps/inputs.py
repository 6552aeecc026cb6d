"""What several stages read or make in the same way."""

from __future__ import annotations

from pathlib import Path

import kaldifst
from lhotse import CutSet

from pyasr.base.artifact import read_json
from pyasr.lang.context import ContextMap
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.grammar import make_l_fst, tie_costs
from pyasr.lang.hclg import build_hclg
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.phones import PhoneTable
from pyasr.lang.transitions import TransitionModel
from pyasr.lang.words import WordTable
from pyasr.run.stage import Context


def references_of(cuts: CutSet) -> dict[str, tuple[str, str]]:
    """{cut_id: (speaker, text)} of cuts with one supervision each."""
    return {cut.id: (cut.supervisions[0].speaker, cut.supervisions[0].text) for cut in cuts}


def noise_folder(context: Context, part: str) -> Path | None:
    """Noise of a part, "train" or "test": the user's, or what the corpus brought along; None without any."""
    if context.noise_dir is not None:
        return context.noise_dir / part
    own = context.exp / "corpus" / "noise" / part
    return own if own.is_dir() else None


def decoding_graph(
    context: Context,
    phones: PhoneTable,
    contexts: ContextMap,
    transitions: TransitionModel,
    transition_scale: float,
    grammar: kaldifst.StdVectorFst | None = None,
) -> FstArrays:
    """HCLG of EXP/lang for a model. grammar: in the place of EXP/lang/G.fst."""
    lang = context.exp / "lang"
    lexicon, words = Lexicon.read(lang / "lexicon.txt"), WordTable.load(lang / "words.txt")
    ties = tie_costs(lexicon, read_json(lang / "word_counts.json"))
    l_fst, disambiguation_ids = make_l_fst(lexicon, phones, words, context.recipe.gmm.align.silence_p, ties)
    g_fst = grammar or kaldifst.StdVectorFst.read(str(lang / "G.fst"))
    return build_hclg(l_fst, g_fst, disambiguation_ids, contexts, transitions, transition_scale)
