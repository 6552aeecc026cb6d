"""StreamingLSTM against torch.nn.LSTM over whole utterances, and the state that it keeps."""

import copy
import io

import pytest
import torch

import pyasr.nn
from pyasr.base.errors import ConfigError
from pyasr.nn import LSTM, LSTMState, StreamingLSTM

INPUTS, UNITS, LAYERS, SENONES = 24, 40, 3, 100


@pytest.fixture(scope="module")
def lstm():
    torch.manual_seed(0)
    return LSTM(INPUTS, UNITS, LAYERS, dropout=0.3).eval()


@pytest.fixture(scope="module")
def output():
    torch.manual_seed(1)
    return torch.nn.Linear(UNITS, SENONES)


@pytest.fixture(scope="module")
def utterance():
    return torch.randn(1, 120, INPUTS, generator=torch.Generator().manual_seed(2))


def stream(streaming, x, frames, state=None):
    state = state or streaming.init_state(len(x))
    return torch.cat([streaming.step(part, state) for part in x.split(frames, dim=1)], dim=1), state


@pytest.mark.parametrize("frames", [1, 3, 120])
def test_a_streamed_utterance_is_the_whole_one(lstm, output, utterance, frames):
    with torch.inference_mode():
        hidden, (h, c) = lstm(utterance)
        logp = output(hidden).log_softmax(dim=2)
    y, state = stream(StreamingLSTM.from_lstm(lstm, output), utterance, frames)
    torch.testing.assert_close(y, logp, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state.h, h, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(state.c, c, rtol=1e-5, atol=1e-6)
    y, _ = stream(StreamingLSTM.from_lstm(lstm), utterance, frames)
    torch.testing.assert_close(y, hidden, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision, budget", [("bf16", 0.03), ("int8", 0.03)])
def test_lower_precisions_stay_near(lstm, output, utterance, precision, budget):
    exact, _ = stream(StreamingLSTM.from_lstm(lstm, output), utterance, 10)
    streaming = StreamingLSTM.from_lstm(lstm, output, precision)
    assert streaming.precision == precision
    y, _ = stream(streaming, utterance, 10)
    assert 0 < (y - exact).abs().max() < budget
    torch.testing.assert_close(y.exp().sum(dim=2), torch.ones(1, 120), rtol=0, atol=1e-5)


def test_int8_is_no_farther_than_dynamic_int8_of_torch(lstm, output, utterance):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.output = torch.nn.LSTM(INPUTS, UNITS, LAYERS, batch_first=True), copy.deepcopy(output)
            self.lstm.load_state_dict(lstm.state_dict())

    engines = [engine for engine in ("x86", "fbgemm") if engine in torch.backends.quantized.supported_engines]
    if not engines:
        pytest.skip("this torch has no int8 LSTM")
    quantised = torch.ao.quantization.quantize_dynamic(Network(), {torch.nn.LSTM, torch.nn.Linear}, torch.qint8)
    exact, _ = stream(StreamingLSTM.from_lstm(lstm, output), utterance, 10)
    with torch.inference_mode():
        theirs = quantised.output(quantised.lstm(utterance)[0]).log_softmax(dim=2)
    ours, _ = stream(StreamingLSTM.from_lstm(lstm, output, "int8"), utterance, 10)
    assert (ours - exact).abs().mean() < (theirs - exact).abs().mean()
    assert (ours - exact).abs().max() < (theirs - exact).abs().max()


def test_results_go_into_out(lstm, output, utterance):
    streaming = StreamingLSTM.from_lstm(lstm, output)
    out = torch.empty(1, 4, SENONES)
    state = streaming.init_state(1)
    assert streaming.step(utterance[:, :4], state, out) is out
    assert torch.equal(out, stream(streaming, utterance[:, :4], 4)[0])


def test_streams_are_reset_moved_and_saved_one_by_one(lstm, output, utterance):
    streaming = StreamingLSTM.from_lstm(lstm, output)
    expected, last = stream(streaming, utterance, 7)
    x = torch.cat([utterance.flip(1), utterance, utterance.flip(2)])[:, :50]
    _, state = stream(streaming, x, 10)

    saved = io.BytesIO()
    torch.save({"h": state.h, "c": state.c}, saved)
    saved.seek(0)
    restored = LSTMState(**torch.load(saved, weights_only=True))
    copied = state.copy()
    state.reset(0)
    assert not state.h[:, 0].any() and not state.c[:, 0].any() and state.h[:, 1:].any()
    assert torch.equal(state.h[:, 1:], copied.h[:, 1:]) and copied.h[:, 0].any()
    assert torch.equal(restored.h, copied.h) and torch.equal(restored.c, copied.c)

    # Stream 0 begins anew while stream 1 goes on; then stream 1 goes on alone.
    y, state = stream(streaming, torch.stack([utterance[0, :30], utterance[0, 50:80], utterance[0, :30]]), 10, state)
    assert torch.equal(y[0], expected[0, :30]) and torch.equal(y[1], expected[0, 50:80])
    alone = streaming.init_state(1)
    alone.h[:, 0], alone.c[:, 0] = state.h[:, 1], state.c[:, 1]
    y, alone = stream(streaming, utterance[:, 80:], 3, alone)
    assert torch.equal(y, expected[:, 80:]) and torch.equal(alone.c, last.c)
    alone.reset()
    assert not alone.h.any() and not alone.c.any()
    with pytest.raises(IndexError):
        alone.reset(1)


def test_networks_of_any_dtype_and_without_biases(output):
    torch.manual_seed(3)
    x = torch.randn(1, 5, INPUTS)
    plain = torch.nn.LSTM(INPUTS, UNITS, 2, bias=False, batch_first=True)
    torch.testing.assert_close(stream(StreamingLSTM.from_lstm(plain), x, 1)[0], plain(x)[0], rtol=1e-5, atol=1e-6)
    half = copy.deepcopy(plain).bfloat16()
    for precision in ("fp32", "bf16"):
        y, _ = stream(StreamingLSTM.from_lstm(half, precision=precision), x, 1)
        torch.testing.assert_close(y, half.float()(x)[0], rtol=1e-5, atol=1e-6)
        half = half.bfloat16()


def test_precision_is_that_of_the_memory(lstm, output):
    fp32, bf16, int8 = (StreamingLSTM.from_lstm(lstm, output, p).weight_bytes for p in ("fp32", "bf16", "int8"))
    assert fp32 == 2 * bf16 == 4 * int8


def test_wrong_networks_are_refused(lstm, output):
    with pytest.raises(ConfigError, match="bidirectional"):
        StreamingLSTM.from_lstm(torch.nn.LSTM(4, 8, bidirectional=True))
    with pytest.raises(ConfigError, match="proj_size=3"):
        StreamingLSTM.from_lstm(torch.nn.LSTM(4, 8, proj_size=3))
    with pytest.raises(ConfigError, match="precision 'int4'"):
        StreamingLSTM.from_lstm(lstm, output, "int4")
    with pytest.raises(ValueError, match="the output layer has 8 inputs, the LSTM 40 units"):
        StreamingLSTM.from_lstm(lstm, torch.nn.Linear(8, 5))
    with pytest.raises(ValueError, match="0 streams"):
        StreamingLSTM.from_lstm(lstm).init_state(0)


def test_a_bad_frame_leaves_all_streams_as_they_were(lstm, output, utterance):
    streaming = StreamingLSTM.from_lstm(lstm, output)
    x = utterance[:, :20].repeat(3, 1, 1)
    _, state = stream(streaming, x, 10)
    before = state.copy()
    x[1, 4, 2] = float("nan")
    with pytest.raises(ValueError, match="stream 1, frame 4"):
        streaming.step(x, state)
    assert torch.equal(state.h, before.h) and torch.equal(state.c, before.c)


def test_public_names():
    assert {"StreamingLSTM", "LSTMState"} <= set(pyasr.nn.__all__)
