"""OpenVINO on the CPU: an exported model, full or quantized."""

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from hfpc.errors import MissingExtraError, ModelError
from hfpc.inference.cores import cores
from hfpc.inference.tokenizer import FastTokenizer

if TYPE_CHECKING:
    import numpy as np


class OpenVino:
    """An OpenVINO model. See `hfpc.inference.backends.Backend`.

    A batch runs on one core, as with ONNX Runtime.

    Args:
        folder: The model folder, for its tokenizer.
        file: The `.xml` file; its `.bin` file lies beside it.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ModelError: The file does not load, or the folder has no fast tokenizer.
    """

    device = "cpu"

    def __init__(self, folder: Path, file: Path) -> None:
        send_nothing()
        try:
            import openvino
        except ImportError:
            raise MissingExtraError("openvino", "optimize", f"the optimized model in {folder}") from None

        settings = {
            "INFERENCE_NUM_THREADS": cores(),
            "NUM_STREAMS": cores(),
            # Otherwise processors with bfloat16 would compute in it, and answer otherwise than those without.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            core = openvino.Core()
            self._model = core.compile_model(core.read_model(file), "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"{file} does not load: {error}") from error
        self.input_names = tuple(item.get_any_name() for item in self._model.inputs)
        self.tokenizer = FastTokenizer(folder)
        self._own = threading.local()

    def logits(self, inputs: "dict[str, np.ndarray]", *, threads: int) -> "np.ndarray":
        """The model's output for a batch, float32."""
        if not hasattr(self._own, "request"):
            self._own.request = self._model.create_infer_request()
        found: np.ndarray = self._own.request.infer(inputs)[self._model.output("logits")].copy()
        return found


def send_nothing() -> None:
    """Keeps OpenVINO, its converter and NNCF from sending usage data; to be called before they are imported.

    They do so unasked, also where a model is only loaded, wherever this package can be imported;
    they work without it.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
