"""The rows that models are measured on, and a model's predictions for them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hfpc import manifest
from hfpc.errors import ArgumentError, DataError
from hfpc.inference.predictor import Predictor
from hfpc.manifest import DatasetRecord, Manifest
from hfpc.progress import Reporter
from hfpc.tasks import Prediction, Rows, Task

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class HeldOut:
    """One split of a data set, read into memory.

    Attributes:
        manifest: The data set's `hfpc.json`.
        record: The data set's record in it.
        split: Its name.
        table: All its columns.
    """

    manifest: Manifest
    record: DatasetRecord
    split: str
    table: "pa.Table"

    def rows(self, task: Task) -> Rows:
        """The task's columns."""
        return {role: self.table[role].to_pylist() for role in task.columns}


def read(dataset: Path, split: str) -> HeldOut:
    """Reads a split of a data set.

    Raises:
        ArgumentError: The data set has no such split, or no rows in it.
        DataError: `dataset` is not a data set of this library.
    """
    import pyarrow.parquet as pq

    content = manifest.read(dataset, "dataset")
    assert content.dataset is not None
    if not content.dataset.rows.get(split):
        there = ", ".join(f"{name} ({rows} rows)" for name, rows in content.dataset.rows.items())
        raise ArgumentError("split", split, f"the data set has no rows in it; its splits are {there}")
    return HeldOut(content, content.dataset, split, pq.read_table(dataset / split))


def mismatch(model: Manifest, held_out: HeldOut) -> str:
    """Why a model cannot be measured on these rows, as a sentence; "" if it can."""
    assert model.dataset is not None
    if model.task != held_out.manifest.task:
        return f"the model is for {model.task}, the data set for {held_out.manifest.task}"
    unknown = [name for name in held_out.record.label_names if name not in model.dataset.label_names]
    if unknown:
        known = ", ".join(model.dataset.label_names)
        return f"the data set has labels the model does not know: {', '.join(unknown)}; it knows {known}"
    return ""


def refuse_mismatch(model: Manifest, held_out: HeldOut) -> None:
    """Raises DataError where a model cannot be measured on these rows."""
    if reason := mismatch(model, held_out):
        raise DataError(reason)


def predict(predictor: Predictor, rows: Rows) -> tuple[list[Prediction], float]:
    """Predictions for all rows, and the seconds they took."""
    count = len(next(iter(rows.values())))
    reporter = Reporter("predicting rows", count)
    predictions: list[Prediction] = []
    started = time.perf_counter()
    for start in range(0, count, _CHUNK_ROWS):
        chunk: dict[str, Sequence[object]] = {
            role: values[start : start + _CHUNK_ROWS] for role, values in rows.items()
        }
        predictions += predictor.predict(chunk)
        reporter.update(len(predictions))
    return predictions, time.perf_counter() - started
