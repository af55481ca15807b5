"""The token ids of one split, on disk."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pa_dataset

from hfpc.tasks import Task

BATCH_ROWS = 1000
BATCH_BYTES = 1 << 20
"""Limits of a batch: enough rows to keep every core busy, few enough of long ones to fit in memory."""

GOLDEN_ROWS = 16
MOST_GOLDEN_ROWS = 64

# Token ids need 32 bits, masks 8: a third of the memory that the trainer maps otherwise.
_TYPES = {
    "input_ids": pa.list_(pa.int32()),
    "attention_mask": pa.list_(pa.int8()),
    "token_type_ids": pa.list_(pa.int8()),
    "length": pa.int32(),
}


class Tokenizing:
    """Tokenizes one split, then saves it cut to a length.

    Args:
        task: The task whose rows they are.
        tokenizer: A fast tokenizer.
        label_names: Label names in id order.
        folder: Parquet files of the split.
        staging: Where its token ids are kept at full length; made by `run`.

    Attributes:
        lengths: Tokens of each row at full length; complete after `run`.
    """

    def __init__(self, task: Task, tokenizer: Any, label_names: Sequence[str], folder: Path, staging: Path) -> None:
        self.task = task
        self.lengths = np.zeros(0, np.int32)
        self._tokenizer = tokenizer
        self._label_names = label_names
        self._folder = folder
        self._staging = staging
        # Rows are tokenized at full length on purpose; without this the tokenizer warns of it.
        tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True

    def run(self) -> Iterator[int]:
        """Tokenizes all rows at full length; yields the rows of each batch."""
        self._staging.mkdir()
        counts = []
        with _ArrowFile(self._staging / "full.arrow") as file:
            for rows in self.rows():
                table = self._table(rows, None)
                file.write(table)
                counts.append(table["length"].to_numpy())
                yield table.num_rows
        self.lengths = np.concatenate(counts)

    def save(self, folder: Path, max_length: int) -> None:
        """Saves the split for `datasets.load_from_disk`, its rows cut to `max_length` tokens."""
        import datasets

        file = self._staging / "full.arrow"
        if (self.lengths > max_length).any():
            file = self._cut(max_length)
        datasets.disable_progress_bars()
        datasets.Dataset.from_file(str(file)).save_to_disk(folder)

    def rows(self) -> Iterator[pa.Table]:
        """The rows of the split in their order, in batches that are the same every time."""
        files = sorted(str(file) for file in self._folder.glob("*.parquet"))
        for batch in pa_dataset.dataset(files, format="parquet").to_batches(
            columns=list(self.task.columns), batch_size=BATCH_ROWS, batch_readahead=2, fragment_readahead=1
        ):
            yield from _small(pa.Table.from_batches([batch]))

    def _cut(self, max_length: int) -> Path:
        path = self._staging / "cut.arrow"
        with _ArrowFile(path) as file, pa.OSFile(str(self._staging / "full.arrow"), "rb") as stream:
            for rows, batch in zip(self.rows(), pa.ipc.open_stream(stream), strict=True):
                full = pa.Table.from_batches([batch])
                longer = np.flatnonzero(full["length"].to_numpy() > max_length)
                if len(longer):
                    cut = self._table(rows.take(longer), max_length).cast(full.schema)
                    order = np.arange(full.num_rows)
                    order[longer] = full.num_rows + np.arange(len(longer))
                    full = pa.concat_tables([full, cut]).take(order)
                file.write(full)
        return path

    def _table(self, rows: pa.Table, max_length: int | None) -> pa.Table:
        values = rows.to_pydict()
        encoded = self.task.encode(values, self._tokenizer, max_length)
        columns: dict[str, Any] = {name: encoded[name] for name in self._tokenizer.model_input_names if name in encoded}
        columns["labels"] = self.task.encode_labels(values, encoded, self._label_names)
        columns["length"] = [len(ids) for ids in encoded["input_ids"]]
        return pa.table({name: pa.array(column, _TYPES.get(name)) for name, column in columns.items()})


class _ArrowFile:
    """An Arrow stream whose schema the first table gives; each table is one batch."""

    def __init__(self, path: Path) -> None:
        self._file = pa.OSFile(str(path), "wb")
        self._writer: Any = None

    def __enter__(self) -> "_ArrowFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        self._file.close()

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._file, table.schema)
        self._writer.write_table(table.combine_chunks())


def pick_golden(split: Tokenizing) -> list[Mapping[str, Any]]:
    """About 16 rows that differ: the first of each label, the shortest, the longest, others evenly spread."""
    chosen = _first_of_each_label(split)[: MOST_GOLDEN_ROWS - 2]
    chosen += [int(split.lengths.argmin()), int(split.lengths.argmax())]
    places = dict.fromkeys(chosen)
    for place in np.linspace(0, len(split.lengths) - 1, GOLDEN_ROWS).astype(int).tolist():
        if len(places) < GOLDEN_ROWS:
            places[place] = None
    found, start = [], 0
    for table in split.rows():
        inside = [place - start for place in sorted(places) if start <= place < start + table.num_rows]
        found += table.take(pa.array(inside, pa.int64())).to_pylist()
        start += table.num_rows
    return found


def _first_of_each_label(split: Tokenizing) -> list[int]:
    """The place of the first row that carries a label, for each label in turn."""
    first: dict[str, int] = {}
    start = 0
    for table in split.rows():
        for label in split.task.label_counts(table):
            if label not in first:
                one_by_one = (place for place in range(table.num_rows) if label in _labels(split.task, table, place))
                first[label] = start + next(one_by_one)
        start += table.num_rows
    return list(first.values())


def _labels(task: Task, table: pa.Table, place: int) -> dict[str, int]:
    return task.label_counts(table.slice(place, 1))


def _small(table: pa.Table) -> Iterator[pa.Table]:
    """The table in pieces of at most about `BATCH_BYTES`."""
    pieces = max(1, -(-table.nbytes // BATCH_BYTES))
    rows = max(1, -(-table.num_rows // pieces))
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)
