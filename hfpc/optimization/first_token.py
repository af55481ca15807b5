"""Computing only what is used: an ONNX model whose last layer works on the first token alone.

Classifiers of the BERT family look at the first token of the last layer and at nothing else of it.
Exported graphs compute that layer for all tokens and then pick one; here the picking goes before
what treats each token by itself: three quarters of the matrix products of that layer, an eighth of
all of them where there are six layers. The numbers stay the same.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

_EACH_TOKEN_BY_ITSELF = {"MatMul", "Add", "Mul", "Div", "LayerNormalization", "Gelu", "Erf", "Relu", "Tanh"}
"""Operators that give the same for a token whatever tokens stand beside it, if their other inputs are
activations too, or the weights of one matrix or one vector."""

_BATCH_TOKENS_CHANNELS = 3
"""Dimensions of an activation."""


def first_token_early(model: "onnx.ModelProto") -> None:
    """Moves the picking of one token up in the graph, where there is one; a model without it stays as it is.

    Args:
        model: The model, which is changed.
    """
    from onnx import helper, numpy_helper

    nodes = list(model.graph.node)
    scalars = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer if not item.dims}
    dimensions = {item.name: len(item.dims) for item in model.graph.initializer}
    activations = {
        item.name for item in model.graph.value_info if len(item.type.tensor_type.shape.dim) == _BATCH_TOKENS_CHANNELS
    }
    outputs = {item.name for item in model.graph.output}
    changed: set[str] = set()
    for pick in [node for node in nodes if _picks_a_token(node, scalars)]:
        moved, wanted = _above(pick, nodes, dimensions, activations - outputs)
        if not moved:
            continue
        # The early picking leaves one token where there were many: what comes after it has the same
        # dimensions as before, so that runtimes fuse and quantize it as they do in the other layers.
        index = np.asarray(scalars[pick.input[1]]).reshape(1)
        early, only = f"{pick.output[0]}_early", f"{pick.output[0]}_only"
        model.graph.initializer.append(numpy_helper.from_array(index, early))
        model.graph.initializer.append(numpy_helper.from_array(np.zeros_like(index[0]), only))
        for name in sorted(wanted):
            first = f"{name}_{early}"
            place = min(nodes.index(node) for node in moved if name in node.input)
            nodes.insert(place, helper.make_node("Gather", [name, early], [first], name=first, axis=1))
            for node in moved:
                _rename(node, name, first)
        pick.input[1] = only
        changed |= {name for node in moved for name in node.output}
    shapes = [item for item in model.graph.value_info if item.name not in changed]
    del model.graph.value_info[:]
    model.graph.value_info.extend(shapes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _picks_a_token(node: Any, scalars: dict[str, Any]) -> bool:
    return node.op_type == "Gather" and _axis(node, 0) == 1 and node.input[1] in scalars


def _above(
    pick: Any, nodes: list[Any], dimensions: dict[str, int], activations: set[str]
) -> tuple[list[Any], set[str]]:
    """The nodes that may come after the picking, and the activations that they then need picked."""
    wanted = {pick.input[0]}
    moved: list[Any] = []
    for node in reversed(nodes[: nodes.index(pick)]):
        name = node.output[0]
        others = {item for item in node.input if item not in dimensions}
        if name not in wanted or not {name, *others} <= activations or not _by_itself(node, dimensions):
            continue
        users = [user for user in nodes if name in user.input]
        if any(user is not pick and user not in moved for user in users):
            continue
        wanted.remove(name)
        wanted |= others
        moved.append(node)
    return moved, wanted


def _by_itself(node: Any, dimensions: dict[str, int]) -> bool:
    weights = [dimensions[name] for name in node.input if name in dimensions]
    if node.op_type == "MatMul":
        return node.input[0] not in dimensions and weights == [2]
    if node.op_type == "LayerNormalization" and _axis(node, -1) not in (-1, _BATCH_TOKENS_CHANNELS - 1):
        return False
    return node.op_type in _EACH_TOKEN_BY_ITSELF and len(node.output) == 1 and all(count <= 1 for count in weights)


def _axis(node: Any, default: int) -> int:
    return {item.name: int(item.i) for item in node.attribute}.get("axis", default)


def _rename(node: Any, old: str, new: str) -> None:
    for index, name in enumerate(node.input):
        if name == old:
            node.input[index] = new
