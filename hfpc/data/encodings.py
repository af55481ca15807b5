"""Bytes that are not what they should be: byte-order marks, other encodings, undecodable bytes."""

import codecs
import io
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hfpc.data.files import buffered
from hfpc.errors import ArgumentError

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_MARKS = (  # UTF-32 before UTF-16, whose mark it begins with
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def check(encoding: str) -> None:
    """Raises ArgumentError unless Python knows the encoding ("" is UTF-8)."""
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        fix = 'give an encoding that Python knows, e.g. {"encoding": "latin-1"}'
        raise ArgumentError("extra", {"encoding": encoding}, fix) from None


def as_utf8(stream: Any, encoding: str = "") -> tuple[io.BufferedReader, bool]:
    """The stream as UTF-8 without its byte-order mark.

    Bytes that are no UTF-8 are left as they are where the stream claims to be UTF-8: `repair`
    finds them, row by row.

    Args:
        stream: A binary stream.
        encoding: Its encoding; "" means UTF-8 unless a byte-order mark tells otherwise.

    Returns:
        The stream, and whether it was transcoded (undecodable bytes are U+FFFD then).
    """
    reader = buffered(stream)
    if not encoding:
        head = reader.peek(4)
        mark, encoding = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", "utf-8"))
        reader.read(len(mark))
    if codecs.lookup(encoding).name in ("utf-8", "ascii"):
        return reader, False
    return buffered(_Transcoded(reader, encoding)), True


class _Transcoded:
    """Reads another encoding as UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._ready = b""

    def read(self, size: int) -> bytes:
        while not self._ready:
            data = self._stream.read(size)
            self._ready = self._decoder.decode(data, final=not data).encode("utf-8", "replace")
            if not data:
                break
        ready, self._ready = self._ready[:size], self._ready[size:]
        return ready

    def close(self) -> None:
        self._stream.close()


def repair(table: pa.Table, transcoded: bool = False) -> tuple[pa.Table, int]:
    """Makes valid strings of all string columns; undecodable bytes become U+FFFD.

    Args:
        table: Columns of strings or, where nothing was checked yet, of bytes.
        transcoded: Whether undecodable bytes were replaced before.

    Returns:
        The table with string columns, and the number of rows that needed it.
    """
    bad_rows: set[int] = set()
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if transcoded:
            bad_rows.update(_rows_where(pc.match_substring(column.cast(pa.string()), REPLACEMENT)))
        try:
            column = column.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:
            values = column.cast(pa.binary()).to_pylist()
            texts = [None if value is None else value.decode("utf-8", "replace") for value in values]
            bad_rows.update(row for row, value in enumerate(values) if value is not None and not _is_utf8(value))
            column = pa.array(texts, pa.string())
        table = table.set_column(place, field.name, column)
    return table, len(bad_rows)


def _rows_where(mask: pa.ChunkedArray) -> list[int]:
    rows: list[int] = pc.indices_nonzero(mask).to_pylist()
    return rows


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
