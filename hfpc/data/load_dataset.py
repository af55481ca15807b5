"""Stage: rows from anywhere, cleaned and split.

Two passes. The first streams the source, cleans each block, and leaves the rows on disk and a
short record of each in an index. Duplicates, leaks and splits are settled on the index alone. The
second streams the rows to the split that the index names. Neither holds more than a few blocks.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hfpc import storage, tasks
from hfpc.data import splitting
from hfpc.data.files import BLOCK_BYTES
from hfpc.errors import ArgumentError, DataError
from hfpc.manifest import DatasetRecord, Manifest
from hfpc.progress import Reporter
from hfpc.redaction import redacted
from hfpc.tasks import Task

if TYPE_CHECKING:
    from hfpc.data.index import Index
    from hfpc.data.sources import Source
    from hfpc.data.staging import Staging

UNKNOWN_LABELS = "rows with labels unknown to train removed"


@dataclass(frozen=True, kw_only=True)
class LoadDatasetConfig:
    """What to read and how to split it.

    Attributes:
        source: `sample:tweets`, a Hub id, or a URI or path of CSV, TSV, JSONL or Parquet.
        task: Task name.
        revision: Branch, tag or commit of a Hub data set; "" means `main`.
        columns: Role to column name, for columns not named like their role.
        labels: Only rows with these labels are kept; empty keeps all. Text classification only.
        max_rows: Rows to keep after cleaning, stratified; 0 keeps all.
        validation_share: Share of rows for validation, where the source has no such split.
        test_share: Share of rows for the test, where the source has no such split.
        seed: Seed of the split and of `max_rows`.
        extra: `format`, `encoding`, `delimiter`, `config`.

    Raises:
        ArgumentError: A value cannot be used.
    """

    source: str
    task: str = "text-classification"
    revision: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Sequence[str] = ()
    max_rows: int = 0
    validation_share: float = 0.1
    test_share: float = 0.1
    seed: int = 42
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from hfpc.data import sources

        roles = list(tasks.get(self.task).columns)
        sources.check(self.source, roles, self.revision, self.columns, self.extra)
        if self.labels and self.task != "text-classification":
            raise ArgumentError("labels", list(self.labels), f"{self.task} has labels inside rows: leave it empty")
        if len(set(self.labels)) == 1:
            raise ArgumentError("labels", list(self.labels), "a classifier needs at least two labels")
        if self.max_rows < 0:
            raise ArgumentError("max_rows", self.max_rows, "give a number of rows, or 0 for all")
        splitting.check_shares(self.validation_share, self.test_share)


def load_dataset(config: LoadDatasetConfig, out: Path, *, block_bytes: int = BLOCK_BYTES) -> DatasetRecord:
    """Reads a source, cleans it, splits it and writes it as a data set folder.

    Args:
        config: What to read.
        out: The folder to make: `train/`, `validation/`, `test/` as Parquet, and `hfpc.json`. Columns
            are named by role; a split whose share is 0 is left out.
        block_bytes: Bytes read at once. The result does not depend on it.

    Returns:
        What was read, what was repaired or removed, and what was written.

    Raises:
        ArgumentError: The source, a column or a label does not exist.
        DataError: The rows cannot make a data set: none is usable, one label only, an empty split.
    """
    from hfpc.data import sources
    from hfpc.data.index import Index
    from hfpc.data.staging import Staging

    task = tasks.get(config.task)
    source = sources.read(
        config.source,
        roles=list(task.columns),
        revision=config.revision,
        columns=config.columns,
        extra=config.extra,
        block_bytes=block_bytes,
    )
    with tempfile.TemporaryDirectory(prefix="hfpc-load-") as name:
        folder = Path(name)
        index, staging = Index(folder, config.seed), Staging(folder)
        try:
            repairs = _stage(config, task, source, index, staging)
            repairs += index.remove_repeats()
            _draw(config, index)
            with storage.publishing(out) as made:
                record = _write(task, source, index, staging, repairs, made)
                Manifest(kind="dataset", task=task.name, dataset=record).write(made)
        finally:
            staging.close()
            index.close()
    return record


def _stage(config: LoadDatasetConfig, task: Task, source: "Source", index: "Index", staging: "Staging") -> Counter[str]:
    """The first pass: cleans every row, keeps it on disk and in the index. Returns what was repaired."""
    from hfpc.data.cleaning import Cleaner

    cleaner, label_role = Cleaner(task, config.labels), list(task.columns)[-1]
    progress, read = Reporter("reading rows"), 0
    for split, raw in source.batches():
        read += raw.num_rows
        table = cleaner.clean(raw)
        if table.num_rows:
            index.add(task.key(table), table[label_role], task.stratum(table), split or "train")
            staging.append(table)
        progress.update(read)
    cleaner.check_labels()
    repairs = source.repairs + cleaner.removed
    if not index.rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in repairs.items()) or "it is empty"
        raise DataError(f"no row of {config.source} can be used ({reasons}); are the columns right? {source.columns}")
    return repairs


def _draw(config: LoadDatasetConfig, index: "Index") -> None:
    """Settles which rows are kept and which leave train for a split the source does not have."""
    counts = index.counts()
    total = sum(counts.values())
    kept = splitting.apportion(counts, min(config.max_rows or total, total))
    carved = splitting.carve(
        {key: rows for key, rows in kept.items() if key[0] == "train"},
        0 if "validation" in index.splits else config.validation_share,
        0 if "test" in index.splits else config.test_share,
    )
    quotas = {}
    for key, rows in kept.items():
        validation, test = carved.get(key, (0, 0))
        quotas[key] = splitting.Quota(kept=rows, validation=validation, test=test)
    index.draw(quotas)
    _refuse_empty(config, index.splits, carved, kept)


def _refuse_empty(
    config: LoadDatasetConfig,
    ready: set[str],
    carved: Mapping[tuple[str, str], tuple[int, int]],
    kept: Mapping[tuple[str, str], int],
) -> None:
    """Raises DataError for a split that would have no rows."""
    rows = Counter[str]()
    for (split, _), count in kept.items():
        rows[split] += count
    held_out = {
        "validation": sum(validation for validation, _ in carved.values()),
        "test": sum(test for _, test in carved.values()),
    }
    rows["train"] -= sum(held_out.values())
    shares = {"validation": config.validation_share, "test": config.test_share}
    for split, share in shares.items():
        if split not in ready and share and not held_out[split]:
            raise DataError(
                f"the split {split!r} is empty: {rows['train']} rows are too few for {split}_share={share}; "
                f"give a larger share or more rows (max_rows={config.max_rows})"
            )
    for split in ready | {"train"}:
        if not rows[split]:
            raise DataError(
                f"the split {split!r} of {config.source} is empty after cleaning and removing rows that are in "
                "another split too; give other files, or a larger max_rows"
            )


def _write(
    task: Task, source: "Source", index: "Index", staging: "Staging", repairs: Counter[str], out: Path
) -> DatasetRecord:
    """The second pass: every row to its split."""
    from hfpc.data.writing import DatasetWriter

    writer, targets = DatasetWriter(task, out), index.targets()
    progress, done = Reporter("writing rows", index.rows), 0
    for table in staging.tables():
        writer.write(table, targets[done : done + table.num_rows])
        done += table.num_rows
        progress.update(done)
    repairs[UNKNOWN_LABELS] += writer.close()
    return DatasetRecord(
        source=redacted(source.location),
        revision=source.revision,
        licence=source.licence,
        columns=dict(source.columns),
        label_names=writer.label_names,
        rows=writer.rows,
        label_counts=writer.label_counts,
        repairs={reason: count for reason, count in repairs.items() if count},
        fingerprint=writer.fingerprint,
    )
