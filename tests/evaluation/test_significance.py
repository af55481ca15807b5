import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from hfpc.evaluation import significance


@pytest.mark.parametrize(("better", "worse"), [(b, w) for b in range(7) for w in range(7)])
def test_mcnemar_is_the_share_of_all_outcomes_that_are_as_good(better, worse):
    outcomes = list(itertools.product((0, 1), repeat=better + worse))
    expected = sum(sum(outcome) >= better for outcome in outcomes) / len(outcomes)
    assert significance.mcnemar(better=better, worse=worse) == pytest.approx(expected)


def test_mcnemar_is_exact_for_many_rows():
    exact = Fraction(sum(math.comb(5000, k) for k in range(2575, 5001)), 2**5000)
    assert significance.mcnemar(better=2575, worse=2425) == pytest.approx(float(exact), rel=1e-9)


def test_mcnemar_of_a_million_rows_is_the_normal_tail():
    better, worse = 501_000, 499_000
    z = (better - 0.5 - 500_000) / (1_000_000 / 4) ** 0.5
    assert significance.mcnemar(better=better, worse=worse) == pytest.approx(math.erfc(z / 2**0.5) / 2, rel=1e-3)


def f1(sums):
    return 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])


def entities(rng, rows: int, share: float) -> np.ndarray:
    """Entities right, given and expected of rows with two entities each, of which a share is found."""
    right = rng.binomial(2, share, rows)
    return np.stack([right, right + rng.binomial(1, 0.3, rows), np.full(rows, 2)], axis=1)


def right_or_wrong(right) -> np.ndarray:
    right = np.asarray(right, dtype=int)
    return np.stack([right, np.ones_like(right)], axis=1)


def test_permutation_agrees_with_all_swaps():
    rng = np.random.default_rng(1)
    candidate, champion = entities(rng, 10, 0.8), entities(rng, 10, 0.6)
    observed, gains = f1(candidate.sum(axis=0)) - f1(champion.sum(axis=0)), []
    for swaps in itertools.product((False, True), repeat=10):
        swapped = np.array(swaps)[:, None]
        one, other = np.where(swapped, champion, candidate), np.where(swapped, candidate, champion)
        gains.append(f1(one.sum(axis=0)) - f1(other.sum(axis=0)))
    expected = np.mean(np.array(gains) >= observed - 1e-9)
    assert 0.01 < expected < 0.5
    assert significance.permutation(f1, candidate, champion, seed=0) == pytest.approx(expected, abs=0.015)


def test_right_or_wrong_takes_the_exact_test():
    candidate, champion = right_or_wrong([1, 1, 1, 0, 1, 0]), right_or_wrong([1, 0, 0, 1, 0, 0])
    expected = (4 + 1) / 16  # 3 of 4, or 4 of 4.
    assert significance.p_value(f1, candidate, champion) == pytest.approx(expected)


def test_another_metric_takes_the_permutation_test():
    rng = np.random.default_rng(0)
    better, worse = entities(rng, 300, 0.8), entities(rng, 300, 0.6)
    assert significance.p_value(f1, better, worse) < 0.001
    assert significance.p_value(f1, worse, better) > 0.999
    assert significance.p_value(f1, worse, worse) == 1


def test_the_same_rows_give_the_same_p():
    rng = np.random.default_rng(0)
    one, other = entities(rng, 100, 0.7), entities(rng, 100, 0.7)
    assert significance.p_value(f1, one, other) == significance.p_value(f1, one, other)


@pytest.mark.parametrize("kind", ["right or wrong", "entities"])
def test_where_neither_is_better_few_seem_so(kind):
    """Of models that are equally good, about 5 % may be taken for better at 0.05, and no more."""
    rng, taken = np.random.default_rng(0), 0
    for _ in range(200):
        if kind == "entities":
            one, other = entities(rng, 80, 0.7), entities(rng, 80, 0.7)
        else:
            one, other = (right_or_wrong(rng.random(80) < 0.5) for _ in range(2))
        taken += significance.p_value(f1, one, other) <= 0.05
    assert 2 <= taken <= 20
