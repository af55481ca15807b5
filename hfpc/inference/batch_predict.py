"""Predicting a whole source, a chunk at a time; interrupted, it goes on at the chunk it was in."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hfpc import manifest, storage, tasks
from hfpc.errors import ArgumentError, DataError
from hfpc.inference.predict_table import predict_table
from hfpc.inference.predictor import Predictor
from hfpc.manifest import Manifest, PredictionsRecord
from hfpc.progress import Reporter

if TYPE_CHECKING:
    import pyarrow as pa

    from hfpc.data.sources import Source
    from hfpc.inference.parts import Parts

CHUNK_ROWS = 4096
"""Rows of a part file: enough that batches of equal length fill up, and little to do again after a stop."""


@dataclass(frozen=True, kw_only=True)
class BatchPredictConfig:
    """What to predict and where to.

    Attributes:
        source: `sample:NAME`, a Hub id, or a URI or path of CSV, TSV, JSONL or Parquet.
        revision: Branch, tag or commit of a Hub data set.
        columns: Role to column name, for columns not named like their role.
        max_rows: Rows to predict from the start of the source; 0 predicts all.
        output_uri: Folder that the part files are also written to, and from which a run that was
            interrupted goes on; "" for none.
        extra: Rare settings of the reader: `format`, `encoding`, `delimiter`, `config`.
        trust_remote_code: Let the model's own Python code run, if it needs any. Off, because such
            code can do anything this process can.

    Raises:
        ArgumentError: A value cannot be used.
    """

    source: str
    revision: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    max_rows: int = 0
    output_uri: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.max_rows < 0:
            raise ArgumentError("max_rows", self.max_rows, "give a number of rows, or 0 for all")


@dataclass(frozen=True, kw_only=True)
class BatchPrediction:
    """What a batch prediction did.

    Attributes:
        metrics: `rows`, `rows_without_prediction`, `rows_found_done` (by an earlier, interrupted
            run), `rows_per_second` (of those predicted now: reading, predicting and writing them,
            without loading the model), and what the reader repaired.
    """

    metrics: dict[str, float]


def batch_predict(
    config: BatchPredictConfig, model: Path, out: Path, *, chunk_rows: int = CHUNK_ROWS
) -> BatchPrediction:
    """Predicts every row of a source. No row is dropped and their order is kept.

    Args:
        config: What to predict.
        model: A model folder.
        out: Folder to make: `part-00000.parquet` and so on, and `hfpc.json`. Role columns come
            under their role's name.
        chunk_rows: Rows of a part file. A run goes on only where an earlier one had the same.

    Raises:
        ArgumentError: The source or one of its columns is not there, or an argument cannot be used.
        DataError: The source cannot be read, or a column is of a type that cannot be predicted.
        ModelError: The model does not load, or needs code of its own that is not trusted.
    """
    from hfpc.data import sources
    from hfpc.inference.parts import Parts

    record = manifest.read(model, "model")
    assert record.model is not None
    *inputs, label = tasks.get(record.task).columns
    source = sources.read(
        config.source,
        roles=inputs,
        optional=[label],
        revision=config.revision,
        columns=config.columns,
        extra=config.extra,
    )
    with storage.publishing(out) as staging:
        parts = Parts(staging, config.output_uri, model=record.model.fingerprint)
        totals, seconds = _predict_all(config, source, model, parts, chunk_rows)
        if not totals["rows"]:
            raise DataError(f"{config.source} has no rows")
        predictions = PredictionsRecord(model=parts.model, split="", rows=totals["rows"], metrics={})
        Manifest(kind="predictions", task=record.task, predictions=predictions).write(staging)
        parts.finish()
    predicted = totals["rows"] - totals["rows_found_done"]
    rate = predicted / seconds if predicted else 0.0
    repairs = {name: float(count) for name, count in source.repairs.items() if count}
    return BatchPrediction(
        metrics={**{name: float(count) for name, count in totals.items()}, "rows_per_second": rate, **repairs}
    )


def _predict_all(
    config: BatchPredictConfig, source: "Source", model: Path, parts: "Parts", chunk_rows: int
) -> tuple[Counter[str], float]:
    """Makes every part; returns the totals and the seconds that new parts took, without loading the model."""
    totals = Counter({"rows": 0, "rows_without_prediction": 0, "rows_found_done": 0})
    reporter = Reporter("predicting rows", config.max_rows or None)
    predictor, seconds = None, 0.0
    started = time.perf_counter()
    for chunk in chunks((table for _, table in source.batches()), chunk_rows, config.max_rows):
        missing = parts.reuse(chunk)
        if missing is None:
            if predictor is None:
                loading = time.perf_counter()
                predictor = Predictor(model, trust_remote_code=config.trust_remote_code)
                started += time.perf_counter() - loading
            predicted, missing = predict_table(predictor, chunk)
            parts.add(chunk, predicted, missing)
            seconds += time.perf_counter() - started
        else:
            totals["rows_found_done"] += chunk.num_rows
        totals["rows"] += chunk.num_rows
        totals["rows_without_prediction"] += missing
        reporter.update(totals["rows"])
        started = time.perf_counter()  # The next chunk is read from here on.
    return totals, seconds


def chunks(tables: Iterator["pa.Table"], chunk_rows: int, max_rows: int = 0) -> Iterator["pa.Table"]:
    """The rows of tables, `chunk_rows` at a time.

    A chunk is shorter at the end, and where the next table has other columns or types (JSONL).

    Args:
        tables: Tables of any size.
        chunk_rows: Rows of a chunk.
        max_rows: Rows after which to stop; 0 for all.
    """
    import pyarrow as pa

    waiting: pa.Table | None = None
    left = max_rows or float("inf")
    for table in tables:
        table = table.slice(0, int(min(left, table.num_rows)))
        left -= table.num_rows
        if waiting is not None and waiting.schema != table.schema:
            if waiting.num_rows:
                yield waiting.combine_chunks()
            waiting = None
        waiting = table if waiting is None else pa.concat_tables([waiting, table])
        while waiting.num_rows >= chunk_rows:
            yield waiting.slice(0, chunk_rows).combine_chunks()
            waiting = waiting.slice(chunk_rows)
        if not left:
            break
    if waiting is not None and waiting.num_rows:
        yield waiting.combine_chunks()
