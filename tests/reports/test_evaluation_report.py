import pytest

from hfpc.reports.evaluation_report import evaluation_report
from tests.reports.samples import empty_evaluation, evaluation, label_names


@pytest.mark.parametrize("labels", [2, 3, 9, 150])
def test_texts_and_labels_of_users_cannot_become_markup(labels):
    page = evaluation_report(evaluation(label_names(labels)))
    assert "<script" not in page and "<img" not in page
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in page
    page.encode("utf-8")


def test_numbers_are_shown():
    page = evaluation_report(evaluation(["bad", "good"], confusion_matrix=[[180, 20], [25, 1150]]))
    for shown in ("0.881", "0.861 to 0.901", "5.3 ms", "1,158", "180", "90.0 %", "1,150", "97.9 %"):
        assert shown in page, shown
    for shown in ("0.912", "0.823", "0.866", "1,234", "0.765", "0.988", "0.943", "2,345 rows"):
        assert shown in page, shown


def test_long_texts_are_clipped():
    page = evaluation_report(evaluation(["bad", "good"]))
    assert "x" * 600 in page and "x" * 601 not in page
    assert "(900 characters in all)" in page


def test_scripts_of_every_direction_are_kept():
    page = evaluation_report(evaluation(label_names(3)))
    assert "これはひどい製品です。" in page and "هذا منتج رائع حقًا، شكرًا" in page and "消極的" in page


def test_empty_sections_are_left_out():
    page = evaluation_report(empty_evaluation())
    assert "0.250" in page
    for section in ("Confusion", "ROC", "Calibration", "Labels", "Slices", "mistakes"):
        assert f"{section}</h2>" not in page and f"{section} curve" not in page


def test_no_mistake_is_said():
    assert "every row was predicted rightly" in evaluation_report(evaluation(["bad", "good"], mistakes=[]))
