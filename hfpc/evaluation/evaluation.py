"""What an evaluation found, as data: the stage fills it, the component and the report read it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """Precision, recall and F1 (0 to 1) of one label, and how many units carry it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True)
class RocCurve:
    """A receiver operating characteristic.

    Attributes:
        label: The label it is about: the second of two, else "" for the micro average over labels.
        fpr: False positive rates, ascending, at most 200 points.
        tpr: True positive rates at the same thresholds.
        thresholds: Finite scores, descending.
        auc: Area under the curve, computed from all points.
    """

    label: str
    fpr: list[float]
    tpr: list[float]
    thresholds: list[float]
    auc: float


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Units whose confidence lies in `[low, high)`: mean confidence, share right, and count."""

    low: float
    high: float
    confidence: float
    accuracy: float
    units: int


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Rows that share a property, and their mean row score (0 to 1).

    Attributes:
        column: What was sliced by: "length", "label", or a column of the data set.
        value: The property, e.g. "1-10 words".
        rows: Rows in the slice.
        score: Mean row score.
    """

    column: str
    value: str
    rows: int
    score: float


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A row that was predicted wrongly with confidence: its input, labels, and that confidence."""

    text: str
    truth: str
    predicted: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything one evaluation found.

    Attributes:
        task: Task name.
        split: Split that was predicted.
        rows: Rows predicted.
        main_metric: Name of the task's main metric, a key of `metrics`.
        label_names: In id order; empty for a task without labels.
        metrics: Metric name to value: quality (0 to 1; `mcc` -1 to 1), `calibration_error`,
            `latency_ms_p50`, `latency_ms_p95`, `rows_per_second`, interval bounds as
            `accuracy_low`, `accuracy_high`, and `words_not_seen` where the model did not see some
            (they are beyond the length it takes; calibration, ROC and mistakes leave them out).
        intervals: Metric name to its 95 % bootstrap interval.
        per_label: In id order.
        confusion_matrix: Counts; row = true label, column = predicted label.
        roc: None where there are no labels, or only one occurs.
        calibration: Ten bins, empty ones left out.
        slices: By length, by label, and by the columns that were named.
        mistakes: At most 25, the most confident first.
    """

    task: str
    split: str
    rows: int
    main_metric: str
    label_names: list[str]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    per_label: list[LabelScore] = field(default_factory=list)
    confusion_matrix: list[list[int]] = field(default_factory=list)
    roc: RocCurve | None = None
    calibration: list[CalibrationBin] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
