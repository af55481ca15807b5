"""The role of AWS that the steps of a run on Vertex AI are told to take on, when the run is prepared."""

import json

import pytest
from kfp import dsl

from hfpc import aws, components
from hfpc.errors import ArgumentError
from hfpc.submit.find import find
from hfpc.submit.prepare import prepare
from hfpc.submit.vertex_submission import VertexSubmission

ROLE = "arn:aws:iam::123456789012:role/{}"
GIVEN = {
    "role": ROLE.format("serving"),
    "region": "us-east-1",
    "staging_uri": "s3://models/staged",
    "instance_type": "ml.m7i.large",
}
WHERE = VertexSubmission(
    name="",
    spec={},
    parameters={},
    project="test",
    location="us-central1",
    pipeline_root="gs://artifacts/runs",
    job_id="run-1",
)


@dsl.pipeline(name="undeploying")
def undeploying(name: str = "tweets"):
    task = components.undeploy_sagemaker_endpoint(endpoint_name=name)
    task.set_env_variable(aws.ROLE_VARIABLE, ROLE.format("own"))


@pytest.fixture
def environment(monkeypatch):
    """A caller with a role for the run, and with keys of their own, which are nobody else's."""
    monkeypatch.setenv(aws.ROLE_VARIABLE, ROLE.format("trainer"))
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    return monkeypatch


def variables(spec):
    """Name of each step to the environment that it is given."""
    executors = spec["deploymentSpec"]["executors"]
    return {
        name.removeprefix("exec-"): {item["name"]: item["value"] for item in executor["container"].get("env", [])}
        for name, executor in executors.items()
        if "container" in executor
    }


def test_every_step_gets_the_role_and_no_key(environment):
    found = prepare("vertex_to_sagemaker", GIVEN, WHERE)
    given = {aws.ROLE_VARIABLE: ROLE.format("trainer"), "AWS_REGION": "eu-west-1"}
    steps = variables(found.spec)
    assert {"load-dataset", "finetune", "deploy-sagemaker-endpoint", "test-endpoint"} <= set(steps)
    assert all(step.items() >= given.items() for step in steps.values())
    assert not {"AKIACANARY", "canary-secret"} & set(json.dumps([found.spec, found.parameters]).split('"'))


def test_a_training_that_is_a_custom_job_gets_it_too(environment):
    pytest.importorskip("google_cloud_pipeline_components")
    found = prepare("vertex_to_sagemaker", GIVEN, WHERE, "gpu-l4-spot")
    [job] = [item for name, item in found.spec["components"].items() if name.endswith("finetune")]
    pools = job["inputDefinitions"]["parameters"]["worker_pool_specs"]["defaultValue"]
    assert {"name": aws.ROLE_VARIABLE, "value": ROLE.format("trainer")} in pools[0]["container_spec"]["env"]


def test_without_a_role_nothing_is_submitted(environment):
    environment.delenv(aws.ROLE_VARIABLE)
    with pytest.raises(ArgumentError, match="HFPC_AWS_ROLE_ARN='': steps on Vertex AI have no AWS credentials"):
        prepare("vertex_to_sagemaker", GIVEN, WHERE)
    environment.setenv(aws.ROLE_VARIABLE, "trainer")
    with pytest.raises(ArgumentError, match="HFPC_AWS_ROLE_ARN='trainer': set it to the ARN of a role"):
        prepare("vertex_to_sagemaker", GIVEN, WHERE)


def test_a_role_of_the_pipelines_own_goes_first(environment):
    pipeline = f"{__file__}:undeploying"
    own = {aws.ROLE_VARIABLE: ROLE.format("own")}
    assert variables(prepare(pipeline, {}, WHERE).spec)["undeploy-sagemaker-endpoint"] == own | {
        "AWS_REGION": "eu-west-1"
    }
    environment.delenv(aws.ROLE_VARIABLE)
    environment.delenv("AWS_REGION")
    assert variables(prepare(pipeline, {}, WHERE).spec)["undeploy-sagemaker-endpoint"] == own


def test_a_pipeline_without_sagemaker_stays_as_it_is(environment):
    assert prepare("train_and_evaluate", {}, WHERE).spec == find("train_and_evaluate")
