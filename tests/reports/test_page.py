import math

import pytest

from hfpc.reports.markdown import markdown
from hfpc.reports.metric_text import metric_name, metric_value
from hfpc.reports.page import clipped, duration, moment, number
from tests.reports.samples import HOSTILE


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234567, "1,234,567"), (3.0, "3"), (0.88251, "0.883"), (5e-05, "5e-05"), (12345.6, "12,346"),
     (math.nan, "not a number"), (-math.inf, "infinite"), ("—", "—"), (True, "True")],
)  # fmt: skip
def test_numbers(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "—"), (0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3725, "1 h 02 min")],
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


def test_moments_are_in_utc():
    assert moment(0) == "1970-01-01 00:00:00 UTC"


def test_clipping_tells_how_much_there_was():
    assert clipped("abc", 3) == "abc"
    assert clipped("abcd" * 500, 4) == "abcd … (2,000 characters in all)"


def test_metrics_have_names_and_units():
    assert metric_name("macro_f1") == "Macro F1" and metric_name("own_score") == "Own score"
    assert metric_value("latency_ms_p95", 1234.56) == "1,234.6 ms"
    assert metric_value("accuracy", 1) == "1.000" and metric_value("train", 3000) == "3,000"


def test_markdown_can_do_no_harm():
    html = markdown(
        f"---\ntags: x\n---\n# Title\n\n{HOSTILE}\n\n![p](https://example.com/a.png) [l](javascript:alert(1))"
    )
    assert "<script" not in html and "<img" not in html and 'javascript:alert(1)"' not in html
    assert "<h3>Title</h3>" in html and "tags" not in html


def test_markdown_has_tables():
    assert "<td>1</td>" in markdown("| a |\n| --- |\n| 1 |")
