import numpy as np
import pytest
import soundfile
import torch

from pyasr.base.errors import DataError
from pyasr.features.augment import AugmentOptions
from pyasr.features.noise import NoisePool
from pyasr.ops import pack_topk, unpack_topk
from pyasr.targets import PosteriorStore
from pyasr.train.data import BatchMaker
from pyasr.train.plan import BatchPlan
from pyasr.train.source import Source
from pyasr.train.targets import HardTargets, StoredTargets, num_stacks

PLAIN = AugmentOptions(stack_phase=False)
NUM_SENONES, K = 30, 5


def make(tones, targets, augment=PLAIN, noise=None, **options):
    source = Source.of(tones.cuts, targets)
    values = {"seed": 1, "delay": 0, **options}
    return BatchMaker({"transcribed": source, "untranscribed": source}, tones.frontend, augment, noise, **values)


def batch(maker, cuts=(0, 1, 2), epoch=0, source="transcribed"):
    return maker[BatchPlan(source, epoch, cuts)]


def test_frames_and_targets_belong_together(tones):
    made = batch(make(tones, HardTargets(tones.senones)))
    expected = [tones.senones[cut.id][1::3] for cut in tones.cuts[:3]]
    assert made.lengths.tolist() == [len(row) for row in expected]
    np.testing.assert_array_equal(made.senones.numpy(), np.concatenate(expected))
    assert made.frames.shape == (3, int(made.lengths.max()), tones.frontend.dim) and made.cut_ids[0] == "tone-0"
    assert made.num_frames == len(made.senones) == len(made.rows(made.frames))
    torch.testing.assert_close(made.rows(made.frames)[: made.lengths[0]], made.frames[0, : made.lengths[0]])
    # Each tone has its loudest band where it should: the targets are not shifted.
    bands = made.rows(made.frames)[:, 16:32].argmax(dim=1)
    for senone in range(1, 4):
        values = bands[made.senones == senone]
        assert (values == values.mode().values).float().mean() > 0.6


def test_delay_repeats_the_last_frame(tones):
    plain, delayed = (batch(make(tones, HardTargets(tones.senones), delay=delay)) for delay in (0, 3))
    assert torch.equal(plain.lengths, delayed.lengths) and torch.equal(plain.senones, delayed.senones)
    for row, length in enumerate(plain.lengths.tolist()):
        assert torch.equal(delayed.frames[row, :length], plain.frames[row, :length])
        assert torch.equal(delayed.frames[row, length : length + 3], plain.frames[row, length - 1].expand(3, -1))


@pytest.mark.parametrize("delay", [0, 2])
def test_chunks_are_the_utterance_cut_up(tones, delay):
    whole = batch(make(tones, HardTargets(tones.senones), delay=delay))
    chunks = batch(make(tones, HardTargets(tones.senones), delay=delay, chunk_frames=8))
    assert torch.equal(chunks.senones, whole.senones) and chunks.num_frames == whole.num_frames
    assert chunks.frames.shape[1] == 8 + delay and (chunks.lengths <= 8).all()
    first = whole.frames[0]
    assert torch.equal(chunks.frames[0], first[: 8 + delay]) and torch.equal(chunks.frames[1], first[8 : 16 + delay])


def test_what_is_drawn_depends_on_seed_epoch_and_cut_alone(tones, tmp_path):
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(scale=0.1, size=16000), 16000)
    options = AugmentOptions(speeds=(0.9, 1.0, 1.1), noise_p=0.5, time_masks=1, frequency_masks=1)
    maker = make(tones, HardTargets(tones.senones), options, NoisePool.open(tmp_path))
    together, alone = batch(maker, (3, 4), 7), batch(maker, (4,), 7)
    length = int(alone.lengths[0])
    assert torch.equal(together.frames[1, :length], alone.frames[0])
    assert torch.equal(together.senones[-length:], alone.senones)
    assert any(not torch.equal(batch(maker, (4,), epoch).frames, alone.frames) for epoch in range(8, 11))


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_targets_follow_the_speed(tones, speed):
    made = batch(make(tones, HardTargets(tones.senones), AugmentOptions(stack_phase=False, speeds=(speed,))), (0,))
    senones = tones.senones["tone-0"]
    assert abs(len(made.senones) - len(senones) / speed / 3) <= 1
    centres = np.minimum(((np.arange(len(made.senones)) * 3 + 1.5) * speed).astype(int), len(senones) - 1)
    assert (made.senones.numpy() == senones[centres]).mean() > 0.9


@pytest.fixture
def stores(tones, tmp_path):
    """Stores of 3 and of 1 phases; row r of a cut has the id r % NUM_SENONES first."""
    made = {}
    for phases in (3, 1):
        store = PosteriorStore.create(tmp_path / str(phases), NUM_SENONES, K, phases=phases)
        with store.writer() as writer:
            for cut in tones.cuts:
                rows = num_stacks(len(tones.senones[cut.id]), 3, phases)
                logits = torch.zeros(rows, NUM_SENONES)
                logits[torch.arange(rows), torch.arange(rows) % NUM_SENONES] = 9.0
                writer.put(cut.id, pack_topk(logits, K))
        made[phases] = store
    return made


def test_stored_targets_of_every_phase(tones, stores):
    targets, frames = StoredTargets(stores[3]), len(tones.senones["tone-0"])
    for phase in range(3):
        ids, logp = targets.stacked("tone-0", frames, 3, phase)
        assert len(ids) == (frames - phase) // 3 and ids.dtype == torch.int64 and logp.shape == ids.shape
        assert (ids[:, 0] == (torch.arange(len(ids)) * 3 + phase) % NUM_SENONES).all()
    whole = unpack_topk(stores[3].packed("tone-0"), K, NUM_SENONES)
    assert torch.equal(targets.stacked("tone-0", frames, 3, 1)[1], whole[1][1::3])


def test_stored_targets_of_one_phase(tones, stores):
    frames = len(tones.senones["tone-0"])
    for phase in range(3):
        ids, _ = StoredTargets(stores[1], tied=True).stacked("tone-0", frames, 3, phase)
        assert (ids[:, 0] == torch.arange((frames - phase) // 3) % NUM_SENONES).all()


def test_batches_of_stored_targets(tones, stores):
    drawn = AugmentOptions()
    for store, tied in ((stores[3], False), (stores[1], True), (stores[1], False)):
        maker = make(tones, StoredTargets(store, tied), drawn)
        phases = set()
        for epoch in range(16):
            made = batch(maker, epoch=epoch, source="untranscribed")
            assert made.senones is None and len(made.ids) == len(made.logp) == made.num_frames
            phases.add(int(made.ids[0, 0]))
        assert phases == ({0, 1, 2} if store is stores[3] else {0})
        # Without stored targets of its own or tied ones a phase is not used.
        lengths = {tuple(batch(maker, tuple(range(12)), epoch).lengths.tolist()) for epoch in range(16)}
        assert (len(lengths) == 1) == (store is stores[1] and not tied)


@pytest.mark.parametrize("speed", [0.8, 1.25])
@pytest.mark.parametrize("phases", [3, 1])
def test_stored_targets_follow_the_speed(tones, stores, speed, phases):
    targets, length = StoredTargets(stores[phases], tied=True), len(tones.senones["tone-0"])
    made = batch(make(tones, targets, AugmentOptions(speeds=(speed,))), (0,), source="untranscribed")
    assert abs(made.num_frames - length / speed / 3) <= 1
    for phase in range(3):
        ids, _ = targets.stacked("tone-0", round(length / speed), 3, phase, speed)
        middles = (phase + 3 * np.arange(len(ids)) + 1.5) * speed - 0.5  # where the middle was, in frames
        rows = np.round(middles) - 1 if phases == 3 else (np.round(middles) - 1) // 3
        expected = rows.clip(0, num_stacks(length, 3, phases) - 1) % NUM_SENONES
        assert (ids[:, 0].numpy() == expected).all()


def test_targets_of_another_length(tones, stores):
    short = {cut_id: senones[:-1] for cut_id, senones in tones.senones.items()}
    with pytest.raises(DataError, match=r"tone-0: \d+ frames of audio, \d+ in its alignment; align again"):
        batch(make(tones, HardTargets(short)))
    store = stores[3]
    with pytest.raises(DataError, match=r"tone-1: \d+ rows of stored posteriors, \d+ expected; label again"):
        StoredTargets(store).stacked("tone-1", 7, 3, 0)


def test_no_target_at_all(tones):
    with pytest.raises(DataError, match="none of 12 utterances has targets"):
        make(tones, HardTargets({}))
    assert len(Source.of(tones.cuts, HardTargets({"tone-3": tones.senones["tone-3"]})).cuts) == 1


@pytest.mark.parametrize("chunk_frames", [0, 8])
def test_frames_have_the_weight_of_their_cut(tones, tmp_path, chunk_frames):
    store = PosteriorStore.create(tmp_path, NUM_SENONES, K, phases=3)
    with store.writer() as writer:
        for number, cut in enumerate(tones.cuts[:3]):
            rows = num_stacks(len(tones.senones[cut.id]), 3, 3)
            writer.put(cut.id, pack_topk((1.0 + number) * torch.randn(rows, NUM_SENONES), K))
    made = batch(make(tones, StoredTargets(store, weighted=True), chunk_frames=chunk_frames), source="untranscribed")
    assert made.weights.shape == (made.num_frames,) and made.weights.dtype == torch.float32
    sureness = [store.summary(cut_id).max_posterior for cut_id in made.cut_ids]
    assert sorted(set(made.weights.tolist())) == pytest.approx(sorted(sureness)) and len(set(sureness)) == 3
    expected = [len(tones.senones[cut_id]) // 3 for cut_id in made.cut_ids]
    assert [int((made.weights == torch.tensor(sure)).sum()) for sure in sureness] == expected
    assert batch(make(tones, StoredTargets(store)), source="untranscribed").weights is None
    assert batch(make(tones, HardTargets(tones.senones))).weights is None


def test_cuts_that_the_teacher_is_not_sure_of_have_no_targets(tones, tmp_path):
    store = PosteriorStore.create(tmp_path, NUM_SENONES, K, phases=1)
    with store.writer() as writer:
        for cut, scale in zip(tones.cuts[:2], (0.0, 9.0)):
            rows = num_stacks(len(tones.senones[cut.id]), 3, 1)
            writer.put(cut.id, pack_topk(scale * torch.randn(rows, NUM_SENONES), K))
    assert [cut.id for cut in Source.of(tones.cuts, StoredTargets(store, min_posterior=0.5)).cuts] == ["tone-1"]
    assert len(Source.of(tones.cuts, StoredTargets(store)).cuts) == 2
