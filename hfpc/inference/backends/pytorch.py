"""PyTorch: the weights of a model folder as they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfpc.base_model import BaseModel
from hfpc.errors import ModelError
from hfpc.inference.cores import use_cores

if TYPE_CHECKING:
    import numpy as np

    from hfpc.tasks import Task


class PyTorch:
    """A Transformers model. See `hfpc.inference.backends.Backend`.

    Args:
        folder: A model folder.
        task: The model's task.
        device: A torch device, or "auto" for the first GPU there is, else the CPU.
        precision: "fp32", or "bf16" for weights and arithmetic in bfloat16.
        trust_remote_code: Let the model's own Python code run.

    Raises:
        ModelError: Its weights do not load, are incomplete, or are not safetensors.
    """

    def __init__(self, folder: Path, task: "Task", *, device: str, precision: str, trust_remote_code: bool) -> None:
        import torch

        base = BaseModel(folder=folder, revision="", trust_remote_code=trust_remote_code)
        self.tokenizer = base.tokenizer()
        self.input_names = tuple(self.tokenizer.model_input_names)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        # On a CPU 16-bit weights are slower than 32-bit ones, unless they were measured to be faster.
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32 if device == "cpu" else "auto"
        model, loading = base.load(task.auto_model(), output_loading_info=True, dtype=dtype)
        if loading["missing_keys"]:
            raise ModelError(f"{folder} lacks the weights {', '.join(sorted(loading['missing_keys']))}")
        self.model: Any = model.to(device).eval()
        self.device: str = self.model.device.type

    def logits(self, inputs: "dict[str, np.ndarray]", *, threads: int) -> "np.ndarray":
        """The model's output for a batch, float32."""
        import torch

        if self.device == "cpu":
            use_cores(threads)
        tensors = {name: torch.from_numpy(values).to(self.model.device) for name, values in inputs.items()}
        with torch.inference_mode():
            found: np.ndarray = self.model(**tensors).logits.float().cpu().numpy()
        return found
