import dataclasses
import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from hfpc import manifest
from hfpc.errors import ArgumentError, DataError
from hfpc.evaluation.evaluate import EvaluateConfig, evaluate
from hfpc.inference.predictor import Predictor
from tests.conftest import LABELS, TAGS, make_tagged, make_texts, save_dataset
from tests.evaluation.models import save_trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base_model, dataset):
    return save_trained(tmp_path_factory.mktemp("trained") / "model", base_model, dataset)


@pytest.fixture(scope="module")
def sliced(tmp_path_factory):
    """A data set with a column of numbers and one of strings beside the task's own."""
    rows = [{**row, "stars": number % 7, "shop": f"shop {number % 3}"} for number, row in enumerate(make_texts(400))]
    splits = {"train": rows[:280], "test": rows[280:]}
    return save_dataset(tmp_path_factory.mktemp("sliced"), splits, "text-classification", LABELS)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, trained, sliced):
    folder = tmp_path_factory.mktemp("evaluated")
    config = EvaluateConfig(slice_columns=["stars", "shop"], bootstrap_samples=500)
    evaluation = evaluate(config, trained, sliced, folder / "out", folder / "report" / "index.html")
    return evaluation, folder


def test_metrics_are_what_the_written_predictions_say(evaluated, sliced):
    evaluation, folder = evaluated
    rows = pq.read_table(folder / "out" / "predictions.parquet").to_pylist()
    pairs = [(row["label"], row["prediction"]) for row in rows]
    right = [truth == predicted for truth, predicted in pairs]
    assert evaluation.rows == len(rows) == 120
    assert evaluation.metrics["accuracy"] == pytest.approx(sum(right) / 120)
    assert 0.85 < evaluation.metrics["accuracy"] < 1
    f1 = []
    for label in LABELS:
        both = sum(pair == (label, label) for pair in pairs)
        f1.append(2 * both / sum((truth == label) + (predicted == label) for truth, predicted in pairs))
    assert evaluation.metrics["macro_f1"] == pytest.approx(sum(f1) / 2)
    assert [one.f1 for one in evaluation.per_label] == pytest.approx(f1)
    assert evaluation.confusion_matrix == [[sum(p == (t, g) for p in pairs) for g in LABELS] for t in LABELS]
    bins = {}
    for row, hit in zip(rows, right, strict=True):
        bins.setdefault(min(int(row["score"] * 10), 9), []).append(hit - row["score"])
    error = sum(abs(sum(gaps)) for gaps in bins.values()) / 120
    assert evaluation.metrics["calibration_error"] == pytest.approx(error, abs=1e-6)
    assert [row["row_score"] for row in rows] == [float(hit) for hit in right]


def test_predictions_hold_the_rows_as_they_were(evaluated, sliced, trained):
    _, folder = evaluated
    written = pq.read_table(folder / "out" / "predictions.parquet")
    before = pq.read_table(sliced / "test")
    assert written.select(before.column_names).equals(before)
    responses = Predictor(trained).respond(before["text"].to_pylist())
    assert written["prediction"].to_pylist() == [response[0]["label"] for response in responses]


def test_manifest_and_json_hold_the_evaluation(evaluated, sliced, trained):
    evaluation, folder = evaluated
    content = manifest.read(folder / "out", "predictions")
    assert content.predictions.metrics == evaluation.metrics
    assert (content.predictions.split, content.predictions.rows) == ("test", 120)
    assert content.predictions.model == manifest.read(trained).model.fingerprint
    assert content.dataset == manifest.read(sliced).dataset
    written = json.loads((folder / "out" / "evaluation.json").read_text())
    assert written == json.loads(json.dumps(dataclasses.asdict(evaluation)))


def test_all_metrics_are_finite_and_lie_in_their_intervals(evaluated):
    evaluation, _ = evaluated
    assert all(isinstance(value, float) and math.isfinite(value) for value in evaluation.metrics.values())
    assert {"accuracy", "macro_f1", "macro_precision", "macro_recall", "mcc"} == set(evaluation.intervals)
    for name, (low, high) in evaluation.intervals.items():
        assert low < evaluation.metrics[name] < high
        assert (evaluation.metrics[f"{name}_low"], evaluation.metrics[f"{name}_high"]) == (low, high)
    assert 0 < evaluation.metrics["latency_ms_p50"] <= evaluation.metrics["latency_ms_p95"]
    assert evaluation.metrics["rows_per_second"] > 0
    assert 0.9 < evaluation.metrics["roc_auc"] <= 1


def test_slices_of_a_column_hold_every_row_once(evaluated):
    evaluation, _ = evaluated
    columns = {}
    for one in evaluation.slices:
        columns.setdefault(one.column, []).append(one)
    assert list(columns) == ["length", "label", "stars", "shop"]
    for found in columns.values():
        assert sum(one.rows for one in found) == 120
        mean = sum(one.rows * one.score for one in found) / 120
        assert mean == pytest.approx(evaluation.metrics["accuracy"])
    assert {one.value for one in columns["shop"]} == {"shop 0", "shop 1", "shop 2"}


def test_mistakes_are_the_wrong_rows(evaluated):
    evaluation, folder = evaluated
    rows = pq.read_table(folder / "out" / "predictions.parquet").to_pylist()
    wrong = sorted((row for row in rows if row["label"] != row["prediction"]), key=lambda row: -row["score"])
    assert 0 < len(wrong) <= 25
    assert [(one.text, one.truth, one.predicted) for one in evaluation.mistakes] == [
        (row["text"], row["label"], row["prediction"]) for row in wrong
    ]


def test_the_report_is_written(evaluated):
    evaluation, folder = evaluated
    page = (folder / "report" / "index.html").read_text()
    assert f"{evaluation.metrics['accuracy']:.3f}" in page
    assert "shop 2" in page


def test_the_same_seed_gives_the_same_intervals(evaluated, trained, sliced, tmp_path):
    evaluation, _ = evaluated
    again = evaluate(EvaluateConfig(bootstrap_samples=500), trained, sliced, tmp_path / "out", tmp_path / "report")
    other = evaluate(EvaluateConfig(bootstrap_samples=500, seed=1), trained, sliced, tmp_path / "o", tmp_path / "r")
    assert again.intervals == evaluation.intervals != other.intervals


def test_token_classification(tmp_path, base_model, tagged_dataset):
    model = save_trained(tmp_path / "model", base_model, tagged_dataset)
    evaluation = evaluate(EvaluateConfig(split="validation"), model, tagged_dataset, tmp_path / "out", tmp_path / "r")
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    right = [[a == b for a, b in zip(row["tags"], row["prediction"], strict=True)] for row in rows]
    assert evaluation.rows == 40 and evaluation.main_metric == "entity_f1" and evaluation.label_names == TAGS
    assert evaluation.metrics["accuracy"] == pytest.approx(np.mean([hit for row in right for hit in row]))
    assert [row["row_score"] for row in rows] == pytest.approx([np.mean(row) for row in right])
    assert 0.8 < evaluation.metrics["entity_f1"] <= 1
    assert "entity_f1" in evaluation.intervals
    assert all(math.isfinite(value) for value in evaluation.metrics.values())
    assert sum(map(sum, evaluation.confusion_matrix)) == sum(len(row) for row in right)


def test_words_beyond_the_models_length_are_wrong_but_no_confident_mistakes(tmp_path, base_model, tagged_dataset):
    model = save_trained(tmp_path / "model", base_model, tagged_dataset)
    row = {"tokens": ["love"] * 62, "tags": ["O"] * 62}
    long = {"tokens": row["tokens"] + ["paris"] * 10, "tags": row["tags"] + ["B-LOC"] * 10}
    short = {"tokens": ["paris", "love"], "tags": ["B-LOC", "O"]}
    found = {}
    for name, rows in (("cut", [long, short]), ("whole", [row, short])):
        data = save_dataset(tmp_path / name, {"test": rows}, "token-classification", TAGS)
        config = EvaluateConfig(bootstrap_samples=100)
        found[name] = evaluate(config, model, data, tmp_path / f"{name}-out", tmp_path / "report")
    cut, whole = found["cut"], found["whole"]
    assert cut.metrics["words_not_seen"] == 10 and "words_not_seen" not in whole.metrics
    assert cut.metrics["entity_recall"] < whole.metrics["entity_recall"]
    assert sum(map(sum, cut.confusion_matrix)) == 74
    assert sum(one.units for one in cut.calibration) == 64
    assert cut.metrics["calibration_error"] == pytest.approx(whole.metrics["calibration_error"], abs=1e-4)
    assert cut.roc.auc == pytest.approx(whole.roc.auc)
    assert [one.confidence for one in cut.mistakes] == pytest.approx([one.confidence for one in whole.mistakes])


def test_labels_in_another_order_than_the_models_are_matched_by_name(trained, tmp_path):
    rows = make_texts(60, seed=5)
    splits = {"test": rows}
    same = save_dataset(tmp_path / "same", splits, "text-classification", LABELS)
    turned = save_dataset(tmp_path / "turned", splits, "text-classification", LABELS[::-1])
    first = evaluate(EvaluateConfig(), trained, same, tmp_path / "a", tmp_path / "ar")
    second = evaluate(EvaluateConfig(), trained, turned, tmp_path / "b", tmp_path / "br")
    assert first.metrics["accuracy"] == second.metrics["accuracy"] > 0.8


def test_a_split_with_one_label_has_no_roc_and_finite_metrics(trained, tmp_path):
    rows = [row for row in make_texts(60) if row["label"] == "positive"]
    dataset = save_dataset(tmp_path / "data", {"test": rows}, "text-classification", LABELS)
    evaluation = evaluate(EvaluateConfig(), trained, dataset, tmp_path / "out", tmp_path / "report")
    assert evaluation.roc is None and "roc_auc" not in evaluation.metrics
    assert all(math.isfinite(value) for value in evaluation.metrics.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "split='dev': choose one of train, validation, test"),
        ({"slice_columns": "stars"}, "slice_columns='stars': give a list of column names"),
        ({"bootstrap_samples": 10}, "bootstrap_samples=10: give at least 100"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        EvaluateConfig(**options)


def test_what_does_not_fit_is_told_before_the_model_is_loaded(model, tagging_model, dataset, sliced, tmp_path):
    (tmp_path / "no_weights").mkdir()
    (tmp_path / "no_weights" / "hfpc.json").write_text((model / "hfpc.json").read_text())
    (tmp_path / "tagger").mkdir()
    (tmp_path / "tagger" / "hfpc.json").write_text((tagging_model / "hfpc.json").read_text())
    moods = save_dataset(tmp_path / "moods", {"test": make_texts(5)}, "text-classification", [*LABELS, "neutral"])
    tagged = save_dataset(tmp_path / "tagged", {"test": make_tagged(5)}, "token-classification", TAGS)
    cases = [
        (EvaluateConfig(split="validation"), "no_weights", sliced, r"split='validation'.* test \(120 rows\)"),
        (EvaluateConfig(slice_columns=["star"]), "no_weights", sliced, r"slice_columns='star'.*stars, shop"),
        (EvaluateConfig(), "no_weights", moods, "does not know: neutral; it knows negative, positive"),
        (EvaluateConfig(), "no_weights", tagged, "for text-classification, the data set for token-classification"),
        (EvaluateConfig(), "tagger", dataset, "for token-classification, the data set for text-classification"),
    ]
    for config, folder, data, message in cases:
        with pytest.raises((ArgumentError, DataError), match=message):
            evaluate(config, tmp_path / folder, data, tmp_path / "out", tmp_path / "report")
    assert not (tmp_path / "out").exists() and not (tmp_path / "report").exists()
