"""Damaged corpora: each kind of damage gives its error or its listed skip."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pyasr.base.errors import DataError
from pyasr.base.executor import make_executor
from pyasr.corpora import PARTS, prepare_corpus, read_cuts, validate_cuts, write_cuts
from pyasr.corpora.options import KaldiDirOptions, ValidationOptions

KNOWN = {"YES", "NO", "STOP"}


@pytest.fixture
def check(kaldi_tree, serial):
    """check(limit=0.5, damage=function of the prepared folder): prepare the tree and validate it."""

    def run(limit: float = 0.5, known=KNOWN, damage=None, executor=serial, **options):
        out = kaldi_tree.parent / "out"
        summary = prepare_corpus(KaldiDirOptions(), kaldi_tree, out, 1, serial)
        if damage:
            damage(out)
        cuts = {part: read_cuts(out / f"{part}.jsonl.gz") for part in PARTS}
        return validate_cuts(cuts, known, ValidationOptions(skip_limit=limit, **options), executor, summary.skipped)

    return run


@pytest.fixture
def wav(kaldi_tree) -> Path:
    return kaldi_tree / "audio" / "train1-1.wav"


def _skip_of(result, name="train1-1") -> str:
    assert [row["id"] for row in result.skips.rows] == [name]
    assert result.skips.rows[0]["part"] == "transcribed"
    assert name not in result.cuts["transcribed"].ids
    assert [len(result.cuts[part]) for part in PARTS] == [8, 0, 9, 9]
    return result.skips.rows[0]["reason"]


def _set_text(tree, part, name, text):
    path = tree / part / "text"
    lines = [f"{name} {text}" if line.split()[0] == name else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")


def test_a_sound_corpus_passes_unchanged(check):
    result = check(limit=0.0)
    assert [len(result.cuts[part]) for part in PARTS] == [9, 0, 9, 9]
    assert result.skips.count == 0 and result.notes == [] and not any(result.oov.values())


def test_the_number_of_workers_changes_nothing(check, wav):
    wav.write_bytes(wav.read_bytes()[:10000])
    with make_executor("processes:2") as pool:
        parallel = check(executor=pool)
    one = check()
    assert parallel.skips == one.skips
    assert all(list(parallel.cuts[part]) == list(one.cuts[part]) for part in PARTS)


def test_missing_audio(check, wav):
    wav.unlink()
    assert _skip_of(check()) == f"audio missing: {wav}"


def test_audio_gone_after_preparation(check, wav):
    assert _skip_of(check(damage=lambda _: wav.unlink())) == f"audio missing: {wav}"


def test_empty_audio_file(check, wav):
    wav.write_bytes(b"")
    assert _skip_of(check()) == f"audio file is empty: {wav}"


def test_header_without_samples(check, wav):
    soundfile.write(str(wav), np.zeros(0, np.int16), 16000)
    assert _skip_of(check()) == f"audio has no samples: {wav} holds a header only"


def test_not_audio_at_all(check, wav):
    wav.write_text("<html>404</html>")
    assert _skip_of(check()) == f"audio unreadable: {wav}: Format not recognised."


def test_truncated_wav(check, wav):
    wav.write_bytes(wav.read_bytes()[:20000])
    assert _skip_of(check()) == f"audio truncated: {wav}: 12044 bytes fewer than its header says"


def test_truncated_flac(check, wav, kaldi_tree):
    flac = wav.with_suffix(".flac")
    samples, rate = soundfile.read(str(wav))
    soundfile.write(str(flac), samples, rate)
    flac.write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
    scp = kaldi_tree / "train" / "wav.scp"
    scp.write_text(scp.read_text().replace("train1-1.wav", "train1-1.flac"))
    assert _skip_of(check()).startswith((f"audio truncated: {flac}", f"audio unreadable: {flac}"))


def test_wav_from_a_pipe_is_whole(check, wav):
    data = bytearray(wav.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    wav.write_bytes(bytes(data))
    assert check(limit=0.0).skips.count == 0


def test_samples_that_are_no_numbers(check, wav):
    samples = np.zeros(16000, np.float32)
    samples[::2], samples[100] = 0.1, np.nan
    soundfile.write(str(wav), samples, 16000, subtype="FLOAT")
    assert _skip_of(check()) == f"audio holds values that are not finite numbers: {wav}"


def test_silence(check, wav):
    soundfile.write(str(wav), np.zeros(16000), 16000)
    assert _skip_of(check()) == f"audio is silent: {wav}: all samples are equal"


def test_stereo(check, wav):
    soundfile.write(str(wav), np.full((16000, 2), 0.1), 16000)
    assert _skip_of(check()) == f"audio is not mono: {wav} has 2 channels; make one file a channel"


def test_segment_beyond_the_end(check, kaldi_tree, wav):
    names = [f"train{speaker}-{index}" for speaker in range(3) for index in range(3)]
    lines = [f"{name} {name} 0.0 {1.5 if name == 'train1-1' else 1.0}\n" for name in names]
    (kaldi_tree / "train" / "segments").write_text("".join(lines))
    assert _skip_of(check()) == f"segment beyond the end: it ends at 1.50 s, {wav} lasts 1.00 s"


def test_audio_replaced_after_preparation(check, wav, write_audio):
    assert "audio truncated" in _skip_of(check(damage=lambda _: write_audio(wav, 0.5)))
    write_audio(wav, 1.0)
    reason = _skip_of(check(damage=lambda _: write_audio(wav, 1.0, 8000)))
    assert reason == f"audio has another rate than its manifest: {wav}: 8000 Hz, not 16000 Hz"


def test_mixed_rates_are_said_once(check, wav, write_audio):
    write_audio(wav, 1.0, 8000)
    result = check(limit=0.0)
    assert result.notes == [
        "1 utterances at 8000 Hz, 26 utterances at 16000 Hz: resampled to 16000 Hz when read"
    ]
    assert result.cuts["transcribed"]["train1-1"].sampling_rate == 8000


def test_empty_transcript(check, kaldi_tree):
    _set_text(kaldi_tree, "train", "train1-1", "")
    assert _skip_of(check()) == "empty transcript"


def test_too_short_for_its_transcript(check, kaldi_tree):
    _set_text(kaldi_tree, "train", "train1-1", "YES NO " * 6)
    assert _skip_of(check()) == "too short for its transcript: 12 words in 1.00 s"


def test_too_short_and_too_long(check, wav, write_audio):
    write_audio(wav, 0.05)
    assert _skip_of(check()) == "too short: 0.05 s, less than 0.1 s"
    write_audio(wav, 3.0)
    assert _skip_of(check(max_duration_s=2.0)) == "too long: 3.00 s, more than 2 s"


def test_unknown_words_drop_training_utterances_and_are_counted_elsewhere(check, kaldi_tree):
    _set_text(kaldi_tree, "train", "train1-1", "STOP NOW")
    _set_text(kaldi_tree, "test", "test0-0", "NOW NOW")
    result = check(oov_limit=0.5)
    assert _skip_of(result) == "words outside the lexicon: NOW"
    assert result.oov == {"transcribed": {"NOW": 1}, "untranscribed": {}, "dev": {}, "test": {"NOW": 2}}
    assert result.notes == [
        "transcribed: 1 words outside the lexicon (their utterances dropped): NOW 1",
        "test: 2 words outside the lexicon (kept: each is an error): NOW 2",
    ]


def test_too_many_unknown_words(check, kaldi_tree):
    _set_text(kaldi_tree, "test", "test0-0", "NOW NOW LATER")
    with pytest.raises(DataError, match=r"test: 3 of 11 words are outside .* limit of 5 %: NOW 2, LATER 1; add them"):
        check()


def test_unknown_words_that_differ_in_case_only(check):
    with pytest.raises(DataError, match=r"9 of 9 words are outside the lexicon.*most differ .* in case only"):
        check(known={"yes", "no", "stop"})


def test_more_skipped_than_the_limit(check, kaldi_tree):
    for index in range(3):
        (kaldi_tree / "audio" / f"test1-{index}.wav").unlink()
    with pytest.raises(DataError, match=r"3 of 9 test utterances skipped, .* limit of 20 %: test1-0 \(audio"):
        check(limit=0.2)


def test_a_part_with_nothing_left(check, kaldi_tree):
    for path in (kaldi_tree / "audio").glob("dev*"):
        path.unlink()
    with pytest.raises(DataError, match=r"dev: no utterances"):
        check(limit=1.0)


def test_speaker_in_training_and_test(check, kaldi_tree):
    path = kaldi_tree / "test" / "utt2spk"
    path.write_text(path.read_text().replace("test0-0 test0", "test0-0 train2"))
    with pytest.raises(DataError, match=r"1 speakers are in transcribed and in test \(train2; for example test0-0\)"):
        check()


def test_speaker_in_dev_and_test_is_noted(check, kaldi_tree):
    path = kaldi_tree / "test" / "utt2spk"
    path.write_text(path.read_text().replace("test0-0 test0", "test0-0 dev2"))
    assert check().notes == ["1 speakers of dev are also in test: dev2"]


def test_an_id_twice(check):
    def damage(out):
        write_cuts(out / "dev.jsonl.gz", read_cuts(out / "test.jsonl.gz"))

    with pytest.raises(DataError, match=r"utterance id test0-0 is used twice: in dev and in test"):
        check(damage=damage)


def test_audio_from_a_command_is_not_run(check, tmp_path):
    def damage(out):
        cuts = list(read_cuts(out / "transcribed.jsonl.gz"))
        source = next(cut for cut in cuts if cut.id == "train1-1").recording.sources[0]
        source.type, source.source = "command", f"touch {tmp_path / 'ran'}"
        write_cuts(out / "transcribed.jsonl.gz", cuts)

    assert _skip_of(check(damage=damage)).startswith("audio comes from a command, which is not run or fetched")
    assert not (tmp_path / "ran").exists()
