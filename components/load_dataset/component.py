"""Component: rows from anywhere, cleaned and split."""

from typing import Dict, List

from kfp import dsl
from kfp.dsl import Dataset, Metrics, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def load_dataset(
    source: str,
    dataset: Output[Dataset],
    metrics: Output[Metrics],
    task: str = "text-classification",
    revision: str = "",
    columns: Dict[str, str] = {},
    labels: List[str] = [],
    max_rows: int = 0,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    seed: int = 42,
    extra: Dict[str, str] = {},
):
    """Reads a data set, cleans it and splits it into train, validation and test.

    Rows are read in a stream: memory does not grow with the source. Exact duplicates are removed,
    rows that occur in more than one split are kept in one only, bad bytes and unusable rows are
    repaired or removed, and each of these is counted in the data set's `hfpc.json`. Splits that
    the source already has are kept.

    Args:
        source: `sample:tweets`, a Hub id, or a URI or path (`gs://`, `s3://`, `abfs://`,
            `https://`, local) of CSV, TSV, JSONL or Parquet, plain or compressed: a file, a glob
            or a folder. Folders or files named train, validation (or dev, valid), test are splits.
        task: Task name, `text-classification` or `token-classification`.
        revision: Branch, tag or commit of a Hub data set. The commit SHA it means is recorded.
        columns: Role to column name, for columns not named like their role, e.g.
            `{"text": "tweet", "label": "class"}`.
        labels: Only rows with these labels are kept; empty keeps all. Text classification only.
        max_rows: Rows to keep after cleaning, drawn with `seed` and stratified; 0 keeps all.
        validation_share: Share of rows for validation, 0 to 1, where the source has no such split.
        test_share: Share of rows for the test, 0 to 1, where the source has no such split.
        seed: Seed of the split and of `max_rows`. The same seed and rows give the same splits.
        extra: Rare settings: `format` (csv, tsv, jsonl, parquet), `encoding`, `delimiter`,
            `config` (of a Hub data set).

    Returns:
        dataset: `train/`, `validation/` and `test/` as Parquet, and `hfpc.json`.
        metrics: Rows per split, and counts of what was repaired or removed.
    """
    from pathlib import Path

    from hfpc.data.load_dataset import LoadDatasetConfig, load_dataset

    config = LoadDatasetConfig(
        source=source,
        task=task,
        revision=revision,
        columns=columns,
        labels=labels,
        max_rows=max_rows,
        validation_share=validation_share,
        test_share=test_share,
        seed=seed,
        extra=extra,
    )
    record = load_dataset(config, Path(dataset.path))
    dataset.metadata.update(source=record.source, revision=record.revision, fingerprint=record.fingerprint)
    for name, count in {**record.rows, **record.repairs}.items():
        metrics.log_metric(name, count)
