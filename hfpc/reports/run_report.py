"""One run of a pipeline, as one self-contained HTML page in the run's folder."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hfpc
from hfpc.reports.charts import ConfusionMatrix, LineChart, area, confusion_matrix, roc_chart
from hfpc.reports.markdown import markdown
from hfpc.reports.metric_text import is_bound, metric_name, metric_value
from hfpc.reports.page import render
from hfpc.reports.run_files import File, artifact_file, local_path, log_file, write_pages
from hfpc.reports.task_graph import task_graph
from hfpc.reports.training_curves import Curves, curves
from hfpc.runs import Run, Task

if TYPE_CHECKING:
    from markupsafe import Markup

_HEADLINE = ("entity_f1", "accuracy", "macro_f1", "mcc", "calibration_error", "latency_ms_p50", "rows_per_second")
"""Metrics shown at the top, the main one of its task first."""

REPORT_NAME = "report.html"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Measure:
    """A metric for reading: its name, its value, and its interval ("" if it has none)."""

    name: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """A task, ready to show; `left` and `width` place its bar on the run's time, in percent."""

    task: Task
    seconds: float | None
    left: float
    width: float
    error: str
    log: File | None
    measures: list[Measure]
    files: list[File]
    parameters: dict[str, str]
    outputs: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Confusion matrix and ROC that a task logged."""

    task: Task
    matrix: ConfusionMatrix | None
    roc: LineChart | None


def write_run_report(run: Run) -> Path:
    """Writes `report.html` into the run's folder, with the pages it links to, and returns its path."""
    write_pages(run)
    file = run.folder / REPORT_NAME
    file.write_text(run_report(run), encoding="utf-8")
    return file


def run_report(run: Run) -> str:
    """The report of a run: one HTML file without scripts that loads nothing.

    It is meant to lie in `run.folder`, beside the logs and artifacts it links to. Whatever a run
    that failed or is not over has not made yet is left out.

    Args:
        run: The run as it is recorded so far.
    """
    steps = [_step(run, task) for task in run.tasks]
    return render(
        "run_report.html",
        run=run,
        seconds=_seconds(run.started, run.ended),
        steps=steps,
        error=_ANSI.sub("", run.error).strip(),
        failed=[step for step in steps if step.task.state == "failed"],
        headline=_headline(run),
        decision=_decision(run),
        pages=[(step.task.display_name, file) for step in steps for file in step.files if file.href.endswith(".html")],
        graph=task_graph(run.tasks),
        classifications=list(_classifications(run)),
        curves=_curves(run),
        parameters={name: _text(value) for name, value in run.parameters.items()},
        card=_model_card(run),
        version=hfpc.__version__,
    )


def _step(run: Run, task: Task) -> Step:
    end = run.ended or max([run.started, *(at for one in run.tasks for at in (one.started, one.ended) if at)])
    span = max(end - run.started, 1e-9)
    started = run.started if task.started is None else task.started
    ended = task.ended or (end if task.state == "running" else started)
    left = min(100.0, max(0.0, 100 * (started - run.started) / span))
    return Step(
        task=task,
        seconds=_seconds(task.started, task.ended),
        left=left,
        width=min(100 - left, 100 * max(0.0, ended - started) / span),
        error=_ANSI.sub("", task.error).strip(),
        log=log_file(run, task),
        measures=_measures(_metrics(task)),
        files=[artifact_file(run, task, artifact) for artifact in task.artifacts if artifact.path],
        parameters={name: _text(value) for name, value in task.parameters.items()},
        outputs={name: _text(value) for name, value in task.outputs.items()},
    )


def _headline(run: Run) -> dict[str, Any] | None:
    """The most telling metrics: those of the last evaluation, else of the training."""
    for component, split in (("evaluate", "test"), ("finetune", "validation")):
        for task in reversed(run.tasks):
            metrics = _metrics(task)
            if task.component == component and metrics:
                named = {name.rpartition("/")[2]: value for name, value in metrics.items()}
                shown = {name: named[name] for name in _HEADLINE if name in named}
                bounds = {name: value for name, value in named.items() if is_bound(name, named)}
                measures = _measures({**shown, **bounds})
                return {"split": task.parameters.get("split") or split, "measures": measures}
    return None


def _decision(run: Run) -> dict[str, str] | None:
    """What `compare_models` decided, and why."""
    for task in reversed(run.tasks):
        if task.component == "compare_models" and task.outputs.get("decision"):
            return {"decision": str(task.outputs["decision"]), "reasons": str(task.outputs.get("reasons", ""))}
    return None


def _metrics(task: Task) -> dict[str, float]:
    """Every number of the task's `system.Metrics` artifacts."""
    return {
        name: value
        for artifact in task.artifacts
        if artifact.type == "system.Metrics"
        for name, value in artifact.metadata.items()
        if isinstance(value, int | float)
    }


def _measures(metrics: dict[str, float]) -> list[Measure]:
    measures = []
    for name, value in metrics.items():
        if is_bound(name, metrics):
            continue
        low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
        note = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        measures.append(Measure(metric_name(name), metric_value(name, value), note))
    return measures


def _classifications(run: Run) -> Iterator[Classification]:
    for task in run.tasks:
        for artifact in task.artifacts:
            if artifact.type == "system.ClassificationMetrics":
                labels, counts = _confusion(artifact.metadata)
                matrix = confusion_matrix(labels, counts)
                roc = _roc(artifact.metadata, labels, _metrics(task).get("roc_auc"))
                if matrix or roc:
                    yield Classification(task=task, matrix=matrix, roc=roc)


def _confusion(metadata: dict[str, Any]) -> tuple[list[str], list[list[float]]]:
    """Labels and counts, as kfp's `ClassificationMetrics` logs them."""
    logged = metadata.get("confusionMatrix") or {}
    labels = [str(spec.get("displayName", "")) for spec in logged.get("annotationSpecs", [])]
    return labels, [row.get("row", []) for row in logged.get("rows", [])]


def _roc(metadata: dict[str, Any], labels: list[str], auc: float | None) -> LineChart | None:
    """The logged curve; its area is computed from the logged points only where it was not measured."""
    points = metadata.get("confidenceMetrics") or []
    if not points:
        return None
    fpr = [float(point.get("falsePositiveRate", 0)) for point in points]
    tpr = [float(point.get("recall", 0)) for point in points]
    return roc_chart(fpr, tpr, labels[1] if len(labels) == 2 else "", area(fpr, tpr) if auc is None else auc)


def _curves(run: Run) -> Curves | None:
    """Curves of the first model whose folder has its training's history."""
    for folder in _model_folders(run):
        try:
            history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(history, list):
            return curves(history)
    return None


def _model_card(run: Run) -> "Markup | None":
    """The card of the last model that has one: it knows the most."""
    for folder in reversed(_model_folders(run)):
        try:
            return markdown((folder / "README.md").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return None


def _model_folders(run: Run) -> list[Path]:
    found = [
        local_path(run, artifact)
        for task in run.tasks
        for artifact in task.artifacts
        if artifact.type == "system.Model"
    ]
    return [folder for folder in found if folder is not None]


def _seconds(started: float | None, ended: float | None) -> float | None:
    return None if started is None or ended is None else max(0.0, ended - started)


def _text(value: Any) -> str:
    """A parameter as people write it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
