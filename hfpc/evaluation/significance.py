"""Is one model better than another on the same rows, or was it luck?

Both tests are one-sided: they ask whether the candidate is better. Only then is it promoted, so
the chance of a worse one getting through is what `significance` must bound, and a two-sided test
would spend half of it on the case that is kept anyway.
"""

import numpy as np

_FLIPS = 10_000


def p_value(candidate: np.ndarray, champion: np.ndarray, *, seed: int = 0) -> float:
    """How likely a gain as large is if neither model is better.

    Args:
        candidate: Row scores, 0 to 1.
        champion: Row scores of the same rows.
        seed: Seed of the permutations.

    Returns:
        The p-value of McNemar's exact test where every score is 0 or 1, else of a paired
        permutation test with 10,000 permutations.
    """
    gains = candidate - champion
    gains = gains[gains != 0]
    if np.isin(candidate, (0, 1)).all() and np.isin(champion, (0, 1)).all():
        return mcnemar(better=int((gains > 0).sum()), worse=int((gains < 0).sum()))
    return permutation(gains, seed=seed)


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


def permutation(gains: np.ndarray, *, seed: int) -> float:
    """The share of random swaps of the two models, row by row, whose sum of gains is as large.

    Args:
        gains: Candidate's score less the champion's, for each row.
        seed: Seed of the swaps.
    """
    # Rows of equal size are swapped together: how many of them turn is binomial.
    sizes, counts = np.unique(np.abs(gains), return_counts=True)
    turned = np.random.default_rng(seed).binomial(counts, 0.5, size=(_FLIPS, len(sizes)))
    sums = (counts - 2 * turned) @ sizes
    # The observed order is one of the permutations; 1e-9 takes up the rounding of sums.
    return float((1 + (sums >= gains.sum() - 1e-9).sum()) / (1 + _FLIPS))
