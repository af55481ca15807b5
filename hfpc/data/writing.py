"""The Parquet files of a data set, with what its record says of them."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hfpc.data.cleaning import only_known
from hfpc.data.files import SPLITS
from hfpc.data.fingerprint import RowDigest
from hfpc.data.index import CODES
from hfpc.errors import DataError
from hfpc.tasks import Task

ROW_GROUP_ROWS = 20_000
ROW_GROUP_BYTES = 16 << 20
PART_ROWS = 1_000_000
PART_BYTES = 256 << 20


class DatasetWriter:
    """Writes rows to `train/`, `validation/` and `test/`.

    Args:
        task: The task whose rows they are.
        folder: Where the splits' folders are made.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        self._task = task
        self._folder = folder
        self._splits: dict[str, SplitWriter] = {}

    def write(self, table: pa.Table, targets: np.ndarray) -> None:
        """Adds each row to the split whose code is its target."""
        for split in SPLITS:
            chosen = targets == CODES[split]
            if chosen.any():
                writer = self._splits.setdefault(split, SplitWriter(self._task, self._folder / split))
                writer.write(table.filter(pa.array(chosen)))

    def close(self) -> int:
        """Writes what is left; removes rows of other splits with labels that train lacks, and counts them.

        Raises:
            DataError: There is only one label, or nothing is left of a split.
        """
        for writer in self._splits.values():
            writer.close()
        names = self.label_names
        if len(names) == 1:
            raise DataError(f"all training rows are labelled {names[0]!r}: a classifier needs at least two labels")
        removed = 0
        for split, writer in self._splits.items():
            if names and not set(writer.label_counts) <= set(names):
                removed += self._remove_unknown(split, names)
        return removed

    @property
    def label_names(self) -> list[str]:
        """The labels of train, in the order of their ids."""
        return self._task.label_names(list(self._splits["train"].label_counts))

    @property
    def rows(self) -> dict[str, int]:
        """Rows of each split."""
        return {split: self._splits[split].rows for split in SPLITS if split in self._splits}

    @property
    def label_counts(self) -> dict[str, dict[str, int]]:
        """Units of each label in each split, in the order of their ids."""
        return {
            split: {name: self._splits[split].label_counts[name] for name in self.label_names} for split in self.rows
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all rows, split after split."""
        return RowDigest.combine({split: self._splits[split].digest for split in self.rows})

    def _remove_unknown(self, split: str, names: list[str]) -> int:
        """Writes a split again without the rows that have an unknown label."""
        folder, staging = self._folder / split, self._folder / f"{split}-known"
        label_role = list(self._task.columns)[-1]
        before, writer = self._splits[split], SplitWriter(self._task, staging)
        for part in sorted(folder.glob("*.parquet")):
            for batch in pq.ParquetFile(part).iter_batches(ROW_GROUP_ROWS):
                writer.write(only_known(pa.Table.from_batches([batch]), label_role, names))
        writer.close()
        if not writer.rows:
            labels = ", ".join(map(repr, before.label_counts))
            raise DataError(
                f"no row of the split {split!r} has a label that train has: it has {labels}, "
                f"train has {', '.join(map(repr, names))}"
            )
        shutil.rmtree(folder)
        staging.rename(folder)
        self._splits[split] = writer
        return before.rows - writer.rows


class SplitWriter:
    """Writes one split as Parquet files of several row groups.

    Args:
        task: The task whose rows they are.
        folder: Made by the first write.

    Attributes:
        rows: Rows written.
        label_counts: Units of each label.
        digest: Of the rows.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        self._task = task
        self._folder = folder
        self.rows = 0
        self.label_counts: Counter[str] = Counter()
        self.digest = RowDigest()
        self._pending: list[pa.Table] = []
        self._writer: Any = None
        self._parts = 0
        self._part_rows = 0
        self._part_bytes = 0

    def write(self, table: pa.Table) -> None:
        """Adds rows."""
        self.rows += table.num_rows
        self.label_counts.update(self._task.label_counts(table))
        self.digest.add(table)
        self._pending.append(table)
        rows, size = sum(map(len, self._pending)), sum(item.nbytes for item in self._pending)
        if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Writes what is left."""
        self._flush()
        self._end_part()

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending).combine_chunks()
        self._pending = []
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"part-{self._parts:05d}.parquet"
            self._writer = pq.ParquetWriter(path, table.schema, compression="zstd")
            self._parts += 1
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._part_rows += table.num_rows
        self._part_bytes += table.nbytes
        if self._part_rows >= PART_ROWS or self._part_bytes >= PART_BYTES:
            self._end_part()

    def _end_part(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._part_rows, self._part_bytes = None, 0, 0
