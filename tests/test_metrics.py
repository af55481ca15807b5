"""Metrics against numbers worked out by hand, and against their definitions spelt out unit by unit."""

import random

import numpy as np
import pytest

from hfpc import metrics

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
PREDICTED = np.array([0, 0, 1, 2, 1, 1, 0, 2, 0, 1])


def test_confusion_has_true_labels_as_rows():
    assert metrics.confusion(TRUTH, PREDICTED, 3).tolist() == [[2, 1, 1], [1, 2, 0], [1, 1, 1]]


def test_tally_by_hand():
    assert metrics.tally(TRUTH, PREDICTED, 3).tolist() == [[2, 2, 1], [4, 4, 2], [4, 3, 3]]


def test_summary_by_hand():
    scores = metrics.summary(metrics.tally(TRUTH, PREDICTED, 3))
    assert scores["accuracy"] == pytest.approx(5 / 10)
    assert scores["macro_precision"] == pytest.approx((2 / 4 + 2 / 4 + 1 / 2) / 3)
    assert scores["macro_recall"] == pytest.approx((2 / 4 + 2 / 3 + 1 / 3) / 3)
    assert scores["macro_f1"] == pytest.approx((4 / 8 + 4 / 7 + 2 / 5) / 3)
    # (c s - sum p t) / sqrt((s² - sum p²)(s² - sum t²)), c right, s units
    assert scores["mcc"] == pytest.approx((5 * 10 - (16 + 12 + 6)) / ((100 - 36) * (100 - 34)) ** 0.5)


def test_two_labels_give_the_binary_matthews_correlation():
    truth = np.array([1] * 6 + [0] * 14)
    predicted = np.array([1] * 4 + [0] * 2 + [1] * 3 + [0] * 11)
    tp, fn, fp, tn = 4, 2, 3, 11
    expected = (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert metrics.summary(metrics.tally(truth, predicted, 2))["mcc"] == pytest.approx(expected)


def by_definition(truth: list[int], predicted: list[int], labels: int) -> dict[str, float]:
    """The same from sets of unit numbers, as a textbook defines it; correlation from indicator variables."""
    units, found = range(len(truth)), {"precision": [], "recall": [], "f1": []}
    for label in range(labels):
        relevant = {unit for unit in units if truth[unit] == label}
        retrieved = {unit for unit in units if predicted[unit] == label}
        if relevant or retrieved:
            precision = len(relevant & retrieved) / len(retrieved) if retrieved else 0.0
            recall = len(relevant & retrieved) / len(relevant) if relevant else 0.0
            found["precision"].append(precision)
            found["recall"].append(recall)
            found["f1"].append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    x, y = np.eye(labels)[truth], np.eye(labels)[predicted]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    spread = ((x * x).sum() * (y * y).sum()) ** 0.5
    return {
        "accuracy": sum(a == b for a, b in zip(truth, predicted, strict=True)) / len(truth),
        **{f"macro_{name}": sum(values) / len(values) for name, values in found.items()},
        "mcc": (x * y).sum() / spread if spread > 1e-12 else 0.0,
    }


@pytest.mark.parametrize("seed", range(30))
def test_summary_agrees_with_the_definitions(seed):
    rng = random.Random(seed)
    labels, units = rng.randint(2, 7), rng.randint(1, 60)
    # Few units and many labels, so that labels are missing from either side.
    truth = [rng.randrange(labels) for _ in range(units)]
    predicted = [label if rng.random() < 0.5 else rng.randrange(labels) for label in truth]
    found = metrics.summary(metrics.tally(np.array(truth), np.array(predicted), labels))
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        by_definition(truth, predicted, labels), abs=1e-12
    )


def test_labels_that_never_occur_score_zero_and_are_finite():
    scores = metrics.per_label(metrics.tally(np.array([0, 0]), np.array([0, 1]), 4))
    assert scores["precision"].tolist() == [1, 0, 0, 0]
    assert scores["recall"].tolist() == [0.5, 0, 0, 0]
    assert scores["f1"].tolist() == [pytest.approx(2 / 3), 0, 0, 0]
    assert scores["support"].tolist() == [2, 0, 0, 0]


def test_tallies_of_rows_add_up_and_many_are_summarised_at_once():
    rng = np.random.default_rng(0)
    truth, predicted, rows = rng.integers(0, 4, (3, 200))
    tallies = metrics.tally_rows(truth, predicted, rows, 4, 4)
    assert np.array_equal(tallies.sum(axis=0), metrics.tally(truth, predicted, 4))
    together = metrics.summary(tallies)
    for row in range(4):
        alone = metrics.summary(metrics.tally(truth[rows == row], predicted[rows == row], 4))
        assert {name: values[row] for name, values in together.items()} == alone


def test_no_units_give_zeros_and_no_warning():
    with np.errstate(all="raise"):
        scores = metrics.summary(metrics.tally(np.array([], int), np.array([], int), 3))
    assert set(map(float, scores.values())) == {0.0}
