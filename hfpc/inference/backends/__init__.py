"""What computes a model's logits: PyTorch, ONNX Runtime or OpenVINO. One file a backend.

Only PyTorch reads the safetensors weights; the others read a file that `hfpc.optimization` made of
them, and need neither torch nor Transformers, so that a server starts in a fraction of the time.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hfpc import manifest
from hfpc.errors import ModelError
from hfpc.manifest import Manifest

if TYPE_CHECKING:
    import numpy as np

    from hfpc.tasks import Task


class Backend(Protocol):
    """A loaded model. Several threads may call it at once."""

    input_names: tuple[str, ...]
    """Names of the inputs that it takes, as the tokenizer gives them."""

    tokenizer: Any
    """The model's fast tokenizer: Transformers' own, or `hfpc.inference.tokenizer.FastTokenizer`."""

    device: str
    """"cpu" or "cuda"."""

    def logits(self, inputs: "dict[str, np.ndarray]", *, threads: int) -> "np.ndarray":
        """The model's output for a batch, float32.

        Args:
            inputs: A padded int64 array of shape `(rows, tokens)` for each of `input_names`.
            threads: Cores to use: 1 where other threads run batches of their own meanwhile, or all
                there are. Backends that cannot choose at each call use one.
        """


def load(folder: Path, content: Manifest, task: "Task", *, device: str, trust_remote_code: bool) -> Backend:
    """Loads a model folder with the backend that its `hfpc.json` names.

    Args:
        folder: A model folder.
        content: Its `hfpc.json`.
        task: The model's task.
        device: A torch device, or "auto". Exported models run on the CPU.
        trust_remote_code: Let the model's own Python code run.

    Raises:
        MissingExtraError: The backend is not installed.
        ModelError: The model does not load.
    """
    kept = content.optimization
    if kept is None or kept.backend == "pytorch":
        from hfpc.inference.backends.pytorch import PyTorch

        precision = "fp32" if kept is None else kept.precision
        return PyTorch(folder, task, device=device, precision=precision, trust_remote_code=trust_remote_code)
    if kept.backend == "onnxruntime":
        from hfpc.inference.backends.onnxruntime import OnnxRuntime

        return OnnxRuntime(folder, _file(folder, kept.file))
    if kept.backend == "openvino":
        from hfpc.inference.backends.openvino import OpenVino

        return OpenVino(folder, _file(folder, kept.file))
    raise ModelError(f"{folder / manifest.FILE_NAME} names the backend {kept.backend!r}, which is not known here")


def _file(folder: Path, name: str) -> Path:
    """A file of the model folder, which may come from anywhere."""
    file = folder / name
    # Not by where links lead: the Hub's cache is made of links.
    if not Path(os.path.abspath(file)).is_relative_to(folder.absolute()) or not file.is_file():
        raise ModelError(f"{folder} has no file {name!r}, which its {manifest.FILE_NAME} names: optimize it again")
    return file
