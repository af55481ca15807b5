import numpy as np
import pyarrow as pa
import pytest

from hfpc import tasks
from hfpc.errors import ArgumentError
from hfpc.evaluation import slices
from tests.conftest import LABELS, TAGS

TEXT, TOKEN = tasks.get("text-classification"), tasks.get("token-classification")


def values(found):
    return [(one.value, one.rows, one.score) for one in found]


def test_strings_by_value_the_most_frequent_first():
    column = pa.chunked_array([["a", "b", None], ["b", "b", ""]])
    found = slices.by_column("source", column, np.array([1, 1, 0, 0, 1, 1.0]))
    assert values(found) == [("b", 3, pytest.approx(2 / 3)), ("(missing)", 2, 0.5), ("a", 1, 1.0)]
    assert {one.column for one in found} == {"source"}


def test_at_most_twenty_values():
    found = slices.by_column("id", pa.chunked_array([[str(i) for i in range(100)]]), np.ones(100))
    assert len(found) == 20


def test_numbers_in_five_bins_of_equal_share():
    found = slices.by_column("n", pa.chunked_array([list(range(1, 101))]), np.arange(100) / 100)
    assert [(one.value, one.rows) for one in found] == [
        ("1-20", 20), ("21-40", 20), ("41-60", 20), ("61-80", 20), ("81-100", 20),
    ]  # fmt: skip
    assert found[0].score == pytest.approx(np.mean(np.arange(20) / 100))


def test_few_numbers_are_named_one_by_one_and_missing_ones_too():
    found = slices.by_column("n", pa.chunked_array([[1, 1, 2, None, 2.5]]), np.array([1, 0, 1, 0, 1.0]))
    assert values(found) == [("1", 2, 0.5), ("2", 1, 1.0), ("2.5", 1, 1.0), ("(missing)", 1, 0.0)]


def test_booleans_are_values_and_no_numbers():
    found = slices.by_column("flag", pa.chunked_array([[True, False, True]]), np.array([1, 0, 0.0]))
    assert values(found) == [("True", 2, 0.5), ("False", 1, 0.0)]


def test_by_length_and_label():
    rows = {"text": ["a", "b", "a b c", "a b"], "label": ["negative", "positive", "negative", "negative"]}
    logits = [np.array(row, np.float32) for row in ([1, 0], [1, 0], [1, 0], [0, 1])]
    found = slices.slices(TEXT, rows, TEXT.score(rows, logits, LABELS), LABELS, pa.table({}))
    assert [(one.column, *rest) for one, rest in zip(found, values(found), strict=True)] == [
        ("length", "1 word", 2, 0.5),
        ("length", "2 words", 1, 0.0),
        ("length", "3 words", 1, 1.0),
        ("label", "negative", 3, pytest.approx(2 / 3)),
        ("label", "positive", 1, 0.0),
    ]


def test_the_most_confident_mistakes_come_first_one_a_row():
    rows = {"tokens": [["in", "paris"], ["rome", "oslo"]], "tags": [["O", "B-LOC"], ["B-LOC", "B-LOC"]]}
    logits = [
        np.array([[5, 0, 0, 0], [1, 0, 0, 0]], np.float32),  # The second word is wrong, without confidence.
        np.array([[2, 0, 0, 0], [0, 0, 4, 0]], np.float32),  # Both are wrong, the second with most confidence.
    ]
    found = slices.mistakes(TOKEN, rows, TOKEN.score(rows, logits, TAGS).units, TAGS)
    assert [(one.text, one.truth, one.predicted) for one in found] == [
        ("rome [oslo]", "B-LOC", "B-PER"),
        ("in [paris]", "B-LOC", "O"),
    ]
    assert found[0].confidence == pytest.approx(np.exp(4) / (np.exp(4) + 3))


def test_at_most_25_mistakes_and_long_texts_are_cut():
    rows = {"text": ["word " * 1000] * 40, "label": ["negative"] * 40}
    scores = TEXT.score(rows, [np.array([0, number], np.float32) for number in range(1, 41)], LABELS)
    found = slices.mistakes(TEXT, rows, scores.units, LABELS)
    assert len(found) == 25
    assert found[0].text.endswith("…") and len(found[0].text) < 600


def test_columns_that_cannot_be_sliced_by_are_told():
    table = pa.table({"text": ["a"], "label": ["b"], "source": ["x"], "parts": [["y"]]})
    slices.check_columns(["source"], table, TEXT)
    with pytest.raises(ArgumentError, match=r"slice_columns='sauce': .*there are source, parts"):
        slices.check_columns(["sauce"], table, TEXT)
    with pytest.raises(ArgumentError, match="slice_columns='parts': it holds list"):
        slices.check_columns(["parts"], table, TEXT)
    with pytest.raises(ArgumentError, match="no columns beside the task's own"):
        slices.check_columns(["source"], table.select(["text", "label"]), TEXT)
