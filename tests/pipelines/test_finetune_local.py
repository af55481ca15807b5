"""The main pipeline, from a CSV file to a tested endpoint, with a tiny model: both branches of its gate."""

import csv
import json
from collections.abc import Iterator

import pytest

from hfpc import manifest, registry, runs
from hfpc.serving.predict import predict
from hfpc.submit.local import run
from tests.conftest import make_texts

pytestmark = pytest.mark.slow

TRAINING = ["load-dataset", "preprocess", "finetune", "optimize", "evaluate"]
DEPLOYMENT = ["register-local-model", "deploy-local", "test-endpoint"]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, base_model) -> Iterator[tuple[runs.Run, runs.Run]]:
    """A first run, and a second one that cannot beat it, in a `$HFPC_HOME` of their own."""
    scratch = tmp_path_factory.mktemp("finetune_local")
    with (scratch / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tweet", "class"])
        writer.writerows((row["text"], row["label"]) for row in make_texts(600))
    parameters = {
        "name": "tiny",
        "source": str(scratch / "rows.csv"),
        "columns": '{"text": "tweet", "label": "class"}',
        "base_model": str(base_model),
        "epochs": "8",
        "learning_rate": "5e-3",
        "min_metrics": '{"accuracy": 0.7}',
        "max_latency_ms": 10_000,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HFPC_HOME", str(scratch / "home"))
        first = run("finetune_local", parameters)
        assert first.state == "succeeded", [(task.name, task.error) for task in first.tasks]
        before = [version.version for version in registry.versions()]
        # The same again: the same seed gives the same model, which is no better.
        second = run("finetune_local", parameters)
        after = [version.version for version in registry.versions()]
        assert (before, after) == (["1"], ["1"])
        yield first, second


def task(done: runs.Run, name: str) -> runs.Task:
    return next(task for task in done.tasks if task.name.rpartition("/")[2] == name)


def test_the_first_model_is_deployed(outcomes):
    first, _ = outcomes
    assert {item.state for item in first.tasks} == {"succeeded"}
    names = [f"train-and-evaluate/{name}" for name in TRAINING] + ["compare-models", *DEPLOYMENT]
    assert [item.name for item in first.tasks] == names
    assert task(first, "compare-models").outputs["decision"] == "promote"
    assert task(first, "compare-models").outputs["reasons"]


def test_a_model_that_is_no_better_is_not(outcomes):
    _, second = outcomes
    assert second.state == "succeeded"
    assert task(second, "compare-models").outputs["decision"] == "keep"
    assert {name: task(second, name).state for name in DEPLOYMENT} == dict.fromkeys(DEPLOYMENT, "skipped")
    assert task(second, "evaluate").state == "succeeded"


def test_the_same_seed_gives_the_same_model(outcomes):
    weights = [
        (done.folder / artifact.path / "model.safetensors").read_bytes()
        for done in outcomes
        for artifact in task(done, "finetune").artifacts
        if artifact.name == "model"
    ]
    assert weights[0] == weights[1]


def test_metrics_and_artifacts_are_recorded(outcomes):
    first, _ = outcomes
    assert first.metrics["evaluate/accuracy"] > 0.8
    assert first.metrics["load_dataset/train"] > 400
    found = {artifact.name: artifact for artifact in task(first, "evaluate").artifacts}
    assert set(found) == {"predictions", "metrics", "classification_metrics", "report"}
    matrix = found["classification_metrics"].metadata["confusionMatrix"]
    assert [item["displayName"] for item in matrix["annotationSpecs"]] == ["negative", "positive"]
    assert sum(sum(row["row"]) for row in matrix["rows"]) == first.metrics["load_dataset/test"]
    model = next(artifact for artifact in task(first, "finetune").artifacts if artifact.name == "model")
    record = manifest.read(first.folder / model.path, "model")
    assert record.dataset.label_names == ["negative", "positive"]
    assert runs.read(first.id) == first


def test_every_path_in_the_record_leads_to_a_file(outcomes):
    for done in outcomes:
        for item in done.tasks:
            if item.state == "succeeded":
                assert (done.folder / item.log).exists()
            for artifact in item.artifacts:
                if "://" not in artifact.path:
                    assert (done.folder / artifact.path).exists(), (item.name, artifact.name)
        assert "compare-models" in (done.folder / "report.html").read_text()


def test_the_deployed_model_answers(outcomes):
    endpoint = task(outcomes[0], "deploy-local").artifacts[0].metadata
    assert (endpoint["name"], endpoint["alias"], endpoint["version"]) == ("tiny", "champion", "1")
    good, bad = predict("tiny@champion", ["i love this great wonderful day", "this is awful terrible broken sad"])
    assert max(good, key=lambda item: item["score"])["label"] == "positive"
    assert max(bad, key=lambda item: item["score"])["label"] == "negative"


def test_the_record_is_json_for_others(outcomes):
    content = json.loads((outcomes[0].folder / "run.json").read_text())
    assert content["pipeline"] == "finetune_local"
    assert content["parameters"]["epochs"] == 8.0
