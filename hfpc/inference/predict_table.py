"""Predicting the rows of an Arrow table, each of which keeps its place."""

from typing import TYPE_CHECKING

from hfpc.inference.predictor import Predictor

if TYPE_CHECKING:
    import pyarrow as pa


def predict_table(predictor: Predictor, table: "pa.Table") -> tuple["pa.Table", int]:
    """Predicts every row that can be predicted.

    Args:
        predictor: The model.
        table: Any rows; the task's input columns named by their role.

    Returns:
        The table with the task's output columns, null in rows that cannot be predicted (an empty
        text, a missing value), and the number of such rows.

    Raises:
        DataError: An input column is of a type that cannot be used at all.
    """
    import pyarrow as pa

    task = predictor.task
    roles = list(task.columns)[:-1]
    numbered = table.select(roles).append_column("row", pa.array(range(table.num_rows), pa.int64()))
    usable, _ = task.clean(numbered)
    rows = {role: usable[role].to_pylist() for role in roles}
    outputs = task.output_columns(predictor.predict(rows), predictor.label_names)
    places: list[int | None] = [None] * table.num_rows
    for place, row in enumerate(usable["row"].to_pylist()):
        places[row] = place
    return with_columns(table, outputs.take(pa.array(places, pa.int64()))), table.num_rows - usable.num_rows


def with_columns(table: "pa.Table", outputs: "pa.Table") -> "pa.Table":
    """Both tables side by side; a column of the first whose name the second has becomes `source_…`."""
    names = [f"source_{name}" if name in outputs.column_names else name for name in table.column_names]
    table = table.rename_columns(names)
    for name in outputs.column_names:
        table = table.append_column(name, outputs[name])
    return table
