"""Confidence intervals of metrics by resampling rows."""

from collections.abc import Callable, Mapping

import numpy as np

_CELLS = 1 << 22
"""Numbers of an intermediate array: 32 MB."""


def intervals(
    metrics: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    sums: np.ndarray,
    *,
    samples: int,
    seed: int,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals.

    Rows are drawn, not units: the words of a sentence are not independent of each other. A resample
    is how often each row was drawn, times what it adds to the sums.

    Args:
        metrics: `Task.metrics`.
        sums: What each row adds, shape `(rows, sums)`.
        samples: Number of resamples.
        seed: Seed of the draws.
        level: Share of resamples inside the interval.

    Returns:
        Metric name to the interval's ends.
    """
    rows, sums = len(sums), sums.astype(float)
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // rows)
    resampled = []
    for start in range(0, samples, step):
        times_drawn = [
            np.bincount(rng.integers(0, rows, rows, dtype=np.int32), minlength=rows)
            for _ in range(min(step, samples - start))
        ]
        resampled.append(np.stack(times_drawn).astype(float) @ sums)
    ends = [(1 - level) / 2, (1 + level) / 2]
    found = {}
    for name, values in metrics(np.concatenate(resampled)).items():
        low, high = np.quantile(values, ends)
        found[name] = (float(low), float(high))
    return found
