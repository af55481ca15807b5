import numpy as np
import pytest

from hfpc.evaluation import curves
from hfpc.tasks import Units


def units(truth, positive) -> Units:
    positive = np.asarray(positive, np.float32)
    return Units(
        np.asarray(truth),
        np.stack([1 - positive, positive], axis=1),
        np.arange(len(truth)),
        np.ones(len(truth), dtype=bool),
    )


def test_roc_by_hand():
    curve = curves.roc(units([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), ["no", "yes"])
    assert curve.label == "yes"
    assert curve.fpr == [0, 0, 0.5, 0.5, 1]
    assert curve.tpr == [0, 0.5, 0.5, 1, 1]
    assert curve.thresholds[1:] == pytest.approx([0.8, 0.4, 0.35, 0.1])
    assert curve.auc == pytest.approx(0.75)


@pytest.mark.parametrize("decimals", [1, 6])
def test_auc_is_the_chance_that_a_positive_scores_higher(decimals):
    rng = np.random.default_rng(decimals)
    truth = rng.integers(0, 2, 300)
    scores = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1).round(decimals).astype(np.float32)
    pairs = [(a > b) + (a == b) / 2 for a in scores[truth == 1] for b in scores[truth == 0]]
    assert curves.roc(units(truth, scores), ["no", "yes"]).auc == pytest.approx(np.mean(pairs))


def test_a_long_curve_is_thinned_for_drawing_and_its_area_is_not():
    rng = np.random.default_rng(0)
    truth = (rng.random(50_000) < 0.02).astype(int)
    curve = curves.roc(units(truth, np.clip(rng.normal(0.3 + 0.3 * truth, 0.1), 0, 1)), ["no", "yes"])
    assert 100 < len(curve.fpr) <= 200
    assert len(curve.fpr) == len(curve.tpr) == len(curve.thresholds)
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(curve.fpr) >= 0) and np.all(np.diff(curve.tpr) >= 0)
    assert np.all(np.diff(curve.thresholds) < 0) and np.isfinite(curve.thresholds).all()
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(curve.auc, abs=0.005)


def test_more_labels_give_the_micro_average():
    rng = np.random.default_rng(0)
    truth, probabilities = rng.integers(0, 3, 60), rng.dirichlet([1, 1, 1], 60).astype(np.float32)
    curve = curves.roc(Units(truth, probabilities, np.arange(60), np.ones(60, dtype=bool)), ["a", "b", "c"])
    right = [probabilities[i, j] for i in range(60) for j in range(3) if truth[i] == j]
    wrong = [probabilities[i, j] for i in range(60) for j in range(3) if truth[i] != j]
    assert curve.label == ""
    assert curve.auc == pytest.approx(np.mean([a > b for a in right for b in wrong]))


def test_no_curve_where_only_one_label_occurs():
    assert curves.roc(units([1, 1], [0.2, 0.4]), ["no", "yes"]) is None


def test_calibration_by_hand():
    # Confidences 0.9, 0.9 (one right), 0.65 (right), 1.0 (right).
    bins, error = curves.calibration(units([1, 0, 0, 1], [0.92, 0.92, 0.35, 1.0]))
    assert [(one.low, one.high, one.units, one.accuracy) for one in bins] == [(0.6, 0.7, 1, 1.0), (0.9, 1.0, 3, 2 / 3)]
    assert [one.confidence for one in bins] == pytest.approx([0.65, (0.92 + 0.92 + 1) / 3])
    assert error == pytest.approx((1 * 0.35 + 3 * abs(2 / 3 - 2.84 / 3)) / 4)


def test_scores_that_tell_the_chances_have_next_to_no_error():
    rng = np.random.default_rng(0)
    chance = rng.random(40_000)
    truth = (rng.random(40_000) < chance).astype(int)
    assert curves.calibration(units(truth, chance))[1] < 0.01
    assert curves.calibration(units(truth, (chance > 0.5) * 0.98 + 0.01))[1] == pytest.approx(0.24, abs=0.01)
