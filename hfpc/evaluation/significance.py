"""Is one model better than another on the same rows, or was it luck?

Both tests are one-sided: they ask whether the candidate is better. Only then is it promoted, so
the chance of a worse one getting through is what `significance` must bound, and a two-sided test
would spend half of it on the case that is kept anyway.
"""

from collections.abc import Callable

import numpy as np

_FLIPS = 10_000
_CELLS = 1 << 22
"""Numbers of an intermediate array: 32 MB."""


def p_value(
    value: Callable[[np.ndarray], np.ndarray], candidate: np.ndarray, champion: np.ndarray, *, seed: int = 0
) -> float:
    """How likely a gain in the main metric as large is if neither model is better.

    Args:
        value: `Task.main_value`.
        candidate: `Scores.main_sums` of the candidate.
        champion: The same of the champion, for the same rows.
        seed: Seed of the permutations.

    Returns:
        The p-value of McNemar's exact test where the metric is the share of right rows, else of a
        paired permutation test of the metric itself, with 10,000 permutations.
    """
    if _right_or_wrong(candidate) and _right_or_wrong(champion):
        gains = candidate[:, 0] - champion[:, 0]
        return mcnemar(better=int((gains > 0).sum()), worse=int((gains < 0).sum()))
    return permutation(value, candidate, champion, seed=seed)


def _right_or_wrong(sums: np.ndarray) -> bool:
    """Whether every row is 0 or 1 of 1."""
    return sums.shape[1] == 2 and bool(np.isin(sums[:, 0], (0, 1)).all() and (sums[:, 1] == 1).all())


def mcnemar(*, better: int, worse: int) -> float:
    """The chance of at least `better` heads in `better + worse` tosses of a fair coin.

    Args:
        better: Rows that only the candidate has right.
        worse: Rows that only the champion has right.
    """
    tosses = better + worse
    counts = np.arange(1, tosses + 1)
    # Logarithms of the binomial coefficients, each from the one before: exact enough for millions.
    logs = np.append(0.0, np.cumsum(np.log(tosses - counts + 1) - np.log(counts)))
    return min(1.0, float(np.exp(logs[better:] - tosses * np.log(2)).sum()))


def permutation(
    value: Callable[[np.ndarray], np.ndarray], candidate: np.ndarray, champion: np.ndarray, *, seed: int
) -> float:
    """The share of random swaps of the two models, row by row, whose gain is as large.

    Args:
        value: The metric, from sums over rows.
        candidate: What each row adds to the candidate's sums, shape `(rows, sums)`.
        champion: The same of the champion.
        seed: Seed of the swaps.
    """
    # Rows that a swap changes alike are swapped together: how many of them turn is binomial.
    changes, counts = np.unique(champion - candidate, axis=0, return_counts=True)
    first, second = candidate.sum(axis=0), champion.sum(axis=0)
    random, as_large = np.random.default_rng(seed), 0
    # The observed order is one of the permutations; 1e-9 takes up rounding.
    least = value(first) - value(second) - 1e-9
    step = max(1, _CELLS // len(counts))
    for start in range(0, _FLIPS, step):
        turned = random.binomial(counts, 0.5, size=(min(step, _FLIPS - start), len(counts)))
        moved = turned.astype(float) @ changes
        as_large += int((value(first + moved) - value(second - moved) >= least).sum())
    return (1 + as_large) / (1 + _FLIPS)
