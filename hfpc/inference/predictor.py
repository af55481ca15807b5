"""A model folder, loaded and ready to predict rows in length-sorted batches."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hfpc import manifest, tasks
from hfpc.base_model import BaseModel
from hfpc.errors import ModelError
from hfpc.tasks import Prediction, Rows

TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 16_384}
"""Padded tokens of one forward pass: what still fits into a core's cache, and what fills a GPU."""


class Predictor:
    """A fine-tuned model of this library, ready to predict.

    On a CPU each core runs a batch of its own. Cores that share a batch wait for each other at every
    layer, which costs some speed always, and half of it where other processes use the machine too.

    One thread may use it at a time.

    Args:
        folder: A model folder with `hfpc.json`.
        device: A torch device, or "auto" for the first GPU there is, else the CPU.
        tokens_per_batch: Padded tokens of one forward pass; None takes what suits the device.
        trust_remote_code: Let the model's own Python code run, if it needs any. The caller says so,
            not the folder: that may come from anywhere.

    Raises:
        DataError: `folder` is not a model folder of this library.
        ModelError: Its weights do not load, or are not safetensors, or it needs code of its own
            that is not trusted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "auto",
        tokens_per_batch: int | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        import torch

        self.manifest = manifest.read(folder, "model")
        assert self.manifest.model is not None and self.manifest.dataset is not None
        self.task = tasks.get(self.manifest.task)
        self.label_names = self.manifest.dataset.label_names
        self.max_length = self.manifest.model.max_length
        own_code = self.manifest.model.trust_remote_code
        if own_code and not trust_remote_code:
            raise ModelError(
                f"{folder} needs Python code of its own, which could do anything this process can: "
                "where you trust it, give trust_remote_code=True (such a model cannot be deployed or served yet)"
            )
        base = BaseModel(folder=folder, revision="", trust_remote_code=own_code)
        self.tokenizer = base.tokenizer()
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model, loading = base.load(self.task.auto_model(), output_loading_info=True)
        if loading["missing_keys"]:
            raise ModelError(f"{folder} lacks the weights {', '.join(sorted(loading['missing_keys']))}")
        self.model = model.to(device).eval()
        kind = self.model.device.type
        self.tokens_per_batch = tokens_per_batch or TOKENS_PER_BATCH.get(kind, TOKENS_PER_BATCH["cuda"])
        self._cores = torch.get_num_threads() if kind == "cpu" else 1
        self._pool = _one_core_each(self._cores)

    def predict(self, rows: Rows) -> list[Prediction]:
        """Predictions for rows, in their order.

        Args:
            rows: Role to values, as the task's `columns` name them; the label role is not needed.
        """
        if not any(len(values) for values in rows.values()):
            return []
        encoded = self.task.encode(rows, self.tokenizer, self.max_length)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        predictions: list[Prediction] = [None] * len(lengths)
        planned = list(batches(lengths, self.tokens_per_batch))
        inputs = ({name: [values[i] for i in batch] for name, values in encoded.items()} for batch in planned)
        for batch, logits in zip(planned, self._forward_all(inputs, len(planned)), strict=True):
            for index, row_logits in zip(batch, logits, strict=True):
                row = {name: values[index] for name, values in encoded.items()}
                predictions[index] = self.task.decode(row_logits, row)
        return predictions

    def respond(self, inputs: Sequence[Any], parameters: Mapping[str, Any] | None = None) -> list[Any]:
        """A response for each input of a request, in the shape the Hub's task specification gives.

        Raises:
            ArgumentError: An input or a parameter cannot be used.
        """
        rows = self.task.parse(inputs)
        predictions = self.predict(rows)
        return [
            self.task.respond(
                {role: values[index] for role, values in rows.items()}, prediction, self.label_names, parameters or {}
            )
            for index, prediction in enumerate(predictions)
        ]

    def _forward_all(self, inputs: Iterable[Mapping[str, Any]], count: int) -> Iterable[np.ndarray]:
        """Logits of batches, in their order. Batches that are fewer than the cores get all of them, by turns."""
        import torch

        if self._cores < 2:
            return map(self._forward, inputs)
        if count < self._cores:
            # A thread that was started while a pool was being made may have one core.
            torch.set_num_threads(self._cores)
            return map(self._forward, inputs)
        return self._pool.map(self._forward, inputs)

    def _forward(self, encoded: Mapping[str, list[list[int]]]) -> np.ndarray:
        """Logits of one batch, float32, padded on the right."""
        import torch

        width = max(map(len, encoded["input_ids"]))
        inputs = {}
        for name in self.tokenizer.model_input_names:
            if name in encoded:
                fill = self.tokenizer.pad_token_id if name == "input_ids" else 0
                padded = np.full((len(encoded[name]), width), fill, dtype=np.int64)
                for row, values in zip(padded, encoded[name], strict=True):
                    row[: len(values)] = values
                inputs[name] = torch.from_numpy(padded).to(self.model.device)
        with torch.inference_mode():
            logits: np.ndarray = self.model(**inputs).logits.float().cpu().numpy()
        if not np.isfinite(logits).all():
            raise ModelError("the model gives numbers that are not finite: its training diverged, or it overflows")
        return logits


def _one_core_each(cores: int) -> ThreadPoolExecutor:
    """As many threads as cores, all started, that torch gives one core each.

    What one thread sets is torch's default for every thread that comes later, so it is put back.
    """
    import torch

    started = threading.Barrier(cores)

    def start() -> None:
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(cores)
    if cores > 1:
        for thread in [pool.submit(start) for _ in range(cores)]:
            thread.result()
        torch.set_num_threads(cores)
    return pool


def batches(lengths: Sequence[int], tokens_per_batch: int) -> Iterator[list[int]]:
    """Indices in batches of similar length.

    Longest first, so that running out of memory shows in the first batch and not in the last.

    Args:
        lengths: Tokens of each row.
        tokens_per_batch: Most padded tokens in a batch; a longer row gets a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[batch[0]] > tokens_per_batch:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
