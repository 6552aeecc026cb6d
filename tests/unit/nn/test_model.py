import json

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pyasr.base.errors import ConfigError, DataError
from pyasr.features.network import NetworkFrontend
from pyasr.features.options import LfbeOptions
from pyasr.nn import LSTM
from pyasr.nn.model import AcousticModel
from pyasr.nn.network import Network
from pyasr.nn.options import NetworkOptions, TeacherNetworkOptions


def small(**values):
    return NetworkOptions(**{"layers": 2, "units": 5, "delay_frames": 0, **values})


@pytest.mark.parametrize("bidirectional", [False, True])
def test_lstm_is_torchs(bidirectional):
    torch.manual_seed(1)
    ours, torchs = LSTM(7, 5, 3, bidirectional), torch.nn.LSTM(7, 5, 3, batch_first=True, bidirectional=bidirectional)
    torchs.load_state_dict(ours.state_dict())
    frames = torch.randn(4, 9, 7)
    torch.testing.assert_close(ours(frames)[0], torchs(frames)[0])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padded_sequences_give_what_packed_ones_give(bidirectional):
    torch.manual_seed(2)
    lstm = LSTM(7, 5, 3, bidirectional)
    frames, lengths = torch.randn(5, 9, 7, requires_grad=True), torch.tensor([9, 3, 5, 1, 9])
    packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True)
    within = torch.arange(9)[None] < lengths[:, None]
    weights = torch.randn(int(within.sum()), expected.shape[2])
    found = lstm.padded(frames, lengths)
    torch.testing.assert_close(found[within], expected[within])
    gradients = [
        torch.autograd.grad((output[within] * weights).sum(), [frames, *lstm.parameters()])
        for output in (found, expected)
    ]
    for ours, torchs in zip(*gradients):
        torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-6)


def test_dropout_is_between_layers_and_in_training_alone():
    torch.manual_seed(3)
    lstm = LSTM(4, 6, 2, bidirectional=True, dropout=0.5)
    frames, lengths = torch.randn(2, 5, 4), torch.tensor([5, 2])
    assert not torch.equal(lstm.padded(frames, lengths), lstm.padded(frames, lengths))
    lstm.eval()
    torch.testing.assert_close(lstm.padded(frames, lengths)[0], lstm(frames[:1])[0][0])


def test_an_unknown_backend():
    with pytest.raises(ConfigError, match="LSTM backend 'cudnn': there are auto, native, torch"):
        LSTM(3, 4, 1, backend="cudnn")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_does_not_reach_an_utterance(bidirectional):
    torch.manual_seed(4)
    model = AcousticModel(6, 11, small(bidirectional=bidirectional)).eval()
    frames, lengths = torch.randn(3, 8, 6), torch.tensor([8, 5, 2])
    together = model(frames, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(frames[row : row + 1, :length])
        torch.testing.assert_close(together[row, :length], alone[0])
        torch.testing.assert_close(
            model.log_posteriors(frames[row, :length]), torch.log_softmax(alone[0], dim=1).detach()
        )


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_delayed_network_hears_so_many_frames_and_no_more(delay):
    torch.manual_seed(5)
    model = AcousticModel(6, 11, small(delay_frames=delay)).eval()
    frames = torch.randn(10, 6)
    logp = model.log_posteriors(frames)
    assert logp.shape == (10, 11)
    torch.testing.assert_close(logp.exp().sum(dim=1), torch.ones(10))
    changed = frames.clone()
    changed[7] += 1.0
    differs = (model.log_posteriors(changed) - logp).abs().amax(dim=1) > 0
    assert differs.tolist() == [t >= 7 - delay for t in range(10)]
    assert model.log_posteriors(frames[:0]).shape == (0, 11)


def test_the_articles_sizes():
    student = AcousticModel(192, 3183, NetworkOptions(preset="student"))
    assert 24.2e6 < student.num_parameters < 24.4e6
    with torch.device("meta"):
        teacher = AcousticModel(192, 3183, NetworkOptions(preset="teacher"))
        wider = AcousticModel(192, 3183, NetworkOptions(preset="teacher", units=832))
    assert 67e6 < teacher.num_parameters < 68e6 and 78e6 < wider.num_parameters < 79e6


def test_presets_can_be_changed_key_by_key():
    options = TeacherNetworkOptions(dropout=0.1)
    assert options.bidirectional and options.layers == 3 and options.dropout == 0.1
    assert NetworkOptions(preset="teacher", layers=2).layers == 2
    with pytest.raises(ValueError, match="preset 'huge': there are teacher, student"):
        NetworkOptions(preset="huge")
    with pytest.raises(ValueError, match="delay_frames: a bidirectional network"):
        TeacherNetworkOptions(delay_frames=1)


@pytest.fixture
def network():
    options = LfbeOptions(num_mel_bins=8)
    frontend = NetworkFrontend(options, np.linspace(5, 9, 8, dtype=np.float32), np.full(8, 2, np.float32))
    torch.manual_seed(6)
    return Network(AcousticModel(frontend.dim, 11, small()).eval(), frontend, "senones of this test")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_phases_are_averaged_for_networks_that_cannot_follow_live_audio(bidirectional):
    frontend = NetworkFrontend(LfbeOptions(num_mel_bins=8), np.full(8, 8, np.float32), np.full(8, 2, np.float32))
    options = small(bidirectional=bidirectional)
    network = Network(AcousticModel(frontend.dim, 5, options).eval(), frontend, "senones of this test")
    for num_frames in (0, 2, 3, 4, 5, 20):
        samples = 0.1 * np.random.default_rng(num_frames).normal(size=160 * num_frames).astype(np.float32)
        plain = network.log_posteriors(samples)
        averaged = network.offline_log_posteriors(samples, average_phases=True)
        assert np.array_equal(network.offline_log_posteriors(samples, average_phases=False), plain)
        if not bidirectional:
            assert np.array_equal(averaged, plain)
            continue
        rows = network.phase_log_posteriors(samples, 3)  # row r begins at 10 ms frame r
        places = [[min(max(3 * t + d, 0), len(rows) - 1) for d in (-1, 0, 1)] for t in range(len(plain))]
        expected = np.array([rows[place].mean(axis=0) for place in places]).reshape(plain.shape)
        np.testing.assert_allclose(averaged, expected, rtol=1e-5, atol=1e-6)


def test_a_network_is_saved_whole(network, tmp_path):
    network.model.log_priors.copy_(torch.linspace(-3, -1, 11))
    network.save(tmp_path / "network")
    again = Network.load(tmp_path / "network")
    samples = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1
    np.testing.assert_array_equal(again.log_posteriors(samples), network.log_posteriors(samples))
    np.testing.assert_array_equal(again.log_priors, network.log_priors)
    assert again.senones == network.senones and not again.model.training
    assert network.log_posteriors(samples).shape == (50 // 3, 11)


@pytest.mark.parametrize(
    "change",
    [{"version": 9}, {"options": {"layers": 0}}, {"num_senones": "x"}, {"num_senones": 12}, {"frontend": {}}],
)
def test_a_damaged_description(network, tmp_path, change):
    network.save(tmp_path)
    values = json.loads((tmp_path / "network.json").read_text())
    (tmp_path / "network.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(DataError, match=str(tmp_path)):
        Network.load(tmp_path)


def test_damaged_weights(network, tmp_path):
    network.save(tmp_path)
    path = tmp_path / "weights.pt"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"weights\.pt: missing or damaged"):
        Network.load(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"weights\.pt: missing or damaged"):
        Network.load(tmp_path)


def test_nothing_is_unpickled(network, tmp_path):
    network.save(tmp_path)
    torch.save({"weights": print}, tmp_path / "weights.pt")
    with pytest.raises(DataError, match=r"weights\.pt: missing or damaged"):
        Network.load(tmp_path)
