"""Scores of rows that share a property, and the worst mistakes."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hfpc.errors import ArgumentError
from hfpc.evaluation.evaluation import Mistake, Slice
from hfpc.tasks import Rows, Scores, Task, Units

if TYPE_CHECKING:
    import pyarrow as pa

_QUANTILES = 5
_VALUES = 20
_MISTAKES = 25
_SHOWN = 500
_MISSING = "(missing)"


def check_columns(columns: Sequence[str], table: "pa.Table", task: Task) -> None:
    """Raises ArgumentError unless the table can be sliced by these columns."""
    import pyarrow.types as types

    for name in columns:
        if name not in table.column_names:
            others = [column for column in table.column_names if column not in task.columns]
            there = f"there are {', '.join(others)}" if others else "it has no columns beside the task's own"
            raise ArgumentError("slice_columns", name, f"the data set has no such column; {there}")
        if types.is_nested(table.schema.field(name).type):
            raise ArgumentError("slice_columns", name, f"it holds {table.schema.field(name).type}: name one of values")


def slices(task: Task, rows: Rows, scores: Scores, label_names: list[str], columns: "pa.Table") -> list[Slice]:
    """Slices by length in words, by label, and by each of `columns`."""
    found = [*_by_length(task, rows, scores.row_scores)]
    if scores.units is not None:
        found += _by_label(scores.units, scores.row_scores, label_names)
    for name in columns.column_names:
        found += by_column(name, columns[name], scores.row_scores)
    return found


def by_column(name: str, values: "pa.ChunkedArray", row_scores: np.ndarray) -> list[Slice]:
    """Slices by a column: numbers in five bins of equal share, else the 20 most frequent values."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    if types.is_integer(values.type) or types.is_floating(values.type) or types.is_decimal(values.type):
        numbers = pc.cast(values, "float64", safe=False).to_numpy()
        return _by_number(name, numbers, row_scores, "{}")
    return _by_value(name, ["" if value is None else str(value) for value in values.to_pylist()], row_scores)


def mistakes(task: Task, rows: Rows, units: Units, label_names: list[str]) -> list[Mistake]:
    """The most confident mistake of each row, the most confident rows first; at most 25."""
    predicted, confidence = units.probabilities.argmax(axis=1), units.probabilities.max(axis=1)
    wrong = np.flatnonzero((predicted != units.truth) & units.seen)
    found: dict[int, Mistake] = {}
    for unit in wrong[np.argsort(-confidence[wrong], kind="stable")]:
        row = int(units.rows[unit])
        if row not in found:
            number = int(unit - np.searchsorted(units.rows, row))
            text = task.show({role: values[row] for role, values in rows.items()}, number)
            found[row] = Mistake(
                text=text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…",
                truth=label_names[units.truth[unit]],
                predicted=label_names[predicted[unit]],
                confidence=float(confidence[unit]),
            )
        if len(found) == _MISTAKES:
            break
    return list(found.values())


def _by_length(task: Task, rows: Rows, row_scores: np.ndarray) -> list[Slice]:
    requests = [task.request({role: values[row] for role, values in rows.items()}) for row in range(len(row_scores))]
    words = np.array([len(str(request).split()) for request in requests], dtype=float)
    found = _by_number("length", words, row_scores, "{} words")
    return [dataclasses.replace(one, value="1 word") if one.value == "1 words" else one for one in found]


def _by_label(units: Units, row_scores: np.ndarray, label_names: list[str]) -> list[Slice]:
    found = []
    for index, label in enumerate(label_names):
        rows = np.unique(units.rows[units.truth == index])
        if len(rows):
            found.append(_slice("label", label, row_scores[rows]))
    return found


def _by_number(column: str, values: np.ndarray, row_scores: np.ndarray, text: str) -> list[Slice]:
    """Bins of about the same number of rows, named by the values in them."""
    known = ~np.isnan(values)
    found = []
    if known.any():
        shares = np.arange(1, _QUANTILES + 1) / _QUANTILES
        highest = np.unique(np.quantile(values[known], shares, method="inverted_cdf"))
        places = np.searchsorted(highest, values)
        for place in range(len(highest)):
            inside = known & (places == place)
            low, high = values[inside].min(), values[inside].max()
            name = f"{low:.6g}" if low == high else f"{low:.6g}-{high:.6g}"
            found.append(_slice(column, text.format(name), row_scores[inside]))
    if not known.all():
        found.append(_slice(column, _MISSING, row_scores[~known]))
    return found


def _by_value(column: str, values: list[str], row_scores: np.ndarray) -> list[Slice]:
    distinct, places, counts = np.unique(np.array(values, dtype=object), return_inverse=True, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:_VALUES]
    return [_slice(column, distinct[place] or _MISSING, row_scores[places == place]) for place in largest]


def _slice(column: str, value: str, row_scores: np.ndarray) -> Slice:
    return Slice(column=column, value=value, rows=len(row_scores), score=float(row_scores.mean()))
