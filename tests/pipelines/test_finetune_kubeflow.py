"""From a CSV file to an answer of an InferenceService, over loopback: trained, registered, deployed, tested, asked."""

import csv

import pytest

from hfpc.sinks import kserve
from hfpc.submit.local import run
from tests.cloud.kubeflow_model_registry import ModelRegistry
from tests.conftest import make_texts

pytestmark = pytest.mark.slow
pytest.importorskip("kubernetes")


def test_what_is_trained_is_what_serves(cluster, google_cloud, base_model, tmp_path, home):
    google_cloud.make_bucket("artifacts")
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(make_texts(600))
    with ModelRegistry().serve() as registry:
        parameters = {
            "name": "tiny",
            "source": str(tmp_path / "rows.csv"),
            "base_model": str(base_model),
            "epochs": 8,
            "learning_rate": 5e-3,
            "min_metrics": {"accuracy": 0.7},
            "registry": registry.address,
            "staging_uri": "gs://artifacts/models",
            "ingress": cluster.gateway.address,
            "max_latency_ms": 10_000,
        }
        done = run("finetune_kubeflow", parameters)
    assert done.state == "succeeded", [(task.name, task.error) for task in done.tasks]
    assert [task.name for task in done.tasks][-3:] == ["register-kubeflow-model", "deploy-kserve", "test-endpoint"]
    (artifact,) = registry.objects["artifacts"]
    ((key, service),) = cluster.api.objects.items()
    assert key == ("inferenceservices", "team", "tiny")
    variables = {each["name"]: each["value"] for each in service["spec"]["predictor"]["containers"][0]["env"]}
    assert variables["STORAGE_URI"] == artifact["uri"]
    endpoint = {"url": service["status"]["url"], "name": "tiny", "ingress": cluster.gateway.address}
    answers = kserve.predict(endpoint, ["i love this great day", "this is awful and sad"])
    assert [max(answer, key=lambda item: item["score"])["label"] for answer in answers] == ["positive", "negative"]
    assert cluster.api.unknown_requests == registry.unknown_requests == []
