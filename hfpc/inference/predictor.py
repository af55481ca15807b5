"""A model folder, loaded and ready to predict rows in length-sorted batches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hfpc import tasks
from hfpc.errors import ModelError
from hfpc.inference import backends
from hfpc.inference.cores import cores
from hfpc.inference.plain_model import manifest_of
from hfpc.tasks import Prediction, Rows

TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 16_384}
"""Padded tokens of one forward pass: what still fits into a core's cache, and what fills a GPU."""


class Predictor:
    """A fine-tuned model, of this library or as Transformers saves it, ready to predict.

    On a CPU each core runs a batch of its own. Cores that share a batch wait for each other at every
    layer, which costs some speed always, and half of it where other processes use the machine too.

    One thread may call `predict` or `respond` at a time; `encode` and `forward` may run in several.

    Args:
        folder: A model folder, with `hfpc.json` or plain (see `hfpc.inference.plain_model`).
        device: A torch device, or "auto" for the first GPU there is, else the CPU. A model that
            `optimize` exported runs on the CPU.
        tokens_per_batch: Padded tokens of one forward pass; None takes what suits the device.
        trust_remote_code: Let the model's own Python code run, if it needs any. The caller says so,
            not the folder: that may come from anywhere.

    Raises:
        ArgumentError: It is for a task whose answers are not predicted but generated.
        DataError: `folder` is not a model folder.
        MissingExtraError: What `optimize` exported it for is not installed.
        ModelError: Its weights do not load, or are not safetensors, or it needs code of its own
            that is not trusted.

    Attributes:
        manifest: The folder's `hfpc.json`, or what takes its place.
        task: The model's task.
        label_names: Class names by id.
        max_length: Tokens a row is cut to.
        backend: What computes the logits.
        workers: Batches that run at once.
        tokens_per_batch: Padded tokens of one forward pass.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "auto",
        tokens_per_batch: int | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.manifest = manifest_of(folder)
        self.task = tasks.get(self.manifest.task)
        assert self.manifest.model is not None and self.manifest.dataset is not None
        self.label_names = self.manifest.dataset.label_names
        self.max_length = self.manifest.model.max_length
        own_code = self.manifest.model.trust_remote_code
        if own_code and not trust_remote_code:
            raise ModelError(
                f"{folder} needs Python code of its own, which could do anything this process can: "
                "where you trust it, give trust_remote_code=True (such a model cannot be deployed or served yet)"
            )
        self.backend = backends.load(folder, self.manifest, self.task, device=device, trust_remote_code=own_code)
        kind = self.backend.device
        self.tokens_per_batch = tokens_per_batch or TOKENS_PER_BATCH.get(kind, TOKENS_PER_BATCH["cuda"])
        self.workers = cores() if kind == "cpu" else 1
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="predict")

    def predict(self, rows: Rows) -> list[Prediction]:
        """Predictions for rows, in their order.

        Args:
            rows: Role to values, as the task's `columns` name them; the label role is not needed.
        """
        encoded = self.encode(rows)
        predictions: list[Prediction] = [None] * len(encoded)
        planned = list(batches([len(row["input_ids"]) for row in encoded], self.tokens_per_batch))
        inputs = ([encoded[index] for index in batch] for batch in planned)
        for batch, logits in zip(planned, self._forward_all(inputs, len(planned)), strict=True):
            for index, row_logits in zip(batch, logits, strict=True):
                predictions[index] = self.task.decode(row_logits, encoded[index])
        return predictions

    def respond(self, inputs: Sequence[Any], parameters: Mapping[str, Any] | None = None) -> list[Any]:
        """A response for each input of a request, in the shape the Hub's task specification gives.

        Raises:
            ArgumentError: An input or a parameter cannot be used.
        """
        rows = self.task.parse(inputs)
        return self.responses(rows, self.predict(rows), parameters or {})

    def responses(self, rows: Rows, predictions: Sequence[Prediction], parameters: Mapping[str, Any]) -> list[Any]:
        """A response for each row that `Task.parse` gave, from its prediction.

        Raises:
            ArgumentError: A parameter cannot be used.
        """
        return [
            self.task.respond(
                {role: values[index] for role, values in rows.items()}, prediction, self.label_names, parameters
            )
            for index, prediction in enumerate(predictions)
        ]

    def encode(self, rows: Rows) -> list[dict[str, Any]]:
        """Each row as `Task.encode` gives it: `input_ids` and more."""
        if not any(len(values) for values in rows.values()):
            return []
        encoded = self.task.encode(rows, self.backend.tokenizer, self.max_length)
        return [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]

    def forward(self, rows: Sequence[Mapping[str, Any]], threads: int = 1) -> np.ndarray:
        """Logits of one batch of encoded rows, float32, in their order and with their padding.

        Args:
            rows: Rows from `encode`, of similar length.
            threads: Cores to use, where the backend can choose.

        Raises:
            ModelError: The model gives numbers that are not finite.
        """
        width = max(len(row["input_ids"]) for row in rows)
        inputs = {}
        for name in self.backend.input_names:
            fill = self.backend.tokenizer.pad_token_id if name == "input_ids" else 0
            padded = np.full((len(rows), width), fill, dtype=np.int64)
            for line, row in zip(padded, rows, strict=True):
                line[: len(row[name])] = row[name]
            inputs[name] = padded
        logits = self.backend.logits(inputs, threads=threads)
        if not np.isfinite(logits).all():
            raise ModelError("the model gives numbers that are not finite: its training diverged, or it overflows")
        return logits

    def _forward_all(self, inputs: Iterable[list[dict[str, Any]]], count: int) -> Iterable[np.ndarray]:
        """Logits of batches, in their order. Batches that are fewer than the cores get all of them, by turns."""
        if count < self.workers:
            return (self.forward(rows, threads=self.workers) for rows in inputs)
        return self._pool.map(self.forward, inputs)


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
