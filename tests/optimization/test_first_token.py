"""Picking the first token early: the same numbers out of fewer products, and nothing moved that may not be."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hfpc.optimization.first_token import first_token_early

WIDTH = 8


def classifier(*, index=0, neighbours=False, kept="logits") -> onnx.ModelProto:
    """A residual block over tokens of which one is picked; `neighbours` puts a softmax over tokens into it."""
    rng = np.random.default_rng(0)
    weights = {
        "up": rng.normal(size=(WIDTH, 2 * WIDTH)).astype(np.float32),
        "bias": rng.normal(size=2 * WIDTH).astype(np.float32),
        "down": rng.normal(size=(2 * WIDTH, WIDTH)).astype(np.float32),
        "head": rng.normal(size=(WIDTH, 3)).astype(np.float32),
        "index": np.array(index),
    }
    nodes = [
        helper.make_node("Tanh", ["x"], ["start"]),
        helper.make_node("MatMul", ["start", "up"], ["wide"]),
        helper.make_node("Add", ["wide", "bias"], ["shifted"]),
        helper.make_node("Softmax", ["shifted"], ["active"], axis=1)
        if neighbours
        else helper.make_node("Relu", ["shifted"], ["active"]),
        helper.make_node("MatMul", ["active", "down"], ["narrow"]),
        helper.make_node("Add", ["narrow", "start"], ["sum"]),
        helper.make_node("Gather", ["sum", "index"], ["picked"], axis=1),
        helper.make_node("Gemm", ["picked", "head"], ["logits"]),
    ]
    shapes = {"logits": ["batch", 3], "sum": ["batch", "tokens", WIDTH], "picked": ["batch", WIDTH]}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", WIDTH])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name])
            for name in dict.fromkeys([kept, "logits"])
        ],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def run(model):
    x = np.random.default_rng(1).normal(size=(4, 5, WIDTH)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"x": x})[0]


def picked(model):
    """What is picked from, before the last picking: of the one token that is left, or of all where none was moved."""
    *early, last = [node.input[0] for node in model.graph.node if node.op_type == "Gather"]
    assert last == "sum"
    return early


@pytest.mark.parametrize("index", [0, 3, -1])
def test_what_treats_each_token_by_itself_comes_after_the_picking(index):
    model = classifier(index=index)
    expected = run(model)
    first_token_early(model)
    onnx.checker.check_model(model, full_check=True)
    # The first product and the sum both take `start`, and it is what is picked, once for both.
    assert picked(model) == ["start"]
    assert np.allclose(run(model), expected, rtol=1e-5, atol=1e-5)


def test_nothing_goes_before_what_mixes_tokens():
    model = classifier(neighbours=True)
    expected = run(model)
    first_token_early(model)
    onnx.checker.check_model(model, full_check=True)
    assert sorted(picked(model)) == ["active", "start"]
    assert np.allclose(run(model), expected, rtol=1e-5, atol=1e-5)


def test_what_the_model_returns_stays_whole():
    model = classifier(kept="sum")
    before = model.SerializeToString()
    first_token_early(model)
    assert model.SerializeToString() == before
