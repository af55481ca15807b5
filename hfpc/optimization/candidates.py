"""The ways to run a model that `optimize` tries. Each is a name, what computes it, and how exactly."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One way to run a model.

    Attributes:
        backend: "pytorch", "onnxruntime" or "openvino"; see `hfpc.inference.backends`.
        precision: "fp32", "bf16" or "int8".
        file: Path of the exported model inside the model folder; "" where the weights are used as they are.
        base: Name of the candidate whose file it is quantized from; "" for one that is not quantized.
    """

    backend: str
    precision: str
    file: str = ""
    base: str = ""


REFERENCE = "pytorch-fp32"
"""What the others are compared with: the model as it was trained."""

_ONNX, _OPENVINO = "onnx/model.onnx", "openvino/openvino_model.xml"

CANDIDATES = {
    REFERENCE: Candidate("pytorch", "fp32"),
    "pytorch-bf16": Candidate("pytorch", "bf16"),
    "onnxruntime-fp32": Candidate("onnxruntime", "fp32", _ONNX),
    "onnxruntime-int8-dynamic": Candidate("onnxruntime", "int8", _ONNX, "onnxruntime-fp32"),
    "onnxruntime-int8-static": Candidate("onnxruntime", "int8", _ONNX, "onnxruntime-fp32"),
    "openvino-fp32": Candidate("openvino", "fp32", _OPENVINO),
    "openvino-int8": Candidate("openvino", "int8", _OPENVINO, "openvino-fp32"),
}
"""Name to candidate, in the order in which they are tried."""
