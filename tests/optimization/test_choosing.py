import dataclasses

import pytest

from hfpc.optimization.candidates import REFERENCE
from hfpc.optimization.choosing import choose
from hfpc.optimization.optimization import Figures, Optimization, Row

LIMITS = Optimization(enabled=True, main_metric="accuracy", max_metric_loss=0.01, min_agreement=0.99)
PLAIN = Figures(
    latency_ms_p50=20.0,
    latency_ms_p95=30.0,
    rows_per_second=200.0,
    processor_ms=10.0,
    speedup=1.0,
    memory_mb=700.0,
    size_mb=90.0,
    metric=0.88,
    metric_loss=0.0,
    agreement=1.0,
    changed=0,
    golden=0,
)


def row(name: str, **figures) -> Row:
    return Row(name=name, figures=dataclasses.replace(PLAIN, **figures))


def decide(*rows: Row, **limits) -> tuple[str, dict[str, str]]:
    found = choose(dataclasses.replace(LIMITS, **limits), [row(REFERENCE), *rows])
    assert [one.name for one in found.candidates] == [REFERENCE, *(one.name for one in rows)]
    assert [one.figures for one in found.candidates] == [PLAIN, *(one.figures for one in rows)]
    return found.kept, {one.name: one.reason for one in found.candidates}


def test_the_fastest_within_the_limits_is_kept():
    kept, reasons = decide(row("a", speedup=1.4), row("b", speedup=1.6), row("c", speedup=0.7))
    assert kept == "b"
    assert reasons["b"] == "kept: the fastest within the limits, 1.60 times as fast as pytorch-fp32"
    assert {reasons[name] for name in ("a", "c", REFERENCE)} == {"not faster than b"}


def test_a_faster_one_that_loses_too_much_is_refused():
    kept, reasons = decide(row("a", speedup=1.4), row("b", speedup=1.6, metric_loss=0.013))
    assert kept == "a"
    assert reasons["b"] == "loses 1.3 points of accuracy, more than the 1.0 allowed"


def test_a_faster_one_that_gives_other_labels_is_refused():
    kept, reasons = decide(row("a", speedup=1.4), row("b", speedup=1.6, agreement=0.985, metric_loss=-0.02))
    assert kept == "a"
    assert reasons["b"] == "agrees on 98.5 % of labels, less than the 99.0 % required"


def test_a_faster_one_that_changes_a_golden_answer_is_refused():
    kept, reasons = decide(row("a", speedup=1.4), row("b", speedup=1.6, golden=1), row("c", speedup=1.6, golden=2))
    assert kept == "a"
    assert reasons["b"] == "answers 1 golden request otherwise"
    assert reasons["c"] == "answers 2 golden requests otherwise"


@pytest.mark.parametrize("figures", [{"speedup": 1.0}, {"speedup": 0.9}, {"speedup": 2.0, "agreement": 0.5}])
def test_plain_pytorch_is_kept_where_nothing_is_faster_and_as_good(figures):
    kept, reasons = decide(row("a", **figures))
    assert kept == REFERENCE
    assert reasons[REFERENCE] == "kept: nothing else is faster and as good"


def test_plain_pytorch_is_kept_though_it_answers_a_golden_request_otherwise():
    """It is the model; another machine may have made the golden answers."""
    found = choose(LIMITS, [row(REFERENCE, golden=1), row("a", speedup=2.0, golden=1)])
    assert found.kept == REFERENCE


def test_what_could_not_be_made_keeps_its_reason():
    kept, reasons = decide(Row(name="a", reason="it has no such operator"), row("b", speedup=1.1))
    assert kept == "b"
    assert reasons["a"] == "it has no such operator"


def test_exactly_the_limit_is_allowed():
    loss, agreement = 0.89 - 0.88, 1 - 6 / 600
    assert loss > 0.01 and agreement == 0.99
    assert decide(row("a", speedup=1.4, metric_loss=loss, agreement=agreement))[0] == "a"


def test_what_is_just_beyond_a_limit_is_told_with_enough_digits():
    _, reasons = decide(row("a", speedup=1.4, metric_loss=0.01004))
    assert reasons["a"] == "loses 1.004 points of accuracy, more than the 1.000 allowed"


def test_limits_are_the_callers():
    assert decide(row("a", speedup=1.4, metric_loss=0.05), max_metric_loss=0.05)[0] == "a"
    assert decide(row("a", speedup=1.4, agreement=0.9), min_agreement=0.9)[0] == "a"
    assert decide(row("a", speedup=1.4, metric_loss=0.001), max_metric_loss=0.0)[0] == REFERENCE


def test_metrics_are_those_of_what_was_kept():
    found = choose(LIMITS, [row(REFERENCE), row("a", speedup=1.5, changed=3), Row(name="b", reason="no")])
    assert found.metrics["speedup"] == 1.5
    assert found.metrics["changed"] == 3.0
    assert found.metrics["candidates_measured"] == 2.0
    assert all(isinstance(value, float) for value in found.metrics.values())
    assert LIMITS.metrics == {}


def test_of_those_that_are_as_fast_in_batches_the_one_soonest_alone_is_kept():
    kept, reasons = decide(
        row("a", speedup=1.58, latency_ms_p50=5.0),
        row("b", speedup=1.6, latency_ms_p50=12.0),
        row("c", speedup=1.5, latency_ms_p50=4.0),
    )
    assert kept == "a"
    assert reasons["b"] == "as fast as a within 5%, but slower for one row alone"
    assert reasons["c"] == "not faster than a"


def test_plain_pytorch_is_kept_where_others_are_hardly_faster():
    kept, reasons = decide(row("a", speedup=1.04, latency_ms_p50=5.0))
    assert kept == REFERENCE
    assert reasons[REFERENCE] == "kept: nothing else as good is 5% faster"
    assert reasons["a"] == f"less than 5% faster than {REFERENCE}"
