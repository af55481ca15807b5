"""Geometry of the charts; the macros in `templates/charts.html` draw it.

Lines are SVG that stretches with the page. Text is HTML beside them, in percent of the plot, so
that it keeps its size from a phone to a projector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hfpc.evaluation.evaluation import CalibrationBin
from hfpc.reports.page import number

MAX_POINTS = 500
"""Points of a drawn line: more than a screen can show apart."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, at a position in percent from its low end."""

    position: float
    text: str


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`."""

    label: str
    low: float
    high: float
    ticks: list[Tick]

    def position(self, value: float) -> float:
        """Where a value lies, in percent from the low end."""
        return 100 * (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Series:
    """A named line through points, in the order of x.

    Attributes:
        name: What the legend calls it.
        points: Values of x and y. Those that are no finite numbers are left out.
        dots: Mark every point, for series of few points.
    """

    name: str
    points: Sequence[Point]
    dots: bool = False


@dataclass(frozen=True)
class Dot:
    """A marked point: its place in percent from the top left, and what hovering tells."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """A drawn series: its SVG path and its marked points."""

    name: str
    path: str
    dots: list[Dot]


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """A chart of lines, ready to draw; `summary` says the same to people who cannot see it."""

    title: str
    x: Axis
    y: Axis
    lines: list[Line]
    summary: str
    note: str = ""
    diagonal: str = ""
    square: bool = False


def line_chart(title: str, series: Sequence[Series], x_label: str, y_label: str, note: str = "") -> LineChart | None:
    """Lines over a common axis of whole steps, or None where there is no point to draw."""
    finite = [Series(one.name, _finite(one.points), one.dots) for one in series]
    finite = [one for one in finite if one.points]
    if not finite:
        return None
    points = [point for one in finite for point in one.points]
    x = _step_axis(x_label, max(point[0] for point in points))
    y = _value_axis(y_label, min(point[1] for point in points), max(point[1] for point in points))
    return LineChart(
        title=title,
        x=x,
        y=y,
        lines=[_line(one, x, y) for one in finite],
        summary=f"{title}. " + " ".join(_told(one, x_label) for one in finite),
        note=note,
    )


def roc_chart(fpr: Sequence[float], tpr: Sequence[float], label: str, auc: float) -> LineChart:
    """A receiver operating characteristic with the diagonal of guessing.

    Args:
        fpr: False positive rates, 0 to 1.
        tpr: True positive rates at the same thresholds.
        label: The label it is about, "" for the micro average.
        auc: Area under the curve.
    """
    about = f"label “{label}”" if label else "all labels, micro average"
    points = sorted({(0.0, 0.0), (1.0, 1.0), *_finite(zip(fpr, tpr, strict=True))})
    x, y = _unit_axis("False positive rate"), _unit_axis("True positive rate")
    return LineChart(
        title="ROC curve",
        x=x,
        y=y,
        lines=[_line(Series("ROC", points), x, y)],
        summary=f"ROC curve for {about}. The area under it is {auc:.3f}; guessing gives 0.5.",
        note=f"Area under the curve: {auc:.3f} ({about})",
        diagonal="guessing",
        square=True,
    )


def calibration_chart(bins: Sequence[CalibrationBin], error: float | None) -> LineChart:
    """How often the model is right at each confidence, with the diagonal of perfect calibration."""
    x, y = _unit_axis("Confidence"), _unit_axis("Share right")
    points = [(one.confidence, one.accuracy) for one in bins]
    line = _line(Series("Model", points), x, y)
    dots = [
        Dot(
            x.position(one.confidence),
            100 - y.position(one.accuracy),
            f"confidence {one.confidence:.2f}: {one.accuracy:.1%} of {one.units:,} right",
        )
        for one in bins
    ]
    told = "" if error is None else f"Mean distance from the diagonal (calibration error): {error:.3f}"
    return LineChart(
        title="Calibration",
        x=x,
        y=y,
        lines=[Line(line.name, line.path, dots)],
        summary=f"Calibration. {told}. " + "; ".join(dot.text for dot in dots),
        note=told,
        diagonal="perfect",
        square=True,
    )


def area(fpr: Sequence[float], tpr: Sequence[float]) -> float:
    """Area under a curve of rates by the trapezoid rule, its ends (0, 0) and (1, 1) included."""
    points = sorted({(0.0, 0.0), (1.0, 1.0), *_finite(zip(fpr, tpr, strict=True))})
    return sum((right[0] - left[0]) * (right[1] + left[1]) / 2 for left, right in pairwise(points))


@dataclass(frozen=True)
class Cell:
    """A count of a confusion matrix.

    Attributes:
        count: Units.
        share: Part of its row, 0 to 1.
        heat: Strength of its colour, 0 to 100.
        right: Whether it is on the diagonal.
    """

    count: int
    share: float
    heat: int
    right: bool


@dataclass(frozen=True)
class Confusion:
    """A pair of labels that the model takes for each other: `truth` predicted as `predicted`."""

    truth: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, kw_only=True)
class ConfusionMatrix:
    """A confusion matrix, ready to draw.

    Attributes:
        labels: Names of rows and columns.
        rows: Cells; row = true label.
        small: Whether it fits beside a chart.
        dense: Whether there are so many labels that shares would not fit into the cells.
        worst: The most frequent confusions.
    """

    labels: list[str]
    rows: list[list[Cell]]
    small: bool
    dense: bool
    worst: list[Confusion] = field(default_factory=list)


def confusion_matrix(labels: Sequence[str], counts: Sequence[Sequence[float]]) -> ConfusionMatrix | None:
    """Counts with their share of the row, or None where there are none."""
    if not labels or len(counts) != len(labels) or any(len(row) != len(labels) for row in counts):
        return None
    rows = [_cells(index, row) for index, row in enumerate(counts)]
    wrong = [
        Confusion(labels[row], labels[column], cell.count, cell.share)
        for row, cells in enumerate(rows)
        for column, cell in enumerate(cells)
        if cell.count and not cell.right
    ]
    return ConfusionMatrix(
        labels=list(labels),
        rows=rows,
        small=len(labels) <= 3,
        dense=len(labels) > 8,
        worst=sorted(wrong, key=lambda confusion: -confusion.count)[:10] if len(labels) > 2 else [],
    )


def _cells(index: int, row: Sequence[float]) -> list[Cell]:
    total = sum(row) or 1
    return [Cell(int(count), count / total, round(100 * count / total), index == at) for at, count in enumerate(row)]


def _finite(points: "Sequence[Point] | zip[Point]") -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _line(series: Series, x: Axis, y: Axis) -> Line:
    kept = thinned(series.points)
    path = "L".join(f"{x.position(at):.2f} {100 - y.position(value):.2f}" for at, value in kept)
    dots = [
        Dot(x.position(at), 100 - y.position(value), f"{series.name}: {number(value)} at {number(at)}")
        for at, value in (kept if series.dots or len(kept) == 1 else [])
    ]
    return Line(series.name, f"M{path}", dots)


def thinned(points: Sequence[Point], most: int = MAX_POINTS) -> list[Point]:
    """At most about `most` points: the lowest and the highest of each stretch, so that peaks stay."""
    if len(points) <= most:
        return list(points)
    width = math.ceil(2 * len(points) / most)
    kept: list[Point] = []
    for start in range(0, len(points), width):
        stretch = points[start : start + width]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept


def _told(series: Series, x_label: str) -> str:
    (first_x, first), (last_x, last) = series.points[0], series.points[-1]
    if len(series.points) == 1:
        return f"{series.name}: {number(first)} at {x_label.lower()} {number(first_x)}."
    return (
        f"{series.name}: from {number(first)} at {x_label.lower()} {number(first_x)} "
        f"to {number(last)} at {x_label.lower()} {number(last_x)}."
    )


def _unit_axis(label: str) -> Axis:
    return Axis(label, 0, 1, [Tick(100 * at / 5, f"{at / 5:.1f}") for at in range(6)])


def _step_axis(label: str, high: float) -> Axis:
    """From 0 to exactly the last step, marked at round whole numbers."""
    high = max(high, 1)
    step = max(1.0, _nice(high / 4))
    step = 5.0 if step == 2.5 else step
    marks = [step * index for index in range(int(high / step + 1e-9) + 1)]
    return Axis(label, 0, high, [Tick(100 * mark / high, f"{mark:,.0f}") for mark in marks])


def _value_axis(label: str, low: float, high: float) -> Axis:
    """Round numbers that enclose the values, marks at both ends and evenly between."""
    if math.isclose(low, high, rel_tol=1e-9):
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
    step = _nice((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = [index * step for index in range(first, last + 1)]
    largest = max(map(abs, marks))
    return Axis(
        label,
        marks[0],
        marks[-1],
        [Tick(100 * index / (len(marks) - 1), _mark(mark, step, largest)) for index, mark in enumerate(marks)],
    )


def _nice(step: float) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that is not under `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def _mark(value: float, step: float, largest: float) -> str:
    """A number beside an axis, as exact as its step; very small and very large ones as `2e-5`."""
    if value == 0:
        return "0"
    if not 1e-3 <= largest < 1e6:
        mantissa, _, exponent = f"{value:.6e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    decimals = next((count for count in range(9) if math.isclose(round(step, count), step, rel_tol=1e-6)), 9)
    return f"{value:,.{decimals}f}"
