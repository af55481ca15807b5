"""What an evaluation found, as one self-contained HTML page."""

from dataclasses import dataclass

import hfpc
from hfpc.evaluation.evaluation import Evaluation, Slice
from hfpc.reports.charts import LineChart, calibration_chart, confusion_matrix, roc_chart
from hfpc.reports.metric_text import SPEED, is_bound, metric_name, metric_value
from hfpc.reports.page import render

_HEADLINE = ("macro_f1", "mcc", "calibration_error", "latency_ms_p50", "rows_per_second")
"""Metrics shown at the top, after the task's main one."""


@dataclass(frozen=True)
class Tile:
    """A metric for reading: its name, its value, and its interval ("" if it has none)."""

    name: str
    value: str
    note: str


def evaluation_report(evaluation: Evaluation) -> str:
    """The report of an evaluation: one HTML file without scripts that loads nothing.

    Args:
        evaluation: What was found. Parts that are empty are left out.
    """
    metrics = {name: value for name, value in evaluation.metrics.items() if not is_bound(name, evaluation.metrics)}
    first = [evaluation.main_metric, *(name for name in _HEADLINE if name != evaluation.main_metric)]
    return render(
        "evaluation_report.html",
        evaluation=evaluation,
        headline=[_tile(evaluation, name) for name in first if name in metrics],
        metrics=[_tile(evaluation, name) for name in metrics],
        speed=any(name in SPEED for name in metrics),
        matrix=confusion_matrix(evaluation.label_names, evaluation.confusion_matrix),
        charts=_charts(evaluation),
        slices=_by_column(evaluation.slices),
        version=hfpc.__version__,
    )


def _tile(evaluation: Evaluation, name: str) -> Tile:
    interval = evaluation.intervals.get(name)
    note = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
    return Tile(metric_name(name), metric_value(name, evaluation.metrics[name]), note)


def _charts(evaluation: Evaluation) -> list[LineChart]:
    charts = []
    if evaluation.roc:
        roc = evaluation.roc
        charts.append(roc_chart(roc.fpr, roc.tpr, roc.label, roc.auc))
    if evaluation.calibration:
        charts.append(calibration_chart(evaluation.calibration, evaluation.metrics.get("calibration_error")))
    return charts


def _by_column(slices: list[Slice]) -> dict[str, list[Slice]]:
    columns: dict[str, list[Slice]] = {}
    for one in slices:
        columns.setdefault(one.column, []).append(one)
    return columns
