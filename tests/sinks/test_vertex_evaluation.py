"""What `evaluate` measured, imported into the loopback Vertex AI, which knows the fields of the schemas."""

import pytest

from hfpc import manifest
from hfpc.errors import HfpcError
from hfpc.evaluation.evaluate import EvaluateConfig, evaluate
from hfpc.google_cloud import reaching
from hfpc.sinks import vertex_evaluation
from hfpc.sinks.vertex_calls import place_of
from hfpc.sinks.vertex_evaluation import Evaluation
from hfpc.sinks.vertex_models import RegisterVertexModelConfig, register
from tests.cloud.google_fixtures import LOCATION, PROJECT, SERVING_IMAGE
from tests.evaluation.models import save_trained
from tests.sinks.conftest import save_predictions
from tests.sinks.vertex_place import QUICK, put, registered

pytest.importorskip("google.cloud.aiplatform_v1")


def imported(google_cloud, folder, base_model, dataset):
    """What was measured of a model that has learnt a little, and what Vertex AI has of it."""
    google_cloud.make_bucket("registered")
    model = save_trained(folder / "model", base_model, dataset, steps=8)
    measured = evaluate(
        EvaluateConfig(bootstrap_samples=100), model, dataset, folder / "predictions", folder / "report.html"
    ).metrics
    config = RegisterVertexModelConfig(
        name="measured", project=PROJECT, location=LOCATION, staging_uri="gs://registered/staging", image=SERVING_IMAGE
    )
    version = register(str(model), folder / "predictions", config, QUICK)
    (evaluation,) = google_cloud.vertex.evaluations[version.resource]
    (at_best,) = evaluation.metrics["confidenceMetrics"]
    return measured, evaluation, dict(at_best)


def test_entities_are_what_is_told_of_token_classification(google_cloud, tmp_path, base_model, tagged_dataset):
    measured, evaluation, at_best = imported(google_cloud, tmp_path, base_model, tagged_dataset)
    assert evaluation.metrics_schema_uri.endswith("/text_extraction_metrics_1.0.0.yaml")
    assert evaluation.display_name == "test split"
    assert at_best == {
        "confidenceThreshold": 0,
        "precision": measured["entity_precision"],
        "recall": measured["entity_recall"],
        "f1Score": measured["entity_f1"],
    }
    # Else the test would not tell entities from words.
    assert 0 < measured["entity_f1"] not in (measured["macro_f1"], measured["accuracy"])


def test_averages_over_rows_and_over_labels_are_told_apart(google_cloud, tmp_path, base_model, dataset):
    measured, evaluation, at_best = imported(google_cloud, tmp_path, base_model, dataset)
    assert evaluation.metrics_schema_uri.endswith("/classification_metrics_1.0.0.yaml")
    micro = dict.fromkeys(["precision", "recall", "f1Score", "f1ScoreMicro"], measured["accuracy"])
    assert at_best == {"confidenceThreshold": 0, "maxPredictions": 1, **micro, "f1ScoreMacro": measured["macro_f1"]}
    assert measured["accuracy"] != measured["macro_f1"]


@pytest.mark.parametrize(
    ("schema", "metrics", "told"),
    [
        ("text_extraction_metrics_1.0.0.yaml", {"confidenceMetrics": [{"f1ScoreMicro": 1}]}, "no field f1ScoreMicro"),
        ("text_extraction_metrics_1.0.0.yaml", {"auPrc": 1}, "no field auPrc"),
        ("classification_metrics_1.0.0.yaml", {"confidenceMetrics": [{"f1": 1}]}, "no field f1 "),
        ("classification_metrics_1.0.0.yaml", {"confidenceMetrics": [1]}, "must be an object"),
        ("metrics.yaml", {}, "Unknown metrics schema"),
    ],
)
def test_the_loopback_refuses_what_a_schema_does_not_have(google_cloud, model, schema, metrics, told):
    name = registered(put(google_cloud, model, "old"))
    uri = f"gs://google-cloud-aiplatform/schema/modelevaluation/{schema}"
    place, evaluation = place_of(name, "registered", QUICK), Evaluation("test split", uri, metrics)
    with pytest.raises(HfpcError, match=told), reaching("importing"):
        vertex_evaluation.ensure(place, name, evaluation)
    assert name not in google_cloud.vertex.evaluations


def test_what_vertex_ai_has_no_schema_for_is_not_told(tmp_path):
    for number, (task, metrics) in enumerate(
        [("text-generation", {"perplexity": 3.0}), ("token-classification", {"rows_per_second": 9.0})]
    ):
        folder = save_predictions(tmp_path / str(number), "1" * 64, task, **metrics)
        assert manifest.read(folder).predictions.metrics == metrics
        assert vertex_evaluation.read(folder, "1" * 64) is None
