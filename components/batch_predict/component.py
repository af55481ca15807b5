"""Component: predict a whole file."""

from typing import Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def batch_predict(
    model: Input[Model],
    source: str,
    predictions: Output[Dataset],
    metrics: Output[Metrics],
    revision: str = "",
    columns: Dict[str, str] = {},
    max_rows: int = 0,
    output_uri: str = "",
    extra: Dict[str, str] = {},
    trust_remote_code: bool = False,
):
    """Predicts every row of a source with a model; memory does not grow with the source.

    No row is dropped: one that cannot be predicted keeps its place, with an empty prediction.

    Args:
        model: A model from `finetune`.
        source: `sample:tweets`, a Hub id, or a URI or path of CSV, TSV, JSONL or Parquet, as
            `load_dataset` takes it.
        revision: Branch, tag or commit of a Hub data set.
        columns: Role to column name, for columns not named like their role.
        max_rows: Rows to predict from the start of the source; 0 predicts all.
        output_uri: Folder (`gs://`, `s3://`, a path) that the predictions are also written to, one
            Parquet file a chunk. Started again with the same arguments, chunks already there are
            not predicted again.
        extra: Rare settings, as of `load_dataset`.
        trust_remote_code: Let the model's own Python code run, if it needs any.

    Returns:
        predictions: The source's columns with `prediction`, `score` and more as Parquet, and
            `hfpc.json`.
        metrics: Rows predicted, rows without a prediction, and rows per second (reading, predicting
            and writing, without loading the model).
    """
    from pathlib import Path

    from hfpc.inference.batch_predict import BatchPredictConfig, batch_predict

    config = BatchPredictConfig(
        source=source,
        revision=revision,
        columns=columns,
        max_rows=max_rows,
        output_uri=output_uri,
        extra=extra,
        trust_remote_code=trust_remote_code,
    )
    result = batch_predict(config, Path(model.path), Path(predictions.path))
    for name, value in result.metrics.items():
        metrics.log_metric(name, value)
