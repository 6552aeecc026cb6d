"""A student that listens to its teacher learns from what the teacher would have stored, and from all of it."""

import pydantic
import pytest
import torch

from pyasr.features.audio import load_samples
from pyasr.features.augment import AugmentOptions
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.nn.options import NetworkOptions
from pyasr.targets.labeller import Labeller
from pyasr.train.data import BatchMaker
from pyasr.train.listen import TaughtBatches, TaughtCriterion
from pyasr.train.loop import Trainer, TrainingData
from pyasr.train.options import LossOptions, OptimiserOptions, PhaseOptions, StudentOptions, TrainOptions
from pyasr.train.plan import BatchPlan
from pyasr.train.source import Source
from pyasr.train.targets import HardTargets, StoredTargets, TeacherTargets

NUM_SENONES = 4


@pytest.fixture(params=["bidirectional", "forward"])
def teacher(request, tones, tmp_path):
    """The folder of a network."""
    torch.manual_seed(3)
    both = request.param == "bidirectional"
    options = NetworkOptions(layers=1, units=8, bidirectional=both, delay_frames=0 if both else 2)
    model = AcousticModel(tones.frontend.dim, NUM_SENONES, options)
    torch.nn.init.normal_(model.output.weight, std=10.0)  # it is sure of what it says
    Network(model, tones.frontend, "x").save(tmp_path / "teacher")
    return tmp_path / "teacher"


class AllRows:
    """Like a store of all phases, of float32 log-posteriors that are not packed."""

    def __init__(self, network, cuts):
        labeller, self.metadata = Labeller(network, 1, 3), {"phases": 3}
        self.rows = {cut.id: torch.log_softmax(labeller.logits([load_samples(cut)])[0], dim=1) for cut in cuts}

    def __contains__(self, cut_id):
        return cut_id in self.rows

    def packed(self, cut_id):
        return self.rows[cut_id]


class AllTargets(StoredTargets):
    def unpack(self, rows):
        return torch.arange(NUM_SENONES).expand(len(rows), -1), rows


@pytest.mark.parametrize("chunk_frames", [0, 8])
@pytest.mark.parametrize("speeds", [(1.0,), (0.9,), (1.2,)])
def test_it_hears_what_a_store_of_all_posteriors_would_hold(tones, teacher, speeds, chunk_frames):
    sources = {"untranscribed": Source(tones.cuts, TeacherTargets())}
    augment = AugmentOptions(speeds=speeds, time_masks=1)
    maker = BatchMaker(sources, tones.frontend, augment, None, 1, 1, chunk_frames)
    criterion = TaughtCriterion.of(LossOptions(temperature=2.0), teacher)
    stored = Source(tones.cuts, AllTargets(AllRows(criterion.teacher, tones.cuts)))
    peer = BatchMaker({"untranscribed": stored}, tones.frontend, augment, None, 1, 1, chunk_frames)
    for epoch in range(4):  # of several phases
        plan = BatchPlan("untranscribed", epoch, (0, 3, 5))
        ours, theirs = criterion.batches(maker)[plan], peer[plan]
        assert torch.equal(ours.frames, theirs.frames) and torch.equal(ours.lengths, theirs.lengths)
        logits = torch.randn(ours.num_frames, NUM_SENONES, requires_grad=True)
        ours_loss, counts = criterion.loss(None, logits, ours.to(torch.device("cpu")))
        assert counts == {}
        peer_loss, _ = TaughtCriterion(criterion.options).loss(None, logits, theirs)
        torch.testing.assert_close(ours_loss, peer_loss, rtol=1e-4, atol=1e-5)
        (ours_loss.sum()).backward()
        assert logits.grad.abs().max() > 0 and all(p.grad is None for p in criterion.teacher.model.parameters())


def test_the_temperature_of_the_teacher_is_that_of_labelling(tones, teacher):
    sources = {"untranscribed": Source(tones.cuts, TeacherTargets())}
    maker = BatchMaker(sources, tones.frontend, AugmentOptions(), None, 1, 0)
    sharp, soft = (TaughtCriterion.of(LossOptions(), teacher, temperature) for temperature in (1.0, 4.0))
    batch = TaughtBatches(maker, sharp.teacher)[BatchPlan("untranscribed", 0, (1,))]
    logits = torch.zeros(batch.num_frames, NUM_SENONES)
    logits[:, 0] = 1.0
    expected = torch.softmax(sharp._outputs(batch) / 4.0, dim=1)
    torch.testing.assert_close(soft.loss(None, logits, batch)[0], -(expected * torch.log_softmax(logits, 1)).sum(1))
    assert sharp.key() != soft.key() and sharp.key() == TaughtCriterion.of(LossOptions(), teacher).key()


def test_a_student_trains_on_both(tones, teacher, tmp_path):
    hard = HardTargets(tones.senones)
    sources = {"transcribed": Source(tones.cuts[:3], hard), "untranscribed": Source(tones.cuts[3:9], TeacherTargets())}
    data = TrainingData(sources, Source(tones.cuts[9:], hard), tones.frontend)
    options = TrainOptions(
        network=NetworkOptions(layers=1, units=12, delay_frames=1),
        optimiser=OptimiserOptions(lr=0.02, warmup_steps=2),
        phases=(PhaseOptions(untranscribed=1.0, max_sub_epochs=6),),
        batch_s=4.0,
        workers=0,
        threads=1,
    )
    logs = {}
    for name, workers in (("here", 0), ("readers", 2)):
        chosen = options.model_copy(update={"workers": workers})
        torch.manual_seed(1)
        model = AcousticModel(tones.frontend.dim, NUM_SENONES, options.network)
        criterion = TaughtCriterion.of(options.loss, teacher)
        folder = tmp_path / name
        logs[name] = Trainer(model, data, chosen, 1, folder, "test", device="cpu", criterion=criterion).run()
    log = logs["here"]
    assert log[-1]["loss_untranscribed"] < log[0]["loss_untranscribed"] and log[0]["sub_epoch"] == 0
    assert log[-1]["frames_untranscribed"] > log[-1]["frames_transcribed"] > 0
    assert [row["dev_loss"] for row in log] == [row["dev_loss"] for row in logs["readers"]]


def test_what_goes_by_stored_posteriors_is_refused():
    for chosen in ({"weight": "posterior"}, {"min_posterior": 0.5}):
        with pytest.raises(pydantic.ValidationError, match="they are not for targets = 'dense'"):
            StudentOptions(targets="dense", **chosen)
    assert "targets" not in StudentOptions().model_dump() and StudentOptions(targets="dense").model_dump()["targets"]
