"""Lexicon, phone table, word table, transition model and the preparation of a lang folder."""

import numpy as np
import pytest

from pyasr.base.artifact import read_json
from pyasr.base.errors import DataError
from pyasr.lang.context import MonophoneContext
from pyasr.lang.fst_arrays import FstArrays
from pyasr.lang.grammar import make_g_fst
from pyasr.lang.lexicon import Lexicon
from pyasr.lang.options import LangOptions
from pyasr.lang.phones import PhoneTable, mark_positions
from pyasr.lang.prepare import prepare_lang
from pyasr.lang.topology import Topology
from pyasr.lang.transitions import TransitionModel
from pyasr.lang.words import WordTable


def test_lexicon_reads_alternatives_and_counts_repeats(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text(";;; a comment\nA EY\nA(2) AH\nA AH\n\nB B IY\nPARENT(S) P\n")
    lexicon = Lexicon.read(path)
    assert lexicon.entries == {"A": [("EY",), ("AH",)], "B": [("B", "IY")], "PARENT(S)": [("P",)]}
    assert lexicon.num_repeated == 1
    lexicon.write(tmp_path / "again.txt")
    assert Lexicon.read(tmp_path / "again.txt").entries == lexicon.entries


@pytest.mark.parametrize(
    "content, message",
    [
        (b"A EY\nB\n", r"lexicon\.txt:2: word 'B' has no pronunciation"),
        (b"A EY\n#0 B\n", r"lexicon\.txt:2: '#0' is reserved and cannot be a word"),
        (b"<s> SIL\n", r"lexicon\.txt:1: '<s>' is reserved"),
        (b"A EY #1\n", r"lexicon\.txt:1: '#1' is reserved and cannot be a phone of 'A'"),
        (b"A <eps>\n", r"lexicon\.txt:1: '<eps>' is reserved and cannot be a phone"),
        (b"A EY\n\xff B\n", r"lexicon\.txt:2: not UTF-8"),
        (b"\n;;; nothing\n", r"lexicon\.txt: no words"),
    ],
)
def test_lexicon_damage_names_file_line_and_reason(tmp_path, content, message):
    (tmp_path / "lexicon.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        Lexicon.read(tmp_path / "lexicon.txt")


def test_missing_lexicon(tmp_path):
    with pytest.raises(DataError, match=r"lexicon\.txt: no such lexicon"):
        Lexicon.read(tmp_path / "lexicon.txt")


@pytest.mark.parametrize(
    "plain, marked",
    [
        (("AY",), ("AY_S",)),
        (("K", "T"), ("K_B", "T_E")),
        (("K", "AE", "T"), ("K_B", "AE_I", "T_E")),
        (("A", "SIL", "B"), ("A_B", "SIL", "B_E")),
        (("SIL",), ("SIL",)),
    ],
)
def test_places_in_the_word(plain, marked):
    assert mark_positions(plain) == marked


def test_phones_that_differ_in_their_place_alone_are_a_group(tmp_path):
    lexicon = Lexicon({"A": [("EY",)], "BEE": [("B", "IY")], "EVE": [("IY", "V")]}).with_word_positions()
    phones = PhoneTable.from_pronunciations((pron for _, pron in lexicon), word_positions=True)
    assert phones.names == ("SIL", "B_B", "EY_S", "IY_B", "IY_E", "V_E")
    assert phones.groups == ((1,), (2,), (3,), (4, 5), (6,))
    assert [phones.base(i) for i in (1, 4, 5)] == ["SIL", "IY", "IY"]
    assert [phones.position(i) for i in (1, 4, 5)] == ["", "_B", "_E"]
    context = MonophoneContext(phones, Topology(states=2, silence_states=3))
    assert context.num_pdfs == 3 + 4 * 2
    assert context.pdfs((4,)) == context.pdfs((5,)) == (7, 8)
    assert context.pdfs((6,)) == (9, 10)
    phones.save(tmp_path / "phones.json")
    assert PhoneTable.load(tmp_path / "phones.json") == phones
    (tmp_path / "phones.json").write_text('{"names": ["SIL", "IY"], "word_positions": true}')
    with pytest.raises(DataError, match=r"phones\.json: not a phone table \(names must end in one of _B, _I"):
        PhoneTable.load(tmp_path / "phones.json")


def test_tables_round_trip_and_refuse_damage(tmp_path):
    phones = PhoneTable.from_pronunciations([("B", "IY"), ("AH",)])
    assert phones.names == ("SIL", "AH", "B", "IY") and phones.id("B") == 3 and phones.disambiguation_id(0) == 5
    phones.save(tmp_path / "phones.json")
    assert PhoneTable.load(tmp_path / "phones.json") == phones
    with pytest.raises(DataError, match="'XX' is not in the phone table"):
        phones.id("XX")
    (tmp_path / "phones.json").write_text('["A", "A"]')
    with pytest.raises(DataError, match="not a phone table"):
        PhoneTable.load(tmp_path / "phones.json")

    words = WordTable.of(["YES", "NO"])
    words.save(tmp_path / "words.txt")
    assert (tmp_path / "words.txt").read_text() == "<eps> 0\nNO 1\nYES 2\n#0 3\n<s> 4\n</s> 5\n"
    assert WordTable.load(tmp_path / "words.txt") == words
    assert "YES" in words and "</s>" not in words and "<eps>" not in words
    (tmp_path / "words.txt").write_text("<eps> 0\nNO 2\n#0 3\n<s> 4\n</s> 5\n")
    with pytest.raises(DataError, match="not a word table"):
        WordTable.load(tmp_path / "words.txt")


def test_transition_ids_and_their_reestimation():
    phones = PhoneTable(("SIL", "A"))
    topology = Topology(states=2, silence_states=1)
    model = TransitionModel.build(phones, topology, MonophoneContext(phones, topology))
    np.testing.assert_array_equal(model.states, [[1, 0, 0], [2, 0, 1], [2, 1, 2]])
    np.testing.assert_array_equal(model.tid_to_pdf, [-1, 0, 0, 1, 1, 2, 2])
    assert model.entry_tids((2,), MonophoneContext(phones, topology)) == [3, 5]
    counts = np.array([0, 1, 3, 0, 0, 5, 0], float)
    np.testing.assert_allclose(model.update(counts).loop_p, [0.75, 0.75, 0.01])
    np.testing.assert_allclose(
        model.update(counts).tid_cost(2.0)[1:3], [-2 * np.log(0.25), -2 * np.log(0.75)], rtol=1e-6
    )
    with pytest.raises(DataError, match="tree and transitions do not match"):
        model.entry_tid(2, 0, 2)
    with pytest.raises(DataError, match="not between 0 and 1"):
        TransitionModel(model.states, np.array([0.5, 1.0, 0.5]))


def test_graph_files_round_trip_and_refuse_every_truncation(tmp_path):
    fst = FstArrays.from_arcs(
        0,
        np.array([np.inf, 0.5], np.float32),
        {
            name: np.array(column)
            for name, column in {
                "source": [1, 0, 0],
                "ilabel": [3, 1, 2],
                "olabel": [0, 7, 0],
                "weight": [0.5, 1, 2],
                "nextstate": [1, 1, 0],
            }.items()
        },
    )
    fst.write(tmp_path / "x.fst")
    for back in (FstArrays.read(tmp_path / "x.fst"), FstArrays.from_fst(fst.to_fst())):
        for name in ("final", "source", "ilabel", "olabel", "weight", "nextstate"):
            np.testing.assert_array_equal(getattr(back, name), getattr(fst, name))
    content = (tmp_path / "x.fst").read_bytes()
    for length in range(len(content)):
        (tmp_path / "x.fst").write_bytes(content[:length])
        with pytest.raises(DataError, match=r"x\.fst: not a whole const FST"):
            FstArrays.read(tmp_path / "x.fst")


def test_lang_folder_from_text_and_from_arpa(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "lexicon.txt").write_text("YES Y EH S\nNO N OW\n<sil> SIL\n")
    (corpus / "lm_text.txt").write_text("YES NO\nNO UNSPOKEN\n")
    report = prepare_lang(corpus, tmp_path / "lang", LangOptions())
    assert report["words"] == 2 and report["phones"] == 6 and report["dropped_lm_words"] == ["UNSPOKEN"]
    assert read_json(tmp_path / "lang" / "report.json") == report
    assert (tmp_path / "lang" / "G.fst").stat().st_size > 0
    (corpus / "lm.arpa").write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-99 <s>\n-0.3 YES\n-0.3 </s>\n\n\\end\\\n")
    assert prepare_lang(corpus, tmp_path / "lang2", LangOptions())["ngrams"] == [3]
    with pytest.raises(DataError, match=r"words\.txt|kaldilm made no grammar"):
        make_g_fst(corpus / "lm.arpa", tmp_path / "no-words.txt")
    (corpus / "lm.arpa").unlink()
    (corpus / "lm_text.txt").unlink()
    with pytest.raises(DataError, match="neither lm"):
        prepare_lang(corpus, tmp_path / "lang3", LangOptions())
