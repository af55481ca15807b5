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


def test_permutation_agrees_with_all_swaps():
    gains = np.array([0.5, 0.25, -0.25, 0.5, 0.1, -0.4, 0.3, 0.25, 0.6])
    sums = [np.dot(gains, signs) for signs in itertools.product((1, -1), repeat=len(gains))]
    expected = np.mean([total >= gains.sum() - 1e-9 for total in sums])
    assert significance.permutation(gains, seed=0) == pytest.approx(expected, abs=0.012)


def test_zero_and_one_take_the_exact_test():
    candidate, champion = np.array([1, 1, 1, 0, 1, 0.0]), np.array([1, 0, 0, 1, 0, 0.0])
    assert significance.p_value(candidate, champion) == pytest.approx((4 + 1) / 16)  # 3 of 4, or 4 of 4.


def test_shares_take_the_permutation_test():
    rng = np.random.default_rng(0)
    champion = rng.random(300)
    assert significance.p_value(champion + 0.02, champion) < 0.001
    assert significance.p_value(champion - 0.02, champion) > 0.999
    assert significance.p_value(champion, champion) == 1


def test_the_same_rows_give_the_same_p():
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 100))
    assert significance.p_value(one, other) == significance.p_value(one, other)


@pytest.mark.parametrize("kind", ["right or wrong", "shares"])
def test_where_neither_is_better_few_seem_so(kind):
    """Of models that are equally good, about 5 % may be taken for better at 0.05, and no more."""
    rng, taken = np.random.default_rng(0), 0
    for _ in range(200):
        scores = rng.random((2, 80))
        one, other = scores.round() if kind == "right or wrong" else scores
        taken += significance.p_value(one, other) <= 0.05
    assert 2 <= taken <= 20
