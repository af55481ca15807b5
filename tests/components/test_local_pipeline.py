"""Every component in one pipeline on this machine, on token classification."""

import json

import pytest
from kfp import dsl

from hfpc import components, manifest
from hfpc.submit.local import run
from tests.conftest import TAGS, make_tagged

PLATFORMS = ("kserve", "kubeflow", "sagemaker", "trainjob", "vertex")
"""What the names of components for a cloud or a cluster hold; they have tests of their own, with such a platform."""


@dsl.pipeline(name="every-component")
def every_component(source: str, base_model: str, registry: str):
    loading = components.load_dataset(source=source, task="token-classification", test_share=0.2)
    tokenizing = components.preprocess(dataset=loading.outputs["dataset"], base_model=base_model)
    training = components.finetune(tokenized=tokenizing.outputs["tokenized"], epochs=6.0, learning_rate=5e-3)
    optimizing = components.optimize(
        model=training.outputs["model"],
        dataset=loading.outputs["dataset"],
        candidates=["onnxruntime-fp32"],
    )
    measuring = components.evaluate(model=optimizing.outputs["optimized"], dataset=loading.outputs["dataset"])
    comparing = components.compare_models(
        predictions=measuring.outputs["predictions"],
        dataset=loading.outputs["dataset"],
        champion="places@champion",
        registry=registry,
        min_metrics={"entity_f1": 0.5},
    )
    with dsl.If(comparing.outputs["decision"] == "promote"):
        registration = components.register_local_model(
            model=optimizing.outputs["optimized"],
            predictions=measuring.outputs["predictions"],
            name="places",
            registry=registry,
        )
        deployment = components.deploy_local(registered=registration.outputs["registered"])
        components.test_endpoint(endpoint=deployment.outputs["endpoint"])
    components.batch_predict(model=optimizing.outputs["optimized"], source=source)


@pytest.mark.slow
def test_every_component_runs_on_the_second_task(tmp_path, home, base_model):
    source = tmp_path / "places.jsonl"
    # The places and persons are few, so the sentences need not be many; each is different.
    rows = {" ".join(row["tokens"]): row for row in make_tagged(400)}.values()
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    parameters = {"source": source, "base_model": base_model, "registry": tmp_path / "registry"}
    done = run(f"{__file__}:every_component", {name: str(value) for name, value in parameters.items()})

    tasks = {task.component.replace("-", "_"): task for task in done.tasks}
    assert {name: task.error for name, task in tasks.items() if task.state != "succeeded"} == {}
    assert set(tasks) == {name for name in components.__all__ if not any(word in name for word in PLATFORMS)}
    assert tasks["compare_models"].outputs["decision"] == "promote"
    assert done.metrics["evaluate/entity_f1"] > 0.9
    assert done.metrics["batch_predict/rows"] == len(rows)

    assert tasks["optimize"].outputs["kept"] in ("pytorch-fp32", "onnxruntime-fp32")
    assert done.metrics["optimize/agreement"] == 1

    made = {artifact.name: artifact for artifact in tasks["optimize"].artifacts}
    record = manifest.read(done.folder / made["optimized"].path, "model")
    assert record.optimization.kept == tasks["optimize"].outputs["kept"]
    assert record.task == "token-classification"
    assert record.dataset.label_names == TAGS
    assert (done.folder / "report.html").exists()
