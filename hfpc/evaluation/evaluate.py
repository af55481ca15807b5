"""Measuring a model on rows it was not trained on."""

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfpc import manifest, metrics, storage, tasks
from hfpc.errors import ArgumentError
from hfpc.evaluation import bootstrap, curves, held_out, slices
from hfpc.evaluation.evaluation import Evaluation, LabelScore
from hfpc.evaluation.held_out import HeldOut
from hfpc.inference.predictor import Predictor
from hfpc.manifest import Manifest, PredictionsRecord
from hfpc.tasks import Prediction, Rows, Scores, Units

PREDICTIONS = "predictions.parquet"
EVALUATION = "evaluation.json"
ROW_SCORE = "row_score"
MAIN_SUMS = "main_sums"
NOT_SEEN = "words_not_seen"
"""Metric: words beyond the length the model takes. It is there only where there are such words."""

_SPLITS = ("train", "validation", "test")
_LEAST_SAMPLES = 100
_REQUESTS = 50
_WARM_UP = 5


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How to measure a model.

    Attributes:
        split: `train`, `validation` or `test`.
        slice_columns: Columns whose values are reported apart.
        bootstrap_samples: Resamples behind each 95 % interval; 1,000 settle its ends to about a
            tenth of its width.
        seed: Seed of the resampling.
        trust_remote_code: Let the model's own Python code run, if it needs any. Off, because such
            code can do anything this process can.

    Raises:
        ArgumentError: A value cannot be used.
    """

    split: str = "test"
    slice_columns: Sequence[str] = ()
    bootstrap_samples: int = 1000
    seed: int = 42
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.split not in _SPLITS:
            raise ArgumentError("split", self.split, f"choose one of {', '.join(_SPLITS)}")
        if isinstance(self.slice_columns, str):
            raise ArgumentError("slice_columns", self.slice_columns, "give a list of column names")
        if self.bootstrap_samples < _LEAST_SAMPLES:
            fix = f"give at least {_LEAST_SAMPLES}: fewer do not tell the ends of an interval"
            raise ArgumentError("bootstrap_samples", self.bootstrap_samples, fix)
        if self.seed < 0:
            raise ArgumentError("seed", self.seed, "give a whole number of at least 0")


def evaluate(config: EvaluateConfig, model: Path, dataset: Path, out: Path, report: Path) -> Evaluation:
    """Predicts a split and measures how good and how fast that was.

    Args:
        config: How to measure.
        model: A model folder.
        dataset: A data set folder of the model's task, with labels the model knows.
        out: Folder to make: `predictions.parquet` (the rows with the task's output columns and
            `row_score` and `main_sums`), `evaluation.json` and `hfpc.json`.
        report: HTML file to write.

    Raises:
        ArgumentError: The split or a slice column is not there.
        DataError: A folder is not what it should be, or the model does not fit the data set.
        ModelError: The model does not load, or gives numbers that are not finite.
    """
    from hfpc.reports.evaluation_report import evaluation_report

    content = manifest.read(model, "model")
    test = held_out.read(dataset, config.split)
    held_out.refuse_mismatch(content, test)
    slices.check_columns(config.slice_columns, test.table, tasks.get(content.task))
    predictor = Predictor(model, trust_remote_code=config.trust_remote_code)
    rows = test.rows(predictor.task)
    speed = latency(predictor, rows, config.seed)
    predictions, seconds = held_out.predict(predictor, rows)
    speed["rows_per_second"] = len(predictions) / seconds
    scores = predictor.task.score(rows, predictions, predictor.label_names)
    evaluation = _evaluation(config, predictor, test, scores, speed)
    page = evaluation_report(evaluation)  # before anything is published, should it fail
    with storage.publishing(out) as staging:
        _write(staging, evaluation, predictor, test, predictions, scores)
    storage.write_text(report, page)
    return evaluation


def latency(predictor: Predictor, rows: Rows, seed: int) -> dict[str, float]:
    """Milliseconds that a request of one row takes, `latency_ms_p50` and `latency_ms_p95`.

    About 50 rows drawn with `seed` are timed, after five that are not. Network and JSON are not in it.
    """
    count = len(next(iter(rows.values())))
    drawn = np.random.default_rng(seed).permutation(count)[:_REQUESTS]
    times = []
    for index in [*drawn[:_WARM_UP], *drawn]:
        row = {role: [values[index]] for role, values in rows.items()}
        started = time.perf_counter()
        predictor.predict(row)
        times.append((time.perf_counter() - started) * 1000)
    p50, p95 = np.percentile(times[-len(drawn) :], [50, 95])
    return {"latency_ms_p50": float(p50), "latency_ms_p95": float(p95)}


def _evaluation(
    config: EvaluateConfig, predictor: Predictor, test: HeldOut, scores: Scores, speed: dict[str, float]
) -> Evaluation:
    task, names = predictor.task, predictor.label_names
    rows = test.rows(task)
    quality = {name: float(value) for name, value in task.metrics(scores.sums.sum(axis=0)).items()}
    intervals = bootstrap.intervals(task.metrics, scores.sums, samples=config.bootstrap_samples, seed=config.seed)
    evaluation = Evaluation(
        task=task.name,
        split=config.split,
        rows=len(scores.row_scores),
        main_metric=task.main_metric,
        label_names=names if scores.units else [],
        metrics={**quality, **_bounds(intervals), **speed},
        intervals=intervals,
        slices=slices.slices(task, rows, scores, names, test.table.select(list(config.slice_columns))),
    )
    if scores.units is None:
        return evaluation
    seen = scores.units.only_seen()
    bins, error = curves.calibration(seen)
    roc = curves.roc(seen, names)
    extra = {"calibration_error": error, **({"roc_auc": roc.auc} if roc else {})}
    if not scores.units.seen.all():
        extra[NOT_SEEN] = float((~scores.units.seen).sum())
    matrix = metrics.confusion(scores.units.truth, scores.units.probabilities.argmax(axis=1), len(names))
    return dataclasses.replace(
        evaluation,
        metrics={**evaluation.metrics, **extra},
        per_label=_per_label(scores.units, names),
        confusion_matrix=matrix.tolist(),
        roc=roc,
        calibration=bins,
        mistakes=slices.mistakes(task, rows, scores.units, names),
    )


def _bounds(intervals: dict[str, tuple[float, float]]) -> dict[str, float]:
    found = {}
    for name, (low, high) in intervals.items():
        found[f"{name}_low"], found[f"{name}_high"] = low, high
    return found


def _per_label(units: Units, names: list[str]) -> list[LabelScore]:
    tally = metrics.tally(units.truth, units.probabilities.argmax(axis=1), len(names))
    scores = metrics.per_label(tally)
    return [
        LabelScore(
            label=name,
            precision=float(scores["precision"][index]),
            recall=float(scores["recall"][index]),
            f1=float(scores["f1"][index]),
            support=int(scores["support"][index]),
        )
        for index, name in enumerate(names)
    ]


def _write(
    folder: Path,
    evaluation: Evaluation,
    predictor: Predictor,
    test: HeldOut,
    predictions: Sequence[Prediction],
    scores: Scores,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hfpc.inference.predict_table import with_columns

    outputs = predictor.task.output_columns(predictions, predictor.label_names)
    outputs = outputs.append_column(ROW_SCORE, pa.array(scores.row_scores))
    outputs = outputs.append_column(MAIN_SUMS, pa.array(scores.main_sums.tolist(), pa.list_(pa.int64())))
    pq.write_table(with_columns(test.table, outputs), folder / PREDICTIONS)
    text = json.dumps(dataclasses.asdict(evaluation), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / EVALUATION).write_text(text + "\n", encoding="utf-8")
    assert predictor.manifest.model is not None
    record = PredictionsRecord(
        model=predictor.manifest.model.fingerprint,
        split=evaluation.split,
        rows=evaluation.rows,
        metrics=evaluation.metrics,
    )
    Manifest(kind="predictions", task=evaluation.task, dataset=test.record, predictions=record).write(folder)
