"""From a CSV file to an answer of an InferenceService, over loopback: trained, registered, deployed, tested, asked.

The steps run as in a pod of Kubeflow Pipelines, whose launcher takes no artifact outside of the run's own folder.
"""

import csv
from pathlib import Path

import pytest

from hfpc.sinks import kserve
from hfpc.submit.local import run
from tests.cloud.kubeflow_model_registry import ModelRegistry
from tests.conftest import make_texts

pytestmark = pytest.mark.slow
pytest.importorskip("kubernetes")


@pytest.fixture(autouse=True)
def _in_a_pod_of_kubeflow(in_a_pod, monkeypatch):
    monkeypatch.setenv("KFP_POD_NAME", "tiny-system-container-impl-1")


def outside(done):
    """The artifacts that Kubeflow's launcher would not take: those outside of the run's folder."""
    made = [artifact for task in done.tasks if task.name[:8] != "importer" for artifact in task.artifacts]
    assert len(made) > 3
    return [artifact.path for artifact in made if "://" in artifact.path or artifact.path.startswith("/")]


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
            "max_latency_ms": 10_000,
        }
        done = run("finetune_kubeflow", parameters)
    assert done.state == "succeeded", [(task.name, task.error) for task in done.tasks]
    assert [task.name for task in done.tasks][-3:] == ["register-kubeflow-model", "deploy-kserve", "test-endpoint"]
    assert outside(done) == []
    (artifact,) = registry.objects["artifacts"]
    ((key, service),) = cluster.api.objects.items()
    assert key == ("inferenceservices", "team", "tiny")
    variables = {each["name"]: each["value"] for each in service["spec"]["predictor"]["containers"][0]["env"]}
    assert variables["STORAGE_URI"] == artifact["uri"]
    assert {host for host, _ in cluster.gateway.answered} == {"tiny.team.svc.cluster.local"}
    endpoint = {"url": service["status"]["url"], "name": "tiny", "ingress": cluster.gateway.address}
    answers = kserve.predict(endpoint, ["i love this great day", "this is awful and sad"])
    assert [max(answer, key=lambda item: item["score"])["label"] for answer in answers] == ["positive", "negative"]
    assert cluster.api.unknown_requests == registry.unknown_requests == []


def test_what_nodes_train_is_measured_and_registered(cluster, google_cloud, tokenized, dataset, home):
    google_cloud.make_bucket("artifacts")
    pipeline = f"{Path(__file__).with_name('trainjob_pipeline.py')}:on_nodes"
    with ModelRegistry().serve() as registry:
        parameters = {
            "tokenized": google_cloud.upload(tokenized, "gs://artifacts/tokenized"),
            "dataset": str(dataset),
            "output_uri": "gs://artifacts/models",
            "registry": registry.address,
        }
        done = run(pipeline, parameters)
    assert done.state == "succeeded", [(task.name, task.error) for task in done.tasks]
    assert outside(done) == []
    (artifact,) = registry.objects["artifacts"]
    assert f"{artifact['uri'].removeprefix('gs://artifacts/')}/model.safetensors" in google_cloud.objects("artifacts")
    (version,) = registry.objects["model_versions"]
    assert version["customProperties"]["accuracy"]["double_value"] > 0.7
