import dataclasses
import json
import shutil

import numpy as np
import pytest

from hfpc import registry, storage
from hfpc.errors import ArgumentError, DataError
from hfpc.evaluation.compare_models import CompareModelsConfig, compare_models
from hfpc.evaluation.evaluate import EvaluateConfig, evaluate
from hfpc.inference.batch_predict import BatchPredictConfig, batch_predict
from tests.conftest import LABELS, TAGS, make_texts, save_dataset, save_model
from tests.evaluation.models import save_trained

GOOD, BAD = "good", "bad"


@pytest.fixture(scope="module")
def models(tmp_path_factory, base_model, dataset):
    """A model that has learnt the task and one that has not."""
    folder = tmp_path_factory.mktemp("models")
    return {
        GOOD: save_trained(folder / GOOD, base_model, dataset),
        BAD: save_model(folder / BAD, base_model, dataset, seed=3),
    }


@pytest.fixture(scope="module")
def predictions(tmp_path_factory, models, dataset):
    folder = tmp_path_factory.mktemp("predictions")
    for name, model in models.items():
        evaluate(EvaluateConfig(bootstrap_samples=100), model, dataset, folder / name, folder / f"{name}.html")
    return {name: folder / name for name in models}


def accuracy(folder) -> float:
    return json.loads((folder / "evaluation.json").read_text())["metrics"]["accuracy"]


def test_a_better_candidate_is_promoted(models, predictions, dataset):
    found = compare_models(CompareModelsConfig(champion=str(models[BAD])), predictions[GOOD], dataset)
    good, bad = accuracy(predictions[GOOD]), accuracy(predictions[BAD])
    assert good - bad > 0.2
    assert found.decision == "promote"
    assert found.metrics["candidate_accuracy"] == pytest.approx(good)
    assert found.metrics["champion_accuracy"] == pytest.approx(bad)
    assert found.metrics["gain"] == pytest.approx(good - bad)
    assert found.metrics["p_value"] < 0.01
    assert len(found.reasons) == 1
    assert found.reasons[0].startswith(f"gain of {good - bad:.3f} in accuracy over {models[BAD]} ({bad:.3f}), p = ")
    assert found.reasons[0].endswith(": better")


def test_a_worse_candidate_is_not(models, predictions, dataset):
    config = CompareModelsConfig(champion=str(models[GOOD]), significance=1)
    found = compare_models(config, predictions[BAD], dataset)
    assert found.decision == "keep"
    assert found.reasons[0].startswith("no gain in accuracy over")
    assert found.metrics["gain"] < 0 and found.metrics["p_value"] > 0.5


def test_a_gain_that_is_too_small_is_not_enough(models, predictions, dataset):
    gain = accuracy(predictions[GOOD]) - accuracy(predictions[BAD])
    champion = str(models[BAD])
    enough = compare_models(CompareModelsConfig(champion=champion, min_gain=gain), predictions[GOOD], dataset)
    too_small = compare_models(
        CompareModelsConfig(champion=champion, min_gain=gain + 0.001), predictions[GOOD], dataset
    )
    assert (enough.decision, too_small.decision) == ("promote", "keep")
    assert too_small.reasons[0].endswith(f"less than the required gain of {gain + 0.001:.3f}")


def test_a_gain_that_may_be_luck_is_not_enough(tmp_path, models, dataset):
    """Two rows more of four prove nothing: p is a quarter."""
    rows = [{"text": "i love it", "label": "positive"}, {"text": "i hate it", "label": "negative"}] * 2
    few = save_dataset(tmp_path / "few", {"test": rows}, "text-classification", LABELS)
    evaluate(EvaluateConfig(), models[GOOD], few, tmp_path / "out", tmp_path / "report")
    champion = str(models[BAD])
    doubted = compare_models(CompareModelsConfig(champion=champion), tmp_path / "out", few)
    taken = compare_models(CompareModelsConfig(champion=champion, significance=1), tmp_path / "out", few)
    # The champion gives every row the same label: it has two of four right, the candidate all.
    assert doubted.metrics["gain"] == taken.metrics["gain"] == 0.5
    assert doubted.metrics["p_value"] == pytest.approx(0.25)
    assert (doubted.decision, taken.decision) == ("keep", "promote")
    assert doubted.reasons[0].endswith("may be luck, since p is above 0.05")


def test_least_values_bind_with_and_without_a_champion(models, predictions, dataset):
    value = accuracy(predictions[GOOD])
    for champion in ("", str(models[BAD])):
        config = CompareModelsConfig(champion=champion, min_metrics={"accuracy": 0.7, "macro_f1": 0.6})
        reached = compare_models(config, predictions[GOOD], dataset)
        missed = compare_models(
            dataclasses.replace(config, min_metrics={"accuracy": 0.999}), predictions[GOOD], dataset
        )
        assert (reached.decision, missed.decision) == ("promote", "keep")
        assert reached.reasons[0] == f"accuracy {value:.3f} is at least the required 0.700"
        assert reached.reasons[1].startswith("macro_f1 0.")
        assert missed.reasons[0] == f"accuracy {value:.3f} is below the required 0.999"


def test_numbers_show_on_which_side_they_are(predictions, dataset):
    value = accuracy(predictions[GOOD])
    config = CompareModelsConfig(min_metrics={"accuracy": value + 0.00004})
    reason = compare_models(config, predictions[GOOD], dataset).reasons[0]
    shown = [float(word) for word in reason.split() if word[0].isdigit()]
    assert shown[0] < shown[1]


def test_the_least_value_itself_is_enough(predictions, dataset):
    config = CompareModelsConfig(min_metrics={"accuracy": accuracy(predictions[GOOD])})
    assert compare_models(config, predictions[GOOD], dataset).decision == "promote"


@pytest.mark.parametrize("champion", ["", "tweets@champion", "tweets@3"])
def test_without_a_champion_the_first_candidate_is_promoted(home, predictions, dataset, champion):
    found = compare_models(CompareModelsConfig(champion=champion), predictions[BAD], dataset)
    assert found.decision == "promote"
    assert found.reasons == ["there is no champion yet"]
    assert set(found.metrics) == {"candidate_accuracy"}


def test_the_champion_of_a_registry(tmp_path, home, models, predictions, dataset):
    for place in ("", str(tmp_path / "registry")):
        version = registry.register(models[BAD], name="tweets", registry=place)
        registry.move_alias("tweets", "champion", version, place)
        config = CompareModelsConfig(champion="tweets@champion", registry=place)
        better = compare_models(config, predictions[GOOD], dataset)
        assert better.decision == "promote"
        assert "over version 1 of tweets (" in better.reasons[0]
        same = compare_models(config, predictions[BAD], dataset)
        assert same.decision == "keep"
        assert same.reasons == ["the candidate is the same model as version 1 of tweets"]


def test_a_champion_at_a_uri(models, predictions, dataset):
    storage.upload(models[BAD], "memory://compare/champion")
    config = CompareModelsConfig(champion="memory://compare/champion")
    found = compare_models(config, predictions[GOOD], dataset)
    assert found.decision == "promote"
    assert "over memory://compare/champion (" in found.reasons[0]


def test_token_classification(tmp_path, base_model, tagged_dataset, tagging_model):
    good = save_trained(tmp_path / "good", base_model, tagged_dataset)
    evaluate(EvaluateConfig(), good, tagged_dataset, tmp_path / "out", tmp_path / "report")
    config = CompareModelsConfig(champion=str(tagging_model))
    found = compare_models(config, tmp_path / "out", tagged_dataset)
    assert found.decision == "promote"
    assert found.metrics["candidate_entity_f1"] > found.metrics["champion_entity_f1"]
    assert "in entity_f1 over" in found.reasons[0]


def all_outside(folder, model):
    """The model with a bias by which it finds no entity at all."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    bias = np.array([1000, 0, 0, 0], np.float32)
    save_file({**weights, "classifier.bias": bias}, folder / "model.safetensors", {"format": "pt"})
    content = json.loads((folder / "hfpc.json").read_text())
    content["model"]["fingerprint"] = "2" * 64
    (folder / "hfpc.json").write_text(json.dumps(content))
    return folder


def test_the_test_is_of_the_metric_that_the_gain_is_in(tmp_path, base_model, tagged_dataset):
    """The candidate finds entities and the champion none, and yet both have as many words wrong."""
    good = save_trained(tmp_path / "good", base_model, tagged_dataset)
    champion = all_outside(tmp_path / "champion", good)
    # Of each two places one is no place here: the candidate has it wrong, the champion the other.
    rows = [{"tokens": ["this", "paris", "day", "oslo"], "tags": ["O", "B-LOC", "O", "O"]}] * 30
    test = save_dataset(tmp_path / "places", {"test": rows}, "token-classification", TAGS)
    evaluation = evaluate(EvaluateConfig(bootstrap_samples=100), good, test, tmp_path / "out", tmp_path / "report")
    found = compare_models(CompareModelsConfig(champion=str(champion)), tmp_path / "out", test)
    assert evaluation.metrics["accuracy"] == 0.75
    assert found.metrics["candidate_entity_f1"] == pytest.approx(2 / 3)
    assert found.metrics["champion_entity_f1"] == 0
    assert found.decision == "promote"
    assert found.metrics["p_value"] < 0.001


def test_a_champion_of_other_data_may_have_seen_the_rows(tmp_path, models, predictions, dataset):
    champion = shutil.copytree(models[BAD], tmp_path / "champion")
    said = []
    for fingerprint in ("0" * 64, "3" * 64):
        content = json.loads((champion / "hfpc.json").read_text())
        content["dataset"]["fingerprint"] = fingerprint
        (champion / "hfpc.json").write_text(json.dumps(content))
        found = compare_models(CompareModelsConfig(champion=str(champion)), predictions[GOOD], dataset)
        assert found.decision == "promote"
        said.append(found.reasons[1:])
    warning = "the champion was trained on another version of the data, so it may have seen some of these rows"
    assert said == [[], [warning]]


def test_a_champion_for_other_labels_is_an_error(tmp_path, base_model, predictions, dataset):
    other = save_dataset(tmp_path / "other", {"test": make_texts(5)}, "text-classification", ["negative", "neutral"])
    champion = save_model(tmp_path / "champion", base_model, other)
    with pytest.raises(DataError, match=r"does not know: positive; it knows negative, neutral; compare with another"):
        compare_models(CompareModelsConfig(champion=str(champion)), predictions[GOOD], dataset)


def test_a_champion_for_another_task_is_an_error(tagging_model, predictions, dataset):
    with pytest.raises(DataError, match="the model is for token-classification"):
        compare_models(CompareModelsConfig(champion=str(tagging_model)), predictions[GOOD], dataset)


def test_predictions_on_other_rows_are_an_error(tmp_path, predictions, dataset):
    other = shutil.copytree(dataset, tmp_path / "other")
    content = json.loads((other / "hfpc.json").read_text())
    content["dataset"]["fingerprint"] = "1" * 64
    (other / "hfpc.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="was not made on"):
        compare_models(CompareModelsConfig(), predictions[GOOD], other)


def test_predictions_of_batch_predict_are_an_error(tmp_path, model, dataset):
    (tmp_path / "rows.csv").write_text("text\nlove\n")
    batch_predict(BatchPredictConfig(source=str(tmp_path / "rows.csv")), model, tmp_path / "out")
    with pytest.raises(DataError, match="has no scores: give the output of evaluate"):
        compare_models(CompareModelsConfig(), tmp_path / "out", dataset)


def test_an_unknown_metric_names_those_there_are(predictions, dataset):
    with pytest.raises(ArgumentError, match=r"there is no 'f1'; there are accuracy, .*macro_f1"):
        compare_models(CompareModelsConfig(min_metrics={"f1": 0.5}), predictions[GOOD], dataset)


def test_a_champion_that_is_nowhere_is_an_error(predictions, dataset):
    with pytest.raises(ArgumentError, match="champion='no/such/folder': give a model folder or URI"):
        compare_models(CompareModelsConfig(champion="no/such/folder"), predictions[GOOD], dataset)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_metrics": {"accuracy": "high"}}, "give a number for 'accuracy'"),
        ({"min_metrics": {"accuracy": float("nan")}}, "give a number for 'accuracy'"),
        ({"min_metrics": {"latency_ms_p95": 50}}, "better when it is lower"),
        ({"min_gain": -0.1}, "min_gain=-0.1"),
        ({"significance": 0}, "significance=0"),
        ({"significance": 1.5}, "significance=1.5"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        CompareModelsConfig(**options)
