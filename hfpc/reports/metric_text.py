"""Names and units of metrics, as people read them."""

from hfpc.reports.page import number

_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "mcc": "Matthews correlation",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
    "calibration_error": "Calibration error",
    "latency_ms_p50": "Latency, median",
    "latency_ms_p95": "Latency, 95th percentile",
    "rows_per_second": "Rows per second",
    "entity_f1": "Entity F1",
    "entity_precision": "Entity precision",
    "entity_recall": "Entity recall",
    "roc_auc": "ROC AUC",
    "p_value": "p-value",
}
SPEED = ("latency_ms_p50", "latency_ms_p95", "rows_per_second")
"""Metrics of speed; all others are of quality."""


def metric_name(metric: str) -> str:
    """`macro_f1` as `Macro F1`; unknown ones with spaces for underscores."""
    known = _NAMES.get(metric)
    return known or (metric[:1].upper() + metric[1:]).replace("_", " ")


def metric_value(metric: str, value: float) -> str:
    """The value with its unit; quality with three decimals."""
    if "_ms" in metric:
        return f"{value:,.1f} ms"
    if metric == "rows_per_second":
        return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
    if metric in _NAMES and abs(value) <= 1:
        return f"{value:.3f}"
    return number(value)


def is_bound(metric: str, metrics: dict[str, float]) -> bool:
    """Whether a metric is the end of another's confidence interval (`accuracy_low`)."""
    name, _, end = metric.rpartition("_")
    return end in ("low", "high") and name in metrics
