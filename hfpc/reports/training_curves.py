"""Loss, learning rate and validation metrics over the steps of a training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import hfpc
from hfpc.reports.charts import LineChart, Point, Series, line_chart
from hfpc.reports.metric_text import metric_name
from hfpc.reports.page import duration, number, render

_PREFIX = "eval_"
_NOT_QUALITY = ("runtime", "per_second", "model_preparation_time")

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """One validation during training; `values` in the order of `Curves.metrics`, "—" where missing."""

    step: int
    epoch: float
    values: list[Any]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What a training's history shows.

    Attributes:
        charts: Loss, validation metrics, learning rate: those that were logged.
        metrics: Names of the validation metrics, as people read them.
        evaluations: The validations, in the order of steps.
        problems: Sentences on what went wrong, e.g. a loss that is no number.
    """

    charts: list[LineChart]
    metrics: list[str]
    evaluations: list[Evaluation]
    problems: list[str]


def training_curves(history: Sequence[Entry]) -> str:
    """The curves of a training as one self-contained HTML page.

    Args:
        history: `log_history` of transformers' Trainer: dictionaries with `step` and `epoch` and
            `loss` and `learning_rate`, or `eval_loss` and other validation metrics, or the summary
            with `train_runtime`.
    """
    return render("training_curves.html", curves=curves(history), lead=_lead(history), version=hfpc.__version__)


def curves(history: Sequence[Entry]) -> Curves:
    """Charts and numbers of a training's history."""
    entries = [entry for entry in history if "step" in entry]
    metrics = _metrics(entries)
    quality = [metric for metric in metrics if metric != f"{_PREFIX}loss"]
    charts = [
        line_chart("Loss", [_series(entries, "loss", "training"), _series(entries, "eval_loss", "validation", True)],
                   "Step", ""),
        line_chart("Validation metrics", [_series(entries, metric, _name(metric), True) for metric in quality],
                   "Step", ""),
        line_chart("Learning rate", [_series(entries, "learning_rate", "Learning rate")], "Step", ""),
    ]  # fmt: skip
    return Curves(
        charts=[chart for chart in charts if chart],
        metrics=[_name(metric) for metric in metrics],
        evaluations=[
            Evaluation(entry["step"], entry.get("epoch", math.nan), [entry.get(metric, "—") for metric in metrics])
            for entry in entries
            if any(metric in entry for metric in metrics)
        ],
        problems=_problems(entries),
    )


def _series(entries: Sequence[Entry], key: str, name: str, dots: bool = False) -> Series:
    points: list[Point] = [(entry["step"], entry[key]) for entry in entries if isinstance(entry.get(key), int | float)]
    return Series(name, points, dots)


def _metrics(entries: Sequence[Entry]) -> list[str]:
    """Keys of the validation metrics, in the order they first occur, loss first, speed left out."""
    found = dict.fromkeys(
        key
        for entry in entries
        for key, value in entry.items()
        if key.startswith(_PREFIX) and isinstance(value, int | float) and not key.endswith(_NOT_QUALITY)
    )
    return sorted(found, key=lambda key: key != f"{_PREFIX}loss")


def _name(metric: str) -> str:
    return metric_name(metric.removeprefix(_PREFIX))


def _problems(entries: Sequence[Entry]) -> list[str]:
    broken = [
        entry["step"]
        for entry in entries
        if isinstance(entry.get("loss"), int | float) and not math.isfinite(entry["loss"])
    ]
    if not broken:
        return []
    return [
        f"The training loss was not a finite number at {len(broken)} logged step(s), first at step {broken[0]}. "
        "A lower learning rate or fp32 usually helps."
    ]


def _lead(history: Sequence[Entry]) -> str:
    """Steps, epochs and time in a sentence."""
    steps = max((entry["step"] for entry in history if "step" in entry), default=0)
    if not steps:
        return "No step was logged."
    epochs = max((entry["epoch"] for entry in history if "epoch" in entry), default=0)
    runtime = next((entry["train_runtime"] for entry in history if "train_runtime" in entry), None)
    time = f" in {duration(runtime)}" if runtime else ""
    return f"{number(steps)} steps, {number(round(epochs, 2))} epochs{time}."
