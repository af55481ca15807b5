import math

import pytest

from hfpc.evaluation.evaluation import CalibrationBin
from hfpc.reports.charts import Series, area, calibration_chart, confusion_matrix, line_chart, roc_chart, thinned


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.2, 0.71), (0, 1), (-3.2, 8), (1e-7, 5e-5), (0.88, 0.8801), (1234, 98765), (0, 0), (7, 7), (-2, -2)],
)
def test_an_axis_ends_in_round_numbers_that_enclose_the_values(low, high):
    axis = line_chart("t", [Series("s", [(1, low), (2, high)])], "Step", "").y
    assert axis.low <= low <= high <= axis.high
    assert 2 <= len(axis.ticks) <= 7
    assert len({tick.text for tick in axis.ticks}) == len(axis.ticks)
    assert [axis.ticks[0].position, axis.ticks[-1].position] == [0, 100]
    shown = [float(tick.text.replace(",", "")) for tick in axis.ticks]
    for tick, value in zip(axis.ticks, shown, strict=True):
        assert axis.position(value) == pytest.approx(tick.position, abs=0.01)


def test_points_lie_where_their_values_say():
    chart = line_chart("Loss", [Series("training", [(5, 1.0), (10, 0.0)], dots=True)], "Step", "")
    assert [tick.text for tick in chart.x.ticks] == ["0", "5", "10"]
    assert chart.lines[0].path == "M50.00 0.00L100.00 100.00"
    assert [(dot.x, dot.y) for dot in chart.lines[0].dots] == [(50, 0), (100, 100)]
    assert chart.summary == "Loss. training: from 1 at step 5 to 0 at step 10."


def test_values_that_are_no_numbers_are_left_out():
    chart = line_chart("t", [Series("s", [(1, math.nan), (2, 0.5), (3, math.inf), (4, 0.7)])], "Step", "")
    assert chart.lines[0].path.count("L") == 1
    assert line_chart("t", [Series("s", [(1, math.nan)]), Series("empty", [])], "Step", "") is None


def test_a_single_point_is_drawn_as_a_dot():
    assert len(line_chart("t", [Series("s", [(3, 0.5)])], "Step", "").lines[0].dots) == 1


def test_thinning_keeps_peaks_and_order():
    points = [(float(step), 1.0) for step in range(10_000)]
    points[4321] = (4321.0, 99.0)
    points[7777] = (7777.0, -99.0)
    kept = thinned(points, 500)
    assert len(kept) <= 500
    assert {(4321.0, 99.0), (7777.0, -99.0)} <= set(kept)
    assert kept == sorted(kept)
    assert thinned(points[:500], 500) == points[:500]


def test_area_under_known_curves():
    assert area([], []) == 0.5
    assert area([0, 0, 1], [0, 1, 1]) == 1
    assert area([0.0, 0.5, 1.0], [0.0, 0.75, 1.0]) == pytest.approx(0.625)


def test_roc_tells_its_area_and_label():
    chart = roc_chart([0.0, 0.2, 1.0], [0.0, 0.9, 1.0], "spam", 0.8512)
    assert "0.851" in chart.note and "spam" in chart.note
    assert chart.lines[0].path == "M0.00 100.00L20.00 10.00L100.00 0.00"


def test_calibration_draws_each_bin():
    bins = [CalibrationBin(low=0.9, high=1.0, confidence=0.95, accuracy=0.8, units=1200)]
    chart = calibration_chart(bins, 0.15)
    assert (chart.lines[0].dots[0].x, round(chart.lines[0].dots[0].y, 6)) == (95, 20)
    assert "80.0% of 1,200 right" in chart.summary


def test_confusion_shares_are_of_the_true_label():
    matrix = confusion_matrix(["a", "b", "c"], [[8, 2, 0], [0, 0, 0], [30.0, 10.0, 60.0]])
    assert [cell.share for cell in matrix.rows[0]] == [0.8, 0.2, 0]
    assert [cell.share for cell in matrix.rows[1]] == [0, 0, 0]
    assert [(pair.truth, pair.predicted, pair.count) for pair in matrix.worst] == [
        ("c", "a", 30),
        ("c", "b", 10),
        ("a", "b", 2),
    ]
    assert [cell.right for cell in matrix.rows[2]] == [False, False, True]


@pytest.mark.parametrize(("labels", "counts"), [([], []), (["a"], []), (["a", "b"], [[1, 2], [3]])])
def test_a_matrix_that_is_incomplete_is_not_drawn(labels, counts):
    assert confusion_matrix(labels, counts) is None
