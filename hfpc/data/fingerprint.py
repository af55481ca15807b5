"""SHA-256 of rows, whatever batches or files they come in.

Each column has two running digests, of its values and of their lengths, so that the place where one
batch ends and the next begins leaves no trace.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class RowDigest:
    """A digest that rows are added to, in their order."""

    def __init__(self) -> None:
        self._digests: dict[str, Any] = {}
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        """Adds the rows of a table; every table must have the same columns."""
        self._rows += table.num_rows
        for name, column in zip(table.column_names, table.columns, strict=True):
            for chunk in column.chunks:
                self._add(f"{name}:{chunk.type}", chunk)

    def hexdigest(self) -> str:
        """SHA-256 over column names, types, values and the number of rows."""
        parts = {path: digest.hexdigest() for path, digest in self._digests.items()}
        return hashlib.sha256(json.dumps([self._rows, parts], sort_keys=True).encode()).hexdigest()

    @staticmethod
    def combine(digests: "Mapping[str, RowDigest]") -> str:
        """SHA-256 over several digests and their names."""
        parts = {name: digest.hexdigest() for name, digest in digests.items()}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _add(self, path: str, array: pa.Array) -> None:
        kind = array.type
        if pa.types.is_null(kind):
            return
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            self._update(f"{path}/length", _numbers(pc.binary_length(array), -1))
            self._update(f"{path}/value", _bytes_of(array))
        elif pa.types.is_list(kind):
            self._update(f"{path}/length", _numbers(pc.list_value_length(array), -1))
            self._add(f"{path}/item", array.flatten())
        elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
            self._update(f"{path}/null", pc.is_null(array).cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes())
            self._update(f"{path}/value", _numbers(array.cast(pa.uint8()) if pa.types.is_boolean(kind) else array, 0))
        else:  # structs, dates, decimals: rare, so a plain way is fast enough
            for value in array.to_pylist():
                self._update(f"{path}/value", (json.dumps(value, sort_keys=True, default=str) + "\n").encode())

    def _update(self, path: str, data: bytes) -> None:
        self._digests.setdefault(path, hashlib.sha256()).update(data)


def _numbers(array: pa.Array, missing: int) -> bytes:
    """The numbers as little-endian bytes, `missing` for null."""
    values = pc.fill_null(array, pa.scalar(missing, array.type)).to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()


def _bytes_of(array: pa.Array) -> Any:
    """The bytes of all values, one after another."""
    filled = pc.fill_null(array.cast(pa.binary()), b"")
    offsets = np.frombuffer(filled.buffers()[1], np.int32)[filled.offset : filled.offset + len(filled) + 1]
    data = filled.buffers()[2]
    return memoryview(data)[offsets[0] : offsets[-1]] if data is not None and len(filled) else b""
