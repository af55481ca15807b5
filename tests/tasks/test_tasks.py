"""What every task must keep to, asked of each there is."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hfpc import tasks
from hfpc.errors import ArgumentError
from hfpc.inference.predictor import Predictor

NAMES = tasks.names()
FIXTURES = {"text-classification": ("model", "dataset"), "token-classification": ("tagging_model", "tagged_dataset")}


@pytest.fixture(params=NAMES)
def case(request):
    model, dataset = (request.getfixturevalue(name) for name in FIXTURES[request.param])
    return Predictor(model), pq.read_table(dataset / "test")


def test_both_tasks_are_found():
    assert {"text-classification", "token-classification"} <= set(NAMES)
    assert [tasks.get(name).name for name in NAMES] == NAMES


def test_unknown_task_names_those_there_are():
    with pytest.raises(ArgumentError, match=r"task='summarization'.*text-classification"):
        tasks.get("summarization")


def test_clean_keeps_good_rows_and_other_columns_as_they_are(case):
    predictor, table = case
    table = table.append_column("id", pa.array(range(table.num_rows)))
    cleaned, dropped = predictor.task.clean(table)
    assert cleaned.to_pylist() == table.to_pylist()
    assert dropped == {}


def test_output_columns_have_the_same_types_with_and_without_rows(case):
    predictor, table = case
    rows = {role: table[role].to_pylist() for role in predictor.task.columns}
    some = predictor.task.output_columns(predictor.predict(rows), predictor.label_names)
    none = predictor.task.output_columns([], predictor.label_names)
    assert some.schema == none.schema
    assert (some.num_rows, none.num_rows) == (table.num_rows, 0)
    assert {"prediction", "score"} <= set(some.column_names)


def test_main_metric_and_all_others_are_finite_also_on_no_rows(case):
    predictor, table = case
    task, names = predictor.task, predictor.label_names
    rows = {role: table[role].to_pylist() for role in task.columns}
    scores = task.score(rows, predictor.predict(rows), names)
    found = task.metrics(scores.sums.sum(axis=0))
    assert task.main_metric in found
    assert all(np.isfinite(value) for value in found.values())
    empty = task.metrics(np.zeros_like(scores.sums[0]))
    assert set(empty) == set(found) and all(value == 0 for value in empty.values())


def test_the_main_value_is_the_main_metric(case):
    predictor, table = case
    task = predictor.task
    rows = {role: table[role].to_pylist() for role in task.columns}
    scores = task.score(rows, predictor.predict(rows), predictor.label_names)
    groups = np.stack([scores.main_sums[::2].sum(axis=0), scores.main_sums[1::2].sum(axis=0)])
    halves = np.stack([scores.sums[::2].sum(axis=0), scores.sums[1::2].sum(axis=0)])
    assert task.main_value(groups) == pytest.approx(task.metrics(halves)[task.main_metric])
    assert len(scores.main_sums) == table.num_rows
    assert task.main_value(np.zeros_like(groups)).tolist() == [0, 0]


def test_row_scores_lie_between_0_and_1_and_units_in_row_order(case):
    predictor, table = case
    rows = {role: table[role].to_pylist() for role in predictor.task.columns}
    scores = predictor.task.score(rows, predictor.predict(rows), predictor.label_names)
    assert scores.row_scores.shape == (table.num_rows,)
    assert 0 <= scores.row_scores.min() and scores.row_scores.max() <= 1
    assert np.all(np.diff(scores.units.rows) >= 0)
    assert scores.units.probabilities.sum(axis=1) == pytest.approx(np.ones(len(scores.units.truth)), abs=1e-5)


def test_a_request_gives_the_answer_again_whatever_the_scores(case):
    predictor, table = case
    request = predictor.task.request(table.to_pylist()[0])
    first, second = predictor.respond([request, request])
    assert predictor.task.answer(first) == predictor.task.answer(second)


@pytest.mark.parametrize("inputs", [[3], [None], [["a"]], [{"txt": "a"}]])
def test_inputs_that_are_no_text_are_refused(case, inputs):
    with pytest.raises(ArgumentError, match=r"inputs=.*each input must be"):
        case[0].task.parse(inputs)


def test_unknown_parameters_are_refused(case):
    predictor, _ = case
    with pytest.raises(ArgumentError, match=r"parameters='temperature': unknown parameter; known ones are"):
        predictor.respond(["i love this"], {"temperature": 1})
