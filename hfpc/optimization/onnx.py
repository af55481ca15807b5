"""A model as an ONNX file for ONNX Runtime: in full precision, or with weights and activations in INT8."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfpc import manifest, tasks
from hfpc.base_model import BaseModel
from hfpc.optimization.first_token import first_token_early
from hfpc.optimization.samples import training_inputs
from hfpc.optimization.smoothing import smoothed

if TYPE_CHECKING:
    import numpy as np

OPSET = 20
"""The first version with Gelu as one operator, which makes an INT8 model a twelfth faster than version 18."""

_MATRIX_PRODUCTS = ["MatMul", "Gemm"]
"""What is quantized: nearly all of the time goes into it, and the rest loses more than it gains."""

_WEIGHTS: dict[str, Any] = {
    "per_channel": True,  # one scale for a whole matrix costs several times as many labels
    # Weights of 7 bits. On processors without VNNI, products of 8 bits overflow in their sums.
    "reduce_range": True,
}


def export(model: Path, dataset: Path, file: Path, *, trust_remote_code: bool) -> None:
    """Writes a model as ONNX, for batches and rows of any length."""
    import onnx
    import torch
    from torch.export import Dim

    task = tasks.get(manifest.read(model, "model").task)
    base = BaseModel(folder=model, revision="", trust_remote_code=trust_remote_code)
    # The plain form of attention: it gives a smaller and faster graph than the fused one.
    loaded = base.load(task.auto_model(), attn_implementation="eager", dtype=torch.float32).eval()
    loaded.config.use_cache = False
    names = base.tokenizer().model_input_names
    (row,) = training_inputs(model, dataset, names, count=1, seed=0)
    example = {name: torch.from_numpy(values).repeat(2, 1) for name, values in row.items()}
    file.parent.mkdir(parents=True)
    torch.onnx.export(
        loaded,
        (),
        str(file),
        kwargs=example,
        input_names=list(example),
        output_names=["logits"],
        dynamo=True,
        dynamic_shapes={name: {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} for name in example},
        external_data=False,
        opset_version=OPSET,
        verbose=False,
    )
    exported = onnx.load(file)
    first_token_early(exported)
    onnx.save(exported, file)


def quantize_dynamic(source: Path, file: Path, model: Path, dataset: Path, *, rows: int, seed: int) -> None:
    """Writes an ONNX file with INT8 weights, whose activations are quantized as they come.

    Args:
        source: The file in full precision.
        file: The file to write.
        model: The model folder.
        dataset: The data set folder, whose training rows show which numbers occur inside the model.
        rows: How many of them.
        seed: Seed of their drawing.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    inputs = training_inputs(model, dataset, _input_names(source), count=rows, seed=seed)
    file.parent.mkdir(parents=True)
    quantize_dynamic(
        smoothed(source, inputs),
        file,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": 1},
        **_WEIGHTS,
    )


def quantize_static(source: Path, file: Path, model: Path, dataset: Path, *, rows: int, seed: int) -> None:
    """Writes an ONNX file with INT8 weights, whose activations have the ranges they had for training rows.

    Its arguments are those of `quantize_dynamic`.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    inputs = training_inputs(model, dataset, _input_names(source), count=rows, seed=seed)
    file.parent.mkdir(parents=True)
    quantize_static(
        smoothed(source, inputs),
        file,
        _Reader(inputs),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_MATRIX_PRODUCTS,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": _MATRIX_PRODUCTS},
        **_WEIGHTS,
    )


def _input_names(file: Path) -> list[str]:
    import onnx

    return [item.name for item in onnx.load(file).graph.input]


class _Reader:
    """Rows one after the other, as ONNX Runtime's calibration asks for them."""

    def __init__(self, rows: "list[dict[str, np.ndarray]]") -> None:
        self._rows = iter(rows)

    def get_next(self) -> "dict[str, np.ndarray] | None":
        return next(self._rows, None)
