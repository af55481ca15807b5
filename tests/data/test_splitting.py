"""Counting properties of the split, over many random strata."""

import random

import pytest

from hfpc.data.splitting import apportion, carve, check_shares
from hfpc.errors import ArgumentError


def random_counts(rng):
    return {f"s{i}": rng.choice([1, 2, 3, 5, 40, 1000, 12345]) for i in range(rng.randint(1, 30))}


@pytest.mark.parametrize("seed", range(30))
def test_apportion_is_exact_in_sum_and_within_one_for_each(seed):
    rng = random.Random(seed)
    counts = random_counts(rng)
    whole = sum(counts.values())
    total = rng.randint(0, whole)
    parts = apportion(counts, total)
    assert sum(parts.values()) == total
    for key, count in counts.items():
        assert 0 <= parts[key] <= count
        assert abs(parts[key] - count * total / whole) <= 1


@pytest.mark.parametrize("seed", range(30))
def test_carve_keeps_shares_and_leaves_train_a_row_of_each(seed):
    rng = random.Random(seed)
    counts = random_counts(rng)
    validation_share, test_share = rng.choice([(0.1, 0.1), (0.0, 0.2), (0.3, 0.0), (0.45, 0.45), (0.05, 0.15)])
    splits = 1 + (validation_share > 0) + (test_share > 0)
    carved = carve(counts, validation_share, test_share)
    for key, count in counts.items():
        validation, test = carved[key]
        assert validation >= 0 and test >= 0 and validation + test < count
        if count < splits:
            assert (validation, test) == (0, 0)
        assert abs(validation + test - (validation_share + test_share) * count) <= max(2, splits)
    large = sum(count for count in counts.values() if count >= splits)
    if all(count >= 40 for count in counts.values()):
        assert abs(sum(test for _, test in carved.values()) - test_share * large) <= 1


def test_carve_is_exact_on_round_numbers():
    assert carve({"a": 700, "b": 300}, 0.1, 0.2) == {"a": (70, 140), "b": (30, 60)}
    assert carve({"a": 700, "b": 2}, 0.1, 0.1) == {"a": (70, 70), "b": (0, 0)}
    assert carve({"a": 10}, 0, 0) == {"a": (0, 0)}


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0.1), (1.0, 0.0), (0.1, 1.5), (0.5, 0.5), (float("nan"), 0.1)])
def test_shares_that_leave_nothing_are_refused(validation, test):
    with pytest.raises(ArgumentError, match="share"):
        check_shares(validation, test)
