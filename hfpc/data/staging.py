"""Cleaned rows on disk between the two passes over a data set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from hfpc.errors import DataError


class Staging:
    """Tables in their order, as Arrow streams.

    Blocks of one source may differ in their columns and types (a column that is empty in the first
    million lines of a JSONL file). Each stream holds what fits its schema; reading gives every
    table the schema that holds them all.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._streams: list[Path] = []
        self._writer: Any = None
        self.schema = pa.schema([])

    def append(self, table: pa.Table) -> None:
        """Writes the next rows.

        Raises:
            DataError: A column holds lists or objects here and something else before.
        """
        schema = merged(self.schema, table.schema)
        if self._writer is None or schema != self.schema:
            self.close()
            self.schema = schema
            self._streams.append(self._folder / f"{len(self._streams):05d}.arrow")
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_stream(pa.OSFile(str(self._streams[-1]), "wb"), schema, options=options)
        self._writer.write_table(conformed(table, schema))

    def close(self) -> None:
        """Ends writing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def tables(self) -> Iterator[pa.Table]:
        """All rows in their order, in tables as large as those appended."""
        self.close()
        for path in self._streams:
            with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    yield conformed(pa.Table.from_batches([batch]), self.schema)


def merged(first: pa.Schema, second: pa.Schema) -> pa.Schema:
    """The schema that holds the columns of both; numbers and strings together become strings."""
    fields = {field.name: pa.field(field.name, field.type) for field in first}
    for field in second:
        known = fields.get(field.name)
        fields[field.name] = pa.field(field.name, field.type if known is None else _wider(known, field))
    return pa.schema(list(fields.values()))


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns and types of `schema`; columns it lacks are null."""
    return pa.Table.from_arrays([_column(table, field) for field in schema], schema=schema)


def _wider(first: pa.Field, second: pa.Field) -> pa.DataType:
    second = pa.field(first.name, second.type)
    try:
        return pa.unify_schemas([pa.schema([first]), pa.schema([second])], promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        if pa.types.is_nested(first.type) or pa.types.is_nested(second.type):
            raise DataError(
                f"the column {first.name!r} holds {first.type} in some rows and {second.type} in others"
            ) from None
        return pa.string()


def _column(table: pa.Table, field: pa.Field) -> Any:
    if field.name not in table.column_names:
        return pa.nulls(table.num_rows, field.type)
    column = table[field.name]
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return pa.array(column.to_pylist(), field.type)
