"""Our components for Vertex AI and Google's own, wired together in both directions."""

import json
import re

import pytest
import yaml
from kfp import compiler, dsl

from hfpc import components
from hfpc.sinks.vertex_batch import VertexBatch
from hfpc.sinks.vertex_endpoints import VertexEndpoint
from hfpc.sinks.vertex_models import VertexModel
from hfpc.submit import google_artifacts

pytest.importorskip("google_cloud_pipeline_components")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> dict:
    from google_cloud_pipeline_components.v1.batch_predict_job import ModelBatchPredictOp
    from google_cloud_pipeline_components.v1.endpoint import EndpointCreateOp, ModelDeployOp, ModelUndeployOp
    from google_cloud_pipeline_components.v1.model import ModelUploadOp

    @dsl.pipeline(name="mixed")
    def mixed(source: str, project: str, location: str):
        loading = components.load_dataset(source=source)
        tokenizing = components.preprocess(dataset=loading.outputs["dataset"], base_model="sample:minilm")
        training = components.finetune(tokenized=tokenizing.outputs["tokenized"])
        measuring = components.evaluate(model=training.outputs["model"], dataset=loading.outputs["dataset"])
        ours = components.register_vertex_model(
            model=training.outputs["model"],
            predictions=measuring.outputs["predictions"],
            name="tweets",
            project=project,
            location=location,
        )
        # Ours goes into theirs …
        theirs = EndpointCreateOp(display_name="theirs", project=project, location=location)
        ModelDeployOp(model=ours.outputs["registered"], endpoint=theirs.outputs["endpoint"])
        ModelBatchPredictOp(job_display_name="theirs", model=ours.outputs["registered"], project=project)
        deployment = components.deploy_vertex_endpoint(registered=ours.outputs["registered"], endpoint_name="tweets")
        ModelUndeployOp(model=ours.outputs["registered"], endpoint=deployment.outputs["endpoint"])
        # … and theirs into ours.
        uploaded = ModelUploadOp(display_name="theirs", project=project, location=location)
        components.deploy_vertex_endpoint(registered=uploaded.outputs["model"], endpoint_name="theirs")
        components.batch_predict_vertex(
            registered=uploaded.outputs["model"], source="gs://bucket/rows.jsonl", destination="gs://bucket/predicted"
        )

    file = tmp_path_factory.mktemp("mixed") / "mixed.yaml"
    compiler.Compiler().compile(mixed, str(file))
    return yaml.safe_load(file.read_text("utf-8"))


def test_they_are_wired_with_the_same_types(compiled):
    taken = {
        name: definition["artifactType"]["schemaTitle"]
        for component in compiled["components"].values()
        for name, definition in component.get("inputDefinitions", {}).get("artifacts", {}).items()
        if "deploy" in component["executorLabel"] or "batch" in component["executorLabel"]
    }
    assert {"google.VertexModel", "google.VertexEndpoint"} <= set(taken.values())
    tasks = compiled["root"]["dag"]["tasks"]
    source = tasks["model-deploy"]["inputs"]["artifacts"]["model"]["taskOutputArtifact"]
    assert source == {"outputArtifactKey": "registered", "producerTask": "register-vertex-model"}


def test_what_googles_components_read_is_in_our_metadata(compiled):
    name = "projects/test/locations/us-central1/models/tweets@1"
    ours = {
        "model": VertexModel(resource=name, name="tweets", version="1", fingerprint="0" * 64, uri="gs://m").metadata,
        "endpoint": VertexEndpoint(
            resource=name, model=name, artifact_uri="gs://m", deployed_model="1", previous=(), moved=True
        ).metadata,
    }
    text = json.dumps(compiled["deploymentSpec"])
    read = re.findall(r"inputs\.artifacts\['(model|endpoint)'\]\.metadata\['(\w+)'\]", text)
    assert {artifact for artifact, _ in read} == {"model", "endpoint"}
    for artifact, key in read:
        assert ours[artifact][key], (artifact, key)


def test_the_types_are_googles_own():
    from google_cloud_pipeline_components.types import artifact_types

    for name in ("VertexModel", "VertexEndpoint", "VertexBatchPredictionJob"):
        theirs, ours = getattr(artifact_types, name), getattr(google_artifacts, name)
        assert (ours.schema_title, ours.schema_version) == (theirs.schema_title, theirs.schema_version)
    theirs = artifact_types.VertexBatchPredictionJob.create(name="b", uri="u", job_resource_name="r").metadata
    ours = VertexBatch(resource="r", uri="gs://out", metrics={}).metadata
    assert {"resourceName", "gcsOutputDirectory"} <= set(theirs) & set(ours)
