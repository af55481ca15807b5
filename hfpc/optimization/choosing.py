"""Which candidate is kept: the fastest that is as good as plain PyTorch, within limits."""

import dataclasses
from collections.abc import Mapping, Sequence

from hfpc.optimization.candidates import REFERENCE
from hfpc.optimization.optimization import Figures, Optimization, Row

_AS_FAST = 0.95
"""Candidates whose speed in batches differs by less are as fast as each other: repeated measurements of one
differ by as much. Of those, the one that answers a single row soonest is kept."""

_NOTHING_FASTER = "kept: nothing else is faster and as good"

_ROUNDING = 1e-9
"""0.88 is no more than 0.01 below 0.89, whatever binary fractions say."""


def choose(limits: Optimization, rows: Sequence[Row]) -> Optimization:
    """What is kept, and a reason for each row.

    Args:
        limits: What may be lost.
        rows: What was measured, the reference among it. Those without figures have their reason.

    Returns:
        `limits` with the candidates and what was kept of them.
    """
    faults = {row.name: _fault(row.figures, limits) for row in rows if row.figures and row.name != REFERENCE}
    good = {row.name: row.figures for row in rows if row.figures and not faults.get(row.name)}
    fastest = max(figures.speedup for figures in good.values())
    near = {name: figures for name, figures in good.items() if figures.speedup >= _AS_FAST * fastest}
    kept = REFERENCE if REFERENCE in near else min(near, key=lambda name: near[name].latency_ms_p50)
    candidates = []
    for row in rows:
        reason = row.reason if row.figures is None else faults.get(row.name) or _place(row.name, kept, good)
        candidates.append(dataclasses.replace(row, fits=row.name in good, reason=reason))
    return dataclasses.replace(limits, kept=kept, reason=_place(kept, kept, good), candidates=candidates)


def _fault(figures: Figures, limits: Optimization) -> str:
    """Why a candidate is not good enough; "" where it is."""
    if figures.golden:
        return f"answers {figures.golden} golden request{'s' * (figures.golden > 1)} otherwise"
    if figures.metric_loss > limits.max_metric_loss + _ROUNDING:
        lost, allowed = _apart(100 * figures.metric_loss, 100 * limits.max_metric_loss)
        return f"loses {lost} points of {limits.main_metric}, more than the {allowed} allowed"
    if figures.agreement < limits.min_agreement - _ROUNDING:
        agreed, required = _apart(100 * figures.agreement, 100 * limits.min_agreement)
        return f"agrees on {agreed} % of labels, less than the {required} % required"
    return ""


def _place(name: str, kept: str, good: Mapping[str, Figures]) -> str:
    """Why a candidate that is good enough was kept or not."""
    if name == kept == REFERENCE:
        faster = any(figures.speedup > good[kept].speedup for figures in good.values())
        return f"kept: nothing else as good is {1 - _AS_FAST:.0%} faster" if faster else _NOTHING_FASTER
    if name == kept:
        return f"kept: the fastest within the limits, {good[name].speedup:.2f} times as fast as {REFERENCE}"
    if good[name].speedup > good[kept].speedup and kept == REFERENCE:
        return f"less than {1 - _AS_FAST:.0%} faster than {kept}"
    if good[name].speedup > good[kept].speedup:
        return f"as fast as {kept} within {1 - _AS_FAST:.0%}, but slower for one row alone"
    return f"not faster than {kept}"


def _apart(value: float, limit: float) -> tuple[str, str]:
    """Both with one decimal, or as many as show that they differ."""
    decimals = 1
    while decimals < 9 and f"{value:.{decimals}f}" == f"{limit:.{decimals}f}":
        decimals += 1
    return f"{value:.{decimals}f}", f"{limit:.{decimals}f}"
