import dataclasses

import pytest

from hfpc.optimization.candidates import REFERENCE
from hfpc.optimization.choosing import choose
from hfpc.optimization.optimization import Figures, Machine, Optimization, Row
from hfpc.reports.optimization_report import optimization_report

PLAIN = Figures(
    latency_ms_p50=20.25,
    latency_ms_p95=31.75,
    rows_per_second=201.0,
    processor_ms=9.75,
    speedup=1.0,
    memory_mb=778.4,
    size_mb=90.87,
    metric=0.8834,
    metric_loss=0.0,
    agreement=1.0,
    changed=0,
    golden=0,
)
FASTER = dataclasses.replace(
    PLAIN,
    latency_ms_p50=12.5,
    rows_per_second=317.0,
    speedup=1.577,
    memory_mb=301.2,
    metric=0.8791,
    metric_loss=0.0043,
    agreement=0.99167,
    changed=5,
)
LIMITS = Optimization(
    enabled=True,
    main_metric="accuracy",
    max_metric_loss=0.01,
    min_agreement=0.99,
    rows=1600,
    machine=Machine(processor="<b>Quick</b> 9000", cores=2, instructions=["avx2"], versions={"torch": "2.13.0"}),
)


def page(*rows: Row) -> str:
    return optimization_report(choose(LIMITS, [Row(name=REFERENCE, figures=PLAIN), *rows]))


@pytest.fixture(scope="module")
def full() -> str:
    return page(
        Row(name="onnxruntime-int8-dynamic", figures=FASTER),
        Row(name="onnxruntime-int8-static", figures=dataclasses.replace(FASTER, speedup=1.7, metric_loss=0.025)),
        Row(name="openvino-int8", reason="RuntimeError: <script>alert(1)</script> is not supported"),
    )


def test_numbers_are_shown(full):
    for shown in ("1.58 times", "317", "201", "12.5 ms", "from 20.2 ms", "31.8", "301 MB", "from 778 MB", "90.9"):
        assert shown in full, shown
    for shown in ("0.879", "from 0.883", "-0.43", "-2.50", "99.17 %", "5 changed", "1,600 rows"):
        assert shown in full, shown


def test_it_says_what_was_kept_and_why_not_the_others(full):
    assert 'Kept: <span dir="auto">onnxruntime-int8-dynamic' in full
    assert "loses at most 1 point of accuracy" in full and "99 % of the labels" in full
    assert "kept: the fastest within the limits, 1.58 times as fast as pytorch-fp32" in full
    assert "loses 2.5 points of accuracy, more than the 1.0 allowed" in full
    assert full.count("not faster than onnxruntime-int8-dynamic") == 1
    assert (
        full.count('<tr class="kept">') == full.count('<tr class="refused">') == full.count('<tr class="failed">') == 1
    )


def test_what_libraries_say_cannot_become_markup(full):
    assert "<script" not in full
    assert "not measured: RuntimeError: &lt;script&gt;alert(1)&lt;/script&gt; is not supported" in full
    assert "&lt;b&gt;Quick&lt;/b&gt; 9000" in full


def test_plain_pytorch_may_be_kept():
    shown = page(Row(name="openvino-int8", figures=dataclasses.replace(FASTER, agreement=0.99996, golden=1)))
    assert f'Kept: <span dir="auto">{REFERENCE}' in shown
    assert "Nothing else is faster" in shown
    assert "answers 1 golden request otherwise" in shown
    assert "99.99" in shown, "what is not all is not 100 %"


def test_switched_off_is_said():
    shown = optimization_report(dataclasses.replace(LIMITS, enabled=False, machine=None))
    assert "switched off" in shown
    assert "<table" not in shown
