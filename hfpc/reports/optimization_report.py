"""What an optimization found, as one self-contained HTML page."""

from dataclasses import dataclass

import hfpc
from hfpc.optimization.candidates import REFERENCE
from hfpc.optimization.optimization import Figures, Optimization
from hfpc.reports.metric_text import metric_name, metric_value
from hfpc.reports.page import number, render


@dataclass(frozen=True)
class Tile:
    """A figure for reading: its name, its value, and a remark ("" for none)."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Line:
    """A candidate in the table.

    Attributes:
        name: Its name.
        state: "kept", "good" (within the limits, but not the fastest), "refused" or "failed".
        reason: Why.
        cells: Its figures, as `HEAD` names them; empty where there are none.
        bar: Its speedup in percent of the largest.
    """

    name: str
    state: str
    reason: str
    cells: list[str]
    bar: float


def optimization_report(optimization: Optimization) -> str:
    """The report of an optimization: one HTML file without scripts that loads nothing.

    Args:
        optimization: What was found; where nothing was tried, the page says so.
    """
    metric = metric_name(optimization.main_metric)
    kept = next((row.figures for row in optimization.candidates if row.name == optimization.kept), None)
    return render(
        "optimization_report.html",
        optimization=optimization,
        reference=REFERENCE,
        metric=metric,
        loss=_allowed(100 * optimization.max_metric_loss),
        required=f"{100 * optimization.min_agreement:.4g}",
        headline=_headline(optimization, kept) if kept else [],
        lines=_lines(optimization),
        version=hfpc.__version__,
    )


def _headline(optimization: Optimization, kept: Figures) -> list[Tile]:
    plain = next(row.figures for row in optimization.candidates if row.name == REFERENCE)
    assert plain is not None
    return [
        Tile("As fast as plain PyTorch", f"{kept.speedup:.2f} times", f"{_rate(kept)} rows a second"),
        Tile("Latency, median", f"{kept.latency_ms_p50:,.1f} ms", f"from {plain.latency_ms_p50:,.1f} ms"),
        Tile("Memory", f"{kept.memory_mb:,.0f} MB", f"from {plain.memory_mb:,.0f} MB"),
        Tile(
            metric_name(optimization.main_metric),
            metric_value(optimization.main_metric, kept.metric),
            f"from {metric_value(optimization.main_metric, plain.metric)}",
        ),
        Tile("Same labels", f"{_percent(kept.agreement)} %", f"{number(kept.changed)} changed"),
    ]


def _lines(optimization: Optimization) -> list[Line]:
    speedups = [row.figures.speedup for row in optimization.candidates if row.figures]
    lines = []
    for row in optimization.candidates:
        if row.figures is None:
            lines.append(Line(row.name, "failed", row.reason, [], 0))
            continue
        state = "kept" if row.name == optimization.kept else "good" if row.fits else "refused"
        bar = 100 * row.figures.speedup / max(speedups)
        lines.append(Line(row.name, state, row.reason, _cells(optimization, row.figures), bar))
    return lines


def _cells(optimization: Optimization, figures: Figures) -> list[str]:
    return [
        f"{figures.speedup:.2f}",
        _rate(figures),
        f"{figures.processor_ms:.1f}",
        f"{figures.latency_ms_p50:,.1f}",
        f"{figures.latency_ms_p95:,.1f}",
        f"{figures.memory_mb:,.0f}",
        f"{figures.size_mb:,.1f}",
        metric_value(optimization.main_metric, figures.metric),
        _points(figures.metric_loss),
        _percent(figures.agreement),
    ]


def _rate(figures: Figures) -> str:
    return metric_value("rows_per_second", figures.rows_per_second)


def _allowed(points: float) -> str:
    return f"{points:.3g} point{'s' * (points != 1)}"


def _points(loss: float) -> str:
    """A loss as what is added to the metric, in points: a loss of 0.0133 is -1.33."""
    gain = round(-100 * loss, 2)
    return f"{gain:+.2f}" if gain else "0"


def _percent(share: float) -> str:
    """A share in percent; only the whole is 100."""
    text = f"{100 * share:.2f}"
    return text if text != "100.00" else "100" if share == 1 else "99.99"
