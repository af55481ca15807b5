"""Component: measure a model on held-out rows."""

from typing import List

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def evaluate(
    model: Input[Model],
    dataset: Input[Dataset],
    predictions: Output[Dataset],
    metrics: Output[Metrics],
    classification_metrics: Output[ClassificationMetrics],
    report: Output[HTML],
    split: str = "test",
    slice_columns: List[str] = [],
    bootstrap_samples: int = 1000,
    seed: int = 42,
    trust_remote_code: bool = False,
):
    """Measures a model on one split: quality with confidence intervals, calibration and speed.

    Args:
        model: A model from `finetune`.
        dataset: The data set it was made from, or another of the same task and labels.
        split: `train`, `validation` or `test`.
        slice_columns: Columns of the data set whose values are reported apart. Length and label
            always are.
        bootstrap_samples: Resamples of the rows behind each 95 % confidence interval.
        seed: Seed of the resampling.
        trust_remote_code: Let the model's own Python code run, if it needs any.

    Returns:
        predictions: Each row's prediction and score as Parquet, and `hfpc.json`.
        metrics: Quality, interval bounds, calibration error, latency (ms) and rows per second.
        classification_metrics: Confusion matrix (of up to 100 labels) and ROC curve.
        report: The same for reading, with the worst mistakes and the slices.
    """
    from pathlib import Path

    from hfpc.evaluation.evaluate import EvaluateConfig, evaluate

    config = EvaluateConfig(
        split=split,
        slice_columns=slice_columns,
        bootstrap_samples=bootstrap_samples,
        seed=seed,
        trust_remote_code=trust_remote_code,
    )
    evaluation = evaluate(config, Path(model.path), Path(dataset.path), Path(predictions.path), Path(report.path))
    for name, value in evaluation.metrics.items():
        metrics.log_metric(name, value)
    # Metadata has little room, and more labels nobody could read there; the report has them all.
    if 0 < len(evaluation.confusion_matrix) <= 100:
        classification_metrics.log_confusion_matrix(evaluation.label_names, evaluation.confusion_matrix)
    if evaluation.roc:
        classification_metrics.log_roc_curve(evaluation.roc.fpr, evaluation.roc.tpr, evaluation.roc.thresholds)
