"""A forward-only network as an ONNX model with its state as inputs and outputs.

    inputs    frames (N, T, D)   h, c (layers, N, H)               all float32; N streams, T frames: any numbers
    outputs   log_posteriors (N, T, S)   h_out, c_out (layers, N, H)

An utterance begins with h and c of zeros; what comes out goes in with the next frames. Row t stands for the frame
`delay_frames` before: of an utterance's first frames so many rows mean nothing, and at its end the last frame is fed
again as often. The metadata of the model, strings, have what else it takes: frontend (JSON of
`pyasr.features.network.NetworkFrontend`), delay_frames, log_priors (JSON, S natural logs) and prior_scale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyasr.base.artifact import atomic_path
from pyasr.base.errors import ConfigError, DataError
from pyasr.decode.model_dir import NetworkModel
from pyasr.export.extra import load
from pyasr.nn.streaming import StreamingLSTM

_OPSET, _IR_VERSION = 17, 8  # LogSoftmax and LSTM as they are since 2021; read by onnxruntime from 1.12 on
_TOLERANCE = 1e-3
_FLOATS = 1  # onnx.TensorProto.FLOAT


def write_onnx(model: NetworkModel, path: str | Path) -> float:
    """Write the network, run it beside `StreamingLSTM` and return the greatest difference of log-posteriors.

    ConfigError for a bidirectional network, and without the extra `export`; DataError when the difference is above
    1e-3 or the file cannot be written: it is not there then.
    """
    acoustic = model.network.model
    if acoustic.options.bidirectional:
        raise ConfigError(f"{model.folder}: a bidirectional network has no state to export; choose a forward-only one")
    onnx = load("onnx")
    made = _build(onnx.helper, onnx.numpy_helper, model)
    onnx.checker.check_model(made, full_check=True)
    with atomic_path(path) as temporary:
        onnx.save(made, temporary)
        difference = greatest_difference(model, temporary)
        if not difference <= _TOLERANCE:
            raise DataError(f"{path}: onnxruntime is {difference:.2g} away from the network, more than {_TOLERANCE:g}")
    return difference


def _build(helper: Any, numpy_helper: Any, model: NetworkModel) -> Any:
    acoustic = model.network.model
    layers, units = acoustic.options.layers, acoustic.options.units
    weights: dict[str, np.ndarray] = {
        "layers": np.ones(layers, np.int64),
        "direction": np.array([1], np.int64),
        "output_weight": _array(acoustic.output.weight).T,
        "output_bias": _array(acoustic.output.bias),
    }
    h, c = ([f"{name}_{layer}" for layer in range(layers)] for name in "hc")
    nodes = [
        helper.make_node("Transpose", ["frames"], ["below_0"], perm=[1, 0, 2]),
        helper.make_node("Split", ["h", "layers"], h, axis=0),
        helper.make_node("Split", ["c", "layers"], c, axis=0),
    ]
    for layer in range(layers):
        names = [f"{name}_{layer}" for name in ("weight", "recurrent", "bias")]
        weights |= zip(names, _layer(acoustic.lstm, layer))
        inputs = [f"below_{layer}", *names, "", h[layer], c[layer]]
        outputs = [f"{name}_{layer}" for name in ("directions", "h_next", "c_next")]
        nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=units))
        nodes.append(helper.make_node("Squeeze", [outputs[0], "direction"], [f"below_{layer + 1}"]))
    nodes += [
        helper.make_node("Concat", [f"h_next_{layer}" for layer in range(layers)], ["h_out"], axis=0),
        helper.make_node("Concat", [f"c_next_{layer}" for layer in range(layers)], ["c_out"], axis=0),
        helper.make_node("Transpose", [f"below_{layers}"], ["hidden"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["hidden", "output_weight"], ["product"]),
        helper.make_node("Add", ["product", "output_bias"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["log_posteriors"], axis=-1),
    ]
    frames, state, logp = ["N", "T", acoustic.input_dim], [layers, "N", units], ["N", "T", acoustic.num_senones]
    shapes = {"frames": frames, "h": state, "c": state, "log_posteriors": logp, "h_out": state, "c_out": state}
    values = [helper.make_tensor_value_info(name, _FLOATS, shape) for name, shape in shapes.items()]
    stored = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "acoustic_model", values[:3], values[3:], stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    helper.set_model_props(made, _metadata(model))
    return made


def _metadata(model: NetworkModel) -> dict[str, str]:
    return {
        "frontend": json.dumps(model.network.frontend.to_dict()),
        "delay_frames": str(model.network.model.options.delay_frames),
        "log_priors": json.dumps(model.network.log_priors.tolist()),
        "prior_scale": str(model.options.search.prior_scale),
    }


def _layer(lstm: torch.nn.LSTM, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (1, 4 H, D), R (1, 4 H, H) and B (1, 8 H) as ONNX has them: gates in the order i, o, f, c."""
    arrays = []
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        into, forget, cell, out = np.split(_array(getattr(lstm, f"{name}_l{layer}")), 4)
        arrays.append(np.concatenate([into, out, forget, cell])[None])
    return arrays[0], arrays[1], np.concatenate(arrays[2:], axis=1)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def greatest_difference(model: NetworkModel, path: str | Path, num_streams: int = 2, num_frames: int = 30) -> float:
    """Of log-posteriors by onnxruntime and by `StreamingLSTM` in fp32, for random streams fed a few frames a call."""
    acoustic = model.network.model
    session = load("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    streaming = StreamingLSTM.from_lstm(acoustic.lstm, acoustic.output)
    state = streaming.init_state(num_streams)
    h, c = state.h.numpy().copy(), state.c.numpy().copy()
    frames = torch.randn(num_streams, num_frames, acoustic.input_dim, generator=torch.Generator().manual_seed(0))
    worst = 0.0
    for begin, end in ((0, 1), (1, 2), (2, 7), (7, num_frames)):
        part = frames[:, begin:end].contiguous()
        logp, h, c = session.run(None, {"frames": part.numpy(), "h": h, "c": c})
        worst = max(worst, float(np.abs(logp - streaming.step(part, state).numpy()).max()))
    return worst
