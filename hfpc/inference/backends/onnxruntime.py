"""ONNX Runtime on the CPU: an exported model, full or quantized."""

from pathlib import Path
from typing import TYPE_CHECKING

from hfpc.errors import MissingExtraError, ModelError
from hfpc.inference.cores import cores
from hfpc.inference.tokenizer import FastTokenizer

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime

_SLOWER = ["SkipLayerNormFusion"]
"""Optimizations that make a model slower: the fused kernel takes eight times as long as the two that it
replaces, a seventh of the time of a whole pass (ONNX Runtime 1.32, MiniLM in INT8, AVX2)."""


class OnnxRuntime:
    """An ONNX file. See `hfpc.inference.backends.Backend`.

    Several batches at once, each on one core, give more rows per second than one after the other on
    all cores (an eighth more on two cores, MiniLM in INT8, tweets), but one alone is done sooner on
    all of them. A session has as many threads as it was made with, so there are two of them, and the
    weights are in memory twice.

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
            self._session = _session(file, threads=1)
            self._on_all_cores = _session(file, threads=cores()) if cores() > 1 else self._session
        except ImportError:
            raise MissingExtraError("onnxruntime", "serve", f"the optimized model in {folder}") from None
        except Exception as error:  # the library raises classes of its own that have no other base
            raise ModelError(f"{file} does not load: {error}") from error
        self.input_names = tuple(item.name for item in self._session.get_inputs())
        self.tokenizer = FastTokenizer(folder)

    def logits(self, inputs: "dict[str, np.ndarray]", *, threads: int) -> "np.ndarray":
        """The model's output for a batch, float32."""
        session = self._session if threads == 1 else self._on_all_cores
        found: np.ndarray = session.run(["logits"], inputs)[0]
        return found


def _session(file: Path, threads: int) -> "onnxruntime.InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Its threads wait busily for the next part of a pass, but not for the next pass.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(
        str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER
    )
