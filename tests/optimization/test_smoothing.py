"""Smoothing an ONNX model: the same numbers out, milder ones inside, and less lost in INT8."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from hfpc.optimization.smoothing import smoothed

CHANNELS = 40
LOUD_CHANNEL = 7


@pytest.fixture
def file(tmp_path):
    """Two products of one activation, one of whose channels is loud."""
    rng = np.random.default_rng(0)
    gain = np.ones(CHANNELS, np.float32)
    gain[LOUD_CHANNEL] = 100
    weights = {
        "gain": gain,
        "left": rng.normal(size=(CHANNELS, 8)).astype(np.float32),
        "right": rng.normal(size=(CHANNELS, 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["x", "gain"], ["activation"]),
        helper.make_node("MatMul", ["activation", "left"], ["one"], name="first"),
        helper.make_node("MatMul", ["activation", "right"], ["other"], name="second"),
        helper.make_node("Add", ["one", "other"], ["logits"]),
    ]
    shape = ["batch", "seq", CHANNELS]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "seq", 8])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def rows(count, seed=1):
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(1, 5, CHANNELS)).astype(np.float32)} for _ in range(count)]


def run(model, inputs, names=("logits",)):
    content = model if isinstance(model, str) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(list(names), row)[0] for row in inputs])


def test_it_computes_the_same(file):
    inputs = rows(20)
    assert np.allclose(run(smoothed(file, inputs), inputs), run(str(file), inputs), rtol=1e-4, atol=1e-3)


def test_loud_channels_are_brought_down_and_no_other_is_raised(file):
    inputs = rows(50)
    model = smoothed(file, inputs)
    onnx.checker.check_model(model)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("activation", "activation_milder"))
    before = np.abs(run(model, inputs, ["activation"])).max(axis=(0, 1))
    after = np.abs(run(model, inputs, ["activation_milder"])).max(axis=(0, 1))
    assert before[LOUD_CHANNEL] > 50 * np.median(before)
    assert after.max() < 2 * np.median(before)
    assert (after <= before * (1 + 1e-6)).all()


def test_less_is_lost_in_int8(file, tmp_path):
    inputs, others = rows(50), rows(50, seed=2)
    expected = run(str(file), others)
    lost = []
    for model in (onnx.load(file), smoothed(file, inputs)):
        quantize_dynamic(model, tmp_path / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True)
        lost.append(np.abs(run(str(tmp_path / "int8.onnx"), others) - expected).mean())
    assert lost[1] < lost[0]


def test_a_model_of_silent_channels_stays_as_it_is(file):
    inputs = [{"x": np.zeros((1, 5, CHANNELS), np.float32)}]
    others = rows(5)
    assert np.allclose(run(smoothed(file, inputs), others), run(str(file), others), rtol=1e-4, atol=1e-3)
