import numpy as np
import pyarrow as pa
import pytest

from hfpc import tasks
from hfpc.errors import ArgumentError, DataError
from hfpc.tasks.text_classification import softmax
from tests.conftest import LABELS

TASK = tasks.get("text-classification")


def test_clean_strips_texts_and_counts_what_it_drops():
    table = pa.table(
        {"id": [1, 2, 3, 4, 5], "text": [" a ", "", None, "\t\n", "b"], "label": ["x ", "x", "x", "x", None]}
    )
    cleaned, dropped = TASK.clean(table)
    assert cleaned.to_pylist() == [{"id": 1, "text": "a", "label": "x"}]
    assert dropped == {"rows with an empty text removed": 3, "rows without a label removed": 1}


def test_clean_works_without_labels_and_on_no_rows():
    assert TASK.clean(pa.table({"text": ["a", ""]}))[0].to_pylist() == [{"text": "a"}]
    assert TASK.clean(pa.table({"text": pa.array([], pa.string())}))[0].num_rows == 0


def test_integer_labels_become_strings_ordered_by_value():
    cleaned, _ = TASK.clean(pa.table({"text": ["a", "b"], "label": [10, 9]}))
    assert cleaned["label"].to_pylist() == ["10", "9"]
    assert TASK.label_names(["10", "9", "-1", "9"]) == ["-1", "9", "10"]
    assert TASK.label_names(["b", "10", "9"]) == ["10", "9", "b"]
    assert TASK.label_names(["--1", "2"]) == ["--1", "2"]


def test_a_column_that_is_no_text_is_an_error():
    with pytest.raises(DataError, match=r"column for 'text' holds list<item: int64>"):
        TASK.clean(pa.table({"text": [[1], [2]]}))


def test_label_counts():
    assert TASK.label_counts(pa.table({"label": ["a", "b", "a"]})) == {"a": 2, "b": 1}


def test_score_by_hand():
    logits = [np.array(row, np.float32) for row in ([2, 0], [0, 1], [3, 0], [0, 5])]
    scores = TASK.score({"label": ["negative", "negative", "negative", "positive"]}, logits, LABELS)
    assert scores.row_scores.tolist() == [1, 0, 1, 1]
    assert scores.units.truth.tolist() == [0, 0, 0, 1]
    found = TASK.metrics(scores.sums.sum(axis=0))
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_step_metrics_agree_with_the_score():
    logits, labels = np.array([[2, 0], [0, 1], [3, 0], [0, 5]]), np.array([0, 0, 0, 1])
    assert TASK.step_metrics(logits, labels, LABELS)["accuracy"] == pytest.approx(3 / 4)
    assert TASK.step_metrics(logits, labels, LABELS)["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_output_columns_by_hand():
    logits = [np.log(np.array(row, np.float32)) for row in ([0.9, 0.1], [0.3, 0.7])]
    assert TASK.output_columns(logits, LABELS).to_pylist() == [
        {"prediction": "negative", "score": pytest.approx(0.9), "probabilities": pytest.approx([0.9, 0.1])},
        {"prediction": "positive", "score": pytest.approx(0.7), "probabilities": pytest.approx([0.3, 0.7])},
    ]


def test_respond_sorts_by_score_and_cuts_at_top_k():
    logits = np.log(np.array([0.2, 0.5, 0.3], np.float32))
    response = TASK.respond({}, logits, ["a", "b", "c"], {"top_k": 2.0})
    assert response == [{"label": "b", "score": pytest.approx(0.5)}, {"label": "c", "score": pytest.approx(0.3)}]
    assert len(TASK.respond({}, logits, ["a", "b", "c"], {})) == 3
    assert TASK.answer(response) == "b"


@pytest.mark.parametrize(
    ("function", "expected"), [("none", [1000.0, -1000.0]), ("sigmoid", [1.0, 0.0]), ("softmax", [1.0, 0.0])]
)
def test_function_to_apply_also_far_out(function, expected):
    with np.errstate(over="raise", invalid="raise"):
        response = TASK.respond({}, np.array([1000, -1000], np.float32), LABELS, {"function_to_apply": function})
    assert [entry["score"] for entry in response] == expected


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True, "2", float("nan"), float("inf")])
def test_a_top_k_that_is_no_count_is_refused(top_k):
    with pytest.raises(ArgumentError, match=r"top_k=.*whole number"):
        TASK.respond({}, np.zeros(2, np.float32), LABELS, {"top_k": top_k})


def test_an_unknown_function_is_refused():
    with pytest.raises(ArgumentError, match="function_to_apply='relu': choose one of softmax, sigmoid, none"):
        TASK.respond({}, np.zeros(2, np.float32), LABELS, {"function_to_apply": "relu"})


def test_parse_takes_strings_and_objects():
    assert TASK.parse(["a", {"text": "b"}]) == {"text": ["a", "b"]}


def test_softmax_of_large_logits_is_finite():
    assert softmax(np.array([[1000.0, 1000.0]])).tolist() == [[0.5, 0.5]]
