import math

from hfpc.reports.training_curves import curves, training_curves
from tests.reports.samples import HOSTILE, history


def test_losses_metrics_and_learning_rate_are_drawn():
    shown = curves(history())
    assert [chart.title for chart in shown.charts] == ["Loss", "Validation metrics", "Learning rate"]
    assert [line.name for line in shown.charts[0].lines] == ["training", "validation"]
    assert [line.name for line in shown.charts[1].lines] == ["Accuracy", "Macro F1", "Matthews correlation"]
    assert shown.metrics[0] == "Loss" and len(shown.evaluations) == 4
    page = training_curves(history())
    assert "280 steps, 3 epochs in 1 min 03 s." in page
    assert "Loss. training: from 0.693 at step 10 to 0.186 at step 280." in page


def test_what_was_not_logged_is_left_out():
    shown = curves([{"step": 5, "epoch": 1.0, "loss": 0.5}])
    assert [chart.title for chart in shown.charts] == ["Loss"]
    assert [line.name for line in shown.charts[0].lines] == ["training"]
    assert "Nothing was logged" in training_curves([])
    assert "Nothing was logged" in training_curves([{"step": 0, "train_runtime": 0.1, "epoch": 0}])


def test_a_loss_that_is_no_number_is_told():
    logged = [*history(), {"step": 290, "epoch": 3.1, "loss": math.nan}, {"step": 300, "epoch": 3.2, "loss": math.inf}]
    assert "was not a finite number at 2 logged step(s), first at step 290" in training_curves(logged)


def test_names_are_escaped():
    page = training_curves([{"step": 1, "epoch": 1, f"eval_{HOSTILE}": 0.5}])
    assert "<script" not in page and "<img" not in page
