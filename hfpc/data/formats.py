"""Tables from files of rows, a block at a time: CSV, TSV, JSONL and Parquet.

What cannot be read is repaired or skipped, and counted. CSV and TSV columns are strings, since
their types would otherwise depend on where a block ends.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as pa_csv
from pyarrow import json as pa_json

from hfpc.data import encodings
from hfpc.data.files import BLOCK_BYTES, DataFile
from hfpc.errors import DataError

REPAIRED = "rows with undecodable bytes repaired"
MALFORMED = "malformed rows skipped"


def tables(
    file: DataFile,
    repairs: Counter[str],
    *,
    encoding: str = "",
    delimiter: str = "",
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[pa.Table]:
    """The rows of a file in its order.

    Args:
        file: The file.
        repairs: What was repaired or skipped is added here.
        encoding: Of CSV, TSV and JSONL; "" means UTF-8, or what a byte-order mark tells.
        delimiter: Of CSV; "" means a comma, or a tab for TSV.
        block_bytes: About how many bytes a table holds.

    Raises:
        DataError: The file is not of its format at all.
    """
    try:
        with file.open() as stream:
            if file.format == "parquet":
                yield from _parquet(stream, repairs, block_bytes)
            else:
                text, transcoded = encodings.as_utf8(stream, encoding)
                if file.format == "jsonl":
                    yield from _jsonl(text, repairs, block_bytes)
                else:
                    separator = delimiter or ("\t" if file.format == "tsv" else ",")
                    for table in _csv(text, separator, repairs, block_bytes):
                        table, repaired = encodings.repair(table, transcoded)
                        repairs[REPAIRED] += repaired
                        yield table
    except (pa.ArrowInvalid, EOFError, OSError) as error:
        raise DataError(f"{file.path} cannot be read as {file.format}: {_explain(error, block_bytes)}") from error


def _csv(stream: Any, delimiter: str, repairs: Counter[str], block_bytes: int) -> Iterator[pa.Table]:
    head = stream.peek(1 << 20).decode("utf-8", "replace")
    names = next(csv.reader(io.StringIO(head), delimiter=delimiter), [])
    if not names:
        raise pa.ArrowInvalid("it is empty")
    if len(set(names)) < len(names):
        raise pa.ArrowInvalid(f"two columns have the same name: {', '.join(names)}")

    def skip(row: Any) -> str:
        repairs[MALFORMED] += 1
        return "skip"

    reader = pa_csv.open_csv(
        stream,
        read_options=pa_csv.ReadOptions(block_size=block_bytes),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary()), check_utf8=False),
    )
    for batch in reader:
        yield pa.Table.from_batches([batch])


def _parquet(stream: Any, repairs: Counter[str], block_bytes: int) -> Iterator[pa.Table]:
    file = pq.ParquetFile(stream, pre_buffer=False)
    size = sum(file.metadata.row_group(index).total_byte_size for index in range(file.num_row_groups))
    rows = max(1, min(65_536, block_bytes * file.metadata.num_rows // max(1, size)))
    for batch in file.iter_batches(batch_size=rows):
        table, repaired = _valid_strings(pa.Table.from_batches([batch]))
        repairs[REPAIRED] += repaired
        yield table


def _valid_strings(table: pa.Table) -> tuple[pa.Table, int]:
    """Dictionaries and large strings as plain strings, with their bytes checked."""
    places = []
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
        kind = table.schema.field(place).type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            places.append(place)
    strings, repaired = encodings.repair(table.select(places))
    for index, place in enumerate(places):
        table = table.set_column(place, strings.schema.field(index).name, strings.column(index))
    return table, repaired


def _jsonl(stream: Any, repairs: Counter[str], block_bytes: int) -> Iterator[pa.Table]:
    for number, block in enumerate(_line_blocks(stream, block_bytes)):
        if number == 0 and block.lstrip().startswith(b"["):
            raise pa.ArrowInvalid("it is one JSON array; write one object a line, e.g. with jq -c '.[]'")
        try:
            block.decode("utf-8")
        except UnicodeDecodeError:
            block = _decodable_lines(block, repairs)
        if block.strip():
            yield _json_table(block, repairs)


def _line_blocks(stream: Any, block_bytes: int) -> Iterator[bytes]:
    """Whole lines, about `block_bytes` at a time."""
    while lines := stream.readlines(block_bytes):
        yield b"".join(lines)


def _decodable_lines(block: bytes, repairs: Counter[str]) -> bytes:
    lines = []
    for line in block.splitlines(keepends=True):
        text = line.decode("utf-8", "replace").encode()
        repairs[REPAIRED] += text != line
        lines.append(text)
    return b"".join(lines)


def _json_table(block: bytes, repairs: Counter[str]) -> pa.Table:
    options = pa_json.ReadOptions(block_size=len(block) + 1, use_threads=False)
    try:
        table = pa_json.read_json(io.BytesIO(block), options)
        dates = [field for field in table.schema if pa.types.is_timestamp(field.type)]
        if not dates:
            return table
        # Arrow takes a column of ISO dates for timestamps; a text stays a text.
        schema = pa.schema([pa.field(field.name, pa.string()) for field in dates])
        return pa_json.read_json(io.BytesIO(block), options, pa_json.ParseOptions(explicit_schema=schema))
    except pa.ArrowInvalid:
        return _json_table_of_objects(block, repairs)


def _json_table_of_objects(block: bytes, repairs: Counter[str]) -> pa.Table:
    """Line by line: skips what is no object; a column of mixed types becomes strings."""
    rows = []
    for line in block.splitlines():
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                rows.append(row)
            else:
                repairs[MALFORMED] += 1
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pa.table({name: _json_column(values) for name, values in columns.items()})


def _json_column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array(
            [
                value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                for value in values
            ],
            pa.string(),
        )


def _explain(error: Exception, block_bytes: int) -> str:
    text = str(error)
    if "straddling" in text:
        return f"a quote is never closed, or a row is larger than the {block_bytes:,} bytes read at once"
    return text
