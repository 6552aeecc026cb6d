"""The network in onnxruntime against StreamingLSTM, and what a reader of the file needs."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pyasr.base.errors import ConfigError, DataError
from pyasr.export import onnx_model
from pyasr.export.cli import app
from pyasr.features.network import NetworkFrontend
from pyasr.nn.streaming import StreamingLSTM

NEEDED = "needs the extra export: pip install '.[export]'"
onnx = pytest.importorskip("onnx", reason=NEEDED)
onnxruntime = pytest.importorskip("onnxruntime", reason=NEEDED)


def test_whole_utterances_through_onnxruntime(tone_network, tmp_path):
    """From samples to posteriors with nothing but the file."""
    model, path = tone_network.model, tmp_path / "student.onnx"
    done = CliRunner().invoke(app, ["onnx", "--model", str(model.folder), str(path)])
    assert done.exit_code == 0 and "onnxruntime differs by" in done.stdout
    session = onnxruntime.InferenceSession(str(path))
    properties = session.get_modelmeta().custom_metadata_map
    frontend = NetworkFrontend.from_dict(json.loads(properties["frontend"]))
    delay = int(properties["delay_frames"])
    samples = tone_network.say("DOMI SOTI")
    stacked = frontend.stacked(samples)
    frames = np.concatenate([stacked, stacked[-1:].repeat(delay, axis=0)])[None]
    h, c = (np.zeros([1 if n == "N" else n for n in value.shape], np.float32) for value in session.get_inputs()[1:])
    rows = []
    for begin in range(0, frames.shape[1], 4):
        logp, h, c = session.run(None, {"frames": frames[:, begin : begin + 4], "h": h, "c": c})
        rows.append(logp[0])
    expected = model.network.log_posteriors(samples)
    np.testing.assert_allclose(np.concatenate(rows)[delay:], expected, atol=2e-5)
    np.testing.assert_array_equal(np.array(json.loads(properties["log_priors"]), np.float32), model.network.log_priors)


def test_states_are_those_of_streaming_lstm(tone_network, tmp_path):
    acoustic = tone_network.model.network.model
    assert onnx_model.write_onnx(tone_network.model, tmp_path / "a.onnx") < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    streaming = StreamingLSTM.from_lstm(acoustic.lstm, acoustic.output)
    state = streaming.init_state(3)
    state.h.uniform_(-1, 1)
    state.c.uniform_(-1, 1)
    x = torch.randn(3, 5, acoustic.input_dim)
    logp, h, c = session.run(None, {"frames": x.numpy(), "h": state.h.numpy().copy(), "c": state.c.numpy().copy()})
    np.testing.assert_allclose(logp, streaming.step(x, state).numpy(), atol=1e-5)
    np.testing.assert_allclose(h, state.h.numpy(), atol=1e-6)
    np.testing.assert_allclose(c, state.c.numpy(), atol=1e-6)


def test_a_file_that_is_not_the_network_is_not_kept(tone_network, tmp_path, monkeypatch):
    layer = onnx_model._layer
    monkeypatch.setattr(onnx_model, "_layer", lambda lstm, index: [1.1 * array for array in layer(lstm, index)])
    with pytest.raises(DataError, match=r"a\.onnx: onnxruntime is .* away from the network"):
        onnx_model.write_onnx(tone_network.model, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_state(tone_teacher, tone_speech, tmp_path):
    with pytest.raises(ConfigError, match="bidirectional"):
        onnx_model.write_onnx(tone_teacher.model, tmp_path / "a.onnx")
    done = CliRunner().invoke(app, ["onnx", "--model", str(tone_speech.model.folder), str(tmp_path / "a.onnx")])
    assert done.exit_code == 1 and "a Gaussian system, not a network" in done.stderr
