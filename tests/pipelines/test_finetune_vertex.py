"""From a command to an answer of an endpoint, over loopback: submitted, executed, registered, deployed, asked."""

import csv
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from hfpc.cli import app
from hfpc.sinks import vertex_endpoints
from tests.cloud.google_fixtures import LOCATION, PROJECT, SERVING_IMAGE
from tests.conftest import make_texts
from tests.pipelines.submitted import execute

pytestmark = pytest.mark.slow
pytest.importorskip("google.cloud.aiplatform_v1")

PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
CANARY = "canary-secret-of-the-caller"


@pytest.fixture
def settings(tmp_path, base_model, google_cloud, home, monkeypatch):
    """Options of `hfpc submit` for a small run; a secret stands in the environment and must go nowhere."""
    monkeypatch.setenv("HF_TOKEN", CANARY)
    google_cloud.make_bucket("artifacts")
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(make_texts(600))
    values = {
        "name": "tiny",
        "source": str(tmp_path / "rows.csv"),
        "base_model": str(base_model),
        "epochs": "8",
        "learning_rate": "5e-3",
        "min_metrics": json.dumps({"accuracy": 0.7}),
        "staging_uri": "gs://artifacts/models",
        "machine_type": "n1-standard-2",
        "image": SERVING_IMAGE,
    }
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def read(google_cloud, name: str) -> bytes:
    """The content of an object."""
    address = f"{google_cloud.gcs}/storage/v1/b/artifacts/o/{quote(name, safe='')}?alt=media"
    return httpx.get(address, trust_env=False).raise_for_status().content


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """The command lines of this process's descendants, looked at again and again while the block runs."""
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    seen.add(" ".join(child.cmdline()))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def submit(pipeline: str, settings: list[str], job_id: str) -> str:
    where = ["--to", "vertex", "--project", PROJECT, "--location", LOCATION, "--pipeline-root", "gs://artifacts/root"]
    # The loopback has no IAM, Compute Engine or registries; preflight has tests of its own.
    options = [*where, "--job-id", job_id, "--skip-preflight", *settings]
    done = CliRunner().invoke(app, ["submit", pipeline, *options])
    assert done.exit_code == 0, done.output
    return done.output


def test_what_is_submitted_is_what_serves(google_cloud, settings, tmp_path):
    vertex = google_cloud.vertex
    printed = submit("finetune_vertex", settings, "tiny-1")
    assert "console.cloud.google.com/vertex-ai" in printed
    with command_lines() as seen:
        first = execute(vertex.objects[f"{PARENT}/pipelineJobs/tiny-1"], tmp_path)
    assert first.state == "succeeded", [(task.name, task.error) for task in first.tasks]
    endpoint = vertex.objects[f"{PARENT}/endpoints/tiny"]
    (deployed,) = endpoint.deployed_models
    assert dict(endpoint.traffic_split) == {deployed.id: 100}
    model = vertex.version(f"{PARENT}/models/tiny@1")
    assert model.artifact_uri.startswith("gs://artifacts/models/")
    assert vertex.evaluations[f"{model.name}@1"][0].metrics["confidenceMetrics"][0]["f1ScoreMicro"] >= 0.7
    answers = vertex_endpoints.predict(endpoint.name, ["i love this great day", "this is awful and sad"])
    assert [max(answer, key=lambda item: item["score"])["label"] for answer in answers] == ["positive", "negative"]

    # The same data again: the champion is found, and what is no better does not replace it.
    submit("retrain_vertex", settings, "tiny-2")
    second = execute(vertex.objects[f"{PARENT}/pipelineJobs/tiny-2"], tmp_path)
    assert second.state == "succeeded", [(task.name, task.error) for task in second.tasks]
    outputs = {task.name: task.outputs for task in second.tasks}
    assert outputs["find-vertex-champion"]["champion"] == model.artifact_uri
    assert outputs["compare-models"]["decision"] == "keep"
    assert [each.id for each in vertex.objects[endpoint.name].deployed_models] == [deployed.id]
    assert vertex.unknown_requests == []

    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert kept and not [file for file in kept if CANARY.encode() in file.read_bytes()]
    assert CANARY not in printed and CANARY not in str(vertex.objects)
    stored = {name: read(google_cloud, name) for name in google_cloud.objects("artifacts")}
    assert any(name.endswith("model.safetensors") for name in stored)
    assert not [name for name, content in stored.items() if CANARY.encode() in content]
    assert any("outputFile" in line for line in seen) and not [line for line in seen if CANARY in line]


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
def test_no_compiled_pipeline_holds_a_secret_of_whoever_compiles(tmp_path, monkeypatch, target):
    for variable in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "HFPC_API_KEY"):
        monkeypatch.setenv(variable, CANARY)
    done = CliRunner().invoke(app, ["compile", "--target", target, "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    compiled = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert compiled and not [file for file in compiled if CANARY in file.read_text()]
    assert CANARY not in done.output
