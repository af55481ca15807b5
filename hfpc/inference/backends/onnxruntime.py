"""ONNX Runtime on the CPU: an exported model, full or quantized."""

from pathlib import Path
from typing import TYPE_CHECKING

from hfpc.errors import MissingExtraError, ModelError
from hfpc.inference.tokenizer import FastTokenizer

if TYPE_CHECKING:
    import numpy as np

_SLOWER = ["SkipLayerNormFusion"]
"""Optimizations that make a model slower: the fused kernel takes eight times as long as the two that it
replaces, a seventh of the time of a whole pass (ONNX Runtime 1.32, MiniLM in INT8, AVX2)."""


class OnnxRuntime:
    """An ONNX file. See `hfpc.inference.backends.Backend`.

    A batch runs on one core: several of them at once give more rows per second than one after the
    other on all cores (an eighth more on two cores, MiniLM in INT8, tweets).

    Args:
        folder: The model folder, for its tokenizer.
        file: The ONNX file.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ModelError: The file does not load, or the folder has no fast tokenizer.
    """

    device = "cpu"

    def __init__(self, folder: Path, file: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("onnxruntime", "serve", f"the optimized model in {folder}") from None

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER
            )
        except Exception as error:  # the library raises classes of its own that have no other base
            raise ModelError(f"{file} does not load: {error}") from error
        self.input_names = tuple(item.name for item in self._session.get_inputs())
        self.tokenizer = FastTokenizer(folder)

    def logits(self, inputs: "dict[str, np.ndarray]", *, threads: int) -> "np.ndarray":
        """The model's output for a batch, float32."""
        found: np.ndarray = self._session.run(["logits"], inputs)[0]
        return found
