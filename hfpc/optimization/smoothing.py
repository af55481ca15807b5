"""Taking outliers out of what is quantized: an ONNX model that computes the same from milder numbers.

One scale holds for all channels of an activation, and a few channels of a transformer have numbers
many times as large as the others, which then get only a few of the 256 steps. Here those channels
are divided by a number, and the weights that they are multiplied with are multiplied by it. That is
the idea of SmoothQuant (Xiao and others, 2023), one way only: no channel is made larger, so that one
which was quiet for the rows looked at cannot become an outlier itself.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

LOUD = 0.95
"""Channels beyond this quantile of all channels' largest numbers are brought down to it."""


def smoothed(file: Path, inputs: list[dict[str, np.ndarray]]) -> "onnx.ModelProto":
    """The model of an ONNX file with milder activations before its matrix products with weights.

    Args:
        file: The file in full precision.
        inputs: Rows that show how large channels become.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(file)
    weights = {item.name: item for item in model.graph.initializer if len(item.dims) == 2}
    products: dict[str, list[Any]] = {}  # name of the activation to the products that it goes into
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights and node.input[0] not in weights:
            products.setdefault(node.input[0], []).append(node)
    nodes = list(model.graph.node)
    for name, largest in _largest(model, list(products), inputs).items():
        limit = np.quantile(largest, LOUD)
        factors = np.maximum(1, largest / limit).astype(np.float32) if limit else np.ones_like(largest)
        milder, factor = f"{name}_milder", f"{name}_factor"
        model.graph.initializer.append(numpy_helper.from_array(1 / factors, factor))
        nodes.insert(nodes.index(products[name][0]), helper.make_node("Mul", [name, factor], [milder], name=milder))
        for product in products[name]:
            weight = numpy_helper.to_array(weights[product.input[1]]) * factors[:, None]
            product.input[0], product.input[1] = milder, f"{product.output[0]}_weight"
            model.graph.initializer.append(numpy_helper.from_array(weight, product.input[1]))
    used = {name for node in nodes for name in node.input}
    kept = [item for item in model.graph.initializer if item.name in used]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)
    return model


def _largest(model: "onnx.ModelProto", names: list[str], inputs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The largest absolute number of each channel of activations, shape `(channels,)`, over all inputs."""
    import onnx
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    found: dict[str, np.ndarray] = {}
    for row in inputs:
        for name, values in zip(names, session.run(names, row), strict=True):
            largest = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
            found[name] = np.maximum(found.get(name, largest), largest)
    return found
