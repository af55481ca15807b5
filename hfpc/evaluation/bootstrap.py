"""Confidence intervals of metrics by resampling rows."""

from collections.abc import Callable, Mapping

import numpy as np

_CELLS = 1 << 24
"""Numbers of an intermediate array: 128 MB."""


def intervals(
    metrics: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    sums: np.ndarray,
    *,
    samples: int,
    seed: int,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals.

    Rows are drawn, not units: the words of a sentence are not independent of each other. Rows that
    add the same to the sums are drawn together, so a resample is one multinomial draw.

    Args:
        metrics: `Task.metrics`.
        sums: What each row adds, shape `(rows, sums)`.
        samples: Number of resamples.
        seed: Seed of the draws.
        level: Share of resamples inside the interval.

    Returns:
        Metric name to the interval's ends.
    """
    groups, sizes = np.unique(sums, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // max(groups.shape))
    resampled = []
    for start in range(0, samples, step):
        drawn = rng.multinomial(len(sums), sizes / len(sums), size=min(step, samples - start))
        resampled.append(drawn.astype(float) @ groups.astype(float))
    ends = [(1 - level) / 2, (1 + level) / 2]
    found = {}
    for name, values in metrics(np.concatenate(resampled)).items():
        low, high = np.quantile(values, ends)
        found[name] = (float(low), float(high))
    return found
