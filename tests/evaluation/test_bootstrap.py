import time

import numpy as np
import pytest

from hfpc import tasks
from hfpc.evaluation import bootstrap
from tests.conftest import LABELS, TAGS

TEXT, TOKEN = tasks.get("text-classification"), tasks.get("token-classification")


def sums_of(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    logits = np.eye(2, dtype=np.float32)[predicted]
    return TEXT.score({"label": [LABELS[label] for label in truth]}, list(logits), LABELS).sums


def test_an_interval_covers_the_true_accuracy_about_as_often_as_it_says():
    rng, covered, runs = np.random.default_rng(0), 0, 300
    for run in range(runs):
        truth = rng.integers(0, 2, 150)
        predicted = np.where(rng.random(150) < 0.8, truth, 1 - truth)
        low, high = bootstrap.intervals(TEXT.metrics, sums_of(truth, predicted), samples=400, seed=run)["accuracy"]
        covered += low <= 0.8 <= high
    # 95 % of 300 is 285; the standard deviation of a count of that chance is 3.8.
    assert 270 <= covered <= 297


def test_agrees_with_drawing_rows_one_by_one():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 200)
    predicted = np.where(rng.random(200) < 0.7, truth, 1 - truth)
    found = bootstrap.intervals(TEXT.metrics, sums_of(truth, predicted), samples=4000, seed=0)
    f1 = []
    for _ in range(4000):
        rows = rng.integers(0, 200, 200)
        scores = []
        for label in (0, 1):
            t, p = truth[rows] == label, predicted[rows] == label
            scores.append(2 * (t & p).sum() / (t.sum() + p.sum()))
        f1.append(np.mean(scores))
    assert found["macro_f1"] == pytest.approx(np.quantile(f1, [0.025, 0.975]), abs=0.006)


def test_rows_and_not_words_are_drawn():
    """Sentences that are all right or all wrong: as uncertain as so few sentences, not as so many words."""
    rows = {"tags": [["O"] * 50] * 40}
    right, wrong = np.eye(4, dtype=np.float32)[[0] * 50], np.eye(4, dtype=np.float32)[[1] * 50]
    sums = TOKEN.score(rows, [right] * 20 + [wrong] * 20, TAGS).sums
    low, high = bootstrap.intervals(TOKEN.metrics, sums, samples=1000, seed=0)["accuracy"]
    assert 0.25 < high - low < 0.36  # 2 * 1.96 * sqrt(0.25 / 40) = 0.31; with words it were 0.04.


def test_the_seed_decides_the_interval():
    sums = sums_of(np.array([0, 1] * 50), np.array([0, 1, 1, 1] * 25))
    first, again, other = (bootstrap.intervals(TEXT.metrics, sums, samples=200, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_model_without_mistakes_has_an_interval_of_no_width():
    sums = sums_of(np.array([0, 1] * 50), np.array([0, 1] * 50))
    assert bootstrap.intervals(TEXT.metrics, sums, samples=200, seed=0)["accuracy"] == (1.0, 1.0)


@pytest.mark.parametrize("task", ["text", "token"])
def test_ten_thousand_rows_take_well_under_a_second(task):
    rng = np.random.default_rng(0)
    if task == "text":
        sums, metrics = sums_of(*rng.integers(0, 2, (2, 10_000))), TEXT.metrics
    else:
        sums, metrics = rng.integers(0, 5, (10_000, 3 + 3 * 9)), TOKEN.metrics
    started = time.process_time()
    bootstrap.intervals(metrics, sums, samples=1000, seed=0)
    assert time.process_time() - started < 0.9
