"""Every component in one pipeline through kfp.local, on token classification."""

import json
from pathlib import Path

import pytest
from kfp import dsl, local

from hfpc import components, manifest
from tests.conftest import TAGS, make_tagged


@dsl.pipeline(name="every-component")
def every_component(source: str, base_model: str, registry: str):
    loading = components.load_dataset(source=source, task="token-classification", test_share=0.2)
    tokenizing = components.preprocess(dataset=loading.outputs["dataset"], base_model=base_model)
    training = components.finetune(tokenized=tokenizing.outputs["tokenized"], epochs=6.0, learning_rate=5e-3)
    measuring = components.evaluate(model=training.outputs["model"], dataset=loading.outputs["dataset"])
    comparing = components.compare_models(
        predictions=measuring.outputs["predictions"],
        dataset=loading.outputs["dataset"],
        champion="places@champion",
        registry=registry,
        min_metrics={"entity_f1": 0.5},
    )
    with dsl.If(comparing.outputs["decision"] == "promote"):
        registration = components.register_local_model(
            model=training.outputs["model"],
            predictions=measuring.outputs["predictions"],
            name="places",
            registry=registry,
        )
        deployment = components.deploy_local(registered=registration.outputs["registered"])
        components.test_endpoint(endpoint=deployment.outputs["endpoint"])
    components.batch_predict(model=training.outputs["model"], source=source)


def executor_outputs(root: Path) -> dict[str, dict]:
    """What each task wrote, by component."""
    return {file.parent.name: json.loads(file.read_text()) for file in root.rglob("executor_output.json")}


@pytest.mark.slow
def test_every_component_runs_on_the_second_task(tmp_path, home, base_model):
    source = tmp_path / "places.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in make_tagged(400)))
    root = tmp_path / "artifacts"
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
    every_component(source=str(source), base_model=str(base_model), registry=str(tmp_path / "registry"))

    outputs = executor_outputs(root)
    assert {name.replace("-", "_") for name in outputs} == set(components.__all__)
    for name, output in outputs.items():
        for artifact, (item,) in ((key, value["artifacts"]) for key, value in output.get("artifacts", {}).items()):
            assert Path(item["uri"]).exists() or item["metadata"], f"{name}: {artifact} is empty"

    model = next(root.rglob("finetune/model"))
    record = manifest.read(model, "model")
    assert record.task == "token-classification"
    assert record.dataset.label_names == TAGS
    metrics = outputs["evaluate"]["artifacts"]["metrics"]["artifacts"][0]["metadata"]
    assert metrics["entity_f1"] > 0.9
    predicted = outputs["batch-predict"]["artifacts"]["metrics"]["artifacts"][0]["metadata"]
    assert predicted["rows"] == 400
    assert outputs["compare-models"]["parameterValues"]["decision"] == "promote"
