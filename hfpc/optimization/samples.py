"""Rows of a data set as a model's inputs, for exporting and calibrating."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hfpc import manifest, tasks
from hfpc.inference.tokenizer import FastTokenizer

if TYPE_CHECKING:
    import pyarrow as pa


def draw(table: "pa.Table", count: int, seed: int) -> "pa.Table":
    """So many rows of a table, drawn with `seed`, in the table's order; all of them where it has no more."""
    if table.num_rows <= count:
        return table
    return table.take(np.sort(np.random.default_rng(seed).permutation(table.num_rows)[:count]))


def training_inputs(
    model: Path, dataset: Path, names: Iterable[str], *, count: int, seed: int
) -> list[dict[str, np.ndarray]]:
    """Inputs of rows of the training split.

    Each row is a batch of its own, so that no padding is among the numbers that are calibrated with.

    Args:
        model: A model folder, for its tokenizer.
        dataset: A data set folder.
        names: Inputs that the model takes.
        count: Rows to draw.
        seed: Seed of the drawing.

    Returns:
        For each row an int64 array of shape `(1, tokens)` by the name of the input.
    """
    import pyarrow.parquet as pq

    content = manifest.read(model, "model")
    assert content.model is not None
    task = tasks.get(content.task)
    table = draw(pq.read_table(dataset / "train"), count, seed)
    rows = {role: table[role].to_pylist() for role in task.columns}
    encoded = task.encode(rows, FastTokenizer(model), content.model.max_length)
    return [{name: np.array([encoded[name][row]], dtype=np.int64) for name in names} for row in range(table.num_rows)]
