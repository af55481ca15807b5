"""Submitted to Vertex AI, deployed to SageMaker: a Google identity is all that the steps have.

What arrived at the loopback Vertex AI is executed here, without AWS keys, as a service account that the loopback STS
lets take on the role that the submission named.
"""

import json

import pytest
from typer.testing import CliRunner

from hfpc import aws
from hfpc.cli import app
from tests.cloud.google_fixtures import LOCATION, PROJECT
from tests.pipelines.model_container import KEY, started_when_asked
from tests.pipelines.submitted import execute

pytestmark = pytest.mark.slow
boto3 = pytest.importorskip("boto3")
pytest.importorskip("google.cloud.aiplatform_v1")

JOB = f"projects/{PROJECT}/locations/{LOCATION}/pipelineJobs/tiny-1"
TRAINER = "arn:aws:iam::123456789012:role/trainer"
CANARY = "canary-secret-of-the-caller"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def submit(parameters):
    where = ["--project", PROJECT, "--location", LOCATION, "--pipeline-root", "gs://artifacts/root"]
    settings = [part for name, value in parameters.items() for part in ("--set", f"{name}={value}")]
    # The loopback has no IAM, Compute Engine or registries; preflight has tests of its own.
    command = ["submit", "vertex_to_sagemaker", *where, "--job-id", "tiny-1", "--skip-preflight", *settings]
    return CliRunner().invoke(app, command)


def test_a_google_identity_is_all_it_takes(
    google_cloud, amazon, sagemaker_parameters, our_image, home, tmp_path, monkeypatch
):
    from tests.cloud.identity_tokens import UNIQUE_ID, service_account

    parameters = {**sagemaker_parameters, "region": "us-east-1", "instance_type": "ml.m5.large"}
    google_cloud.make_bucket("artifacts")
    aws.client("s3").create_bucket(Bucket="models")
    for name in (*KEYS, "HF_TOKEN"):
        monkeypatch.setenv(name, CANARY)  # of the person who submits
    refused = submit(parameters)
    assert refused.exit_code == 1 and "HFPC_AWS_ROLE_ARN" in refused.output, refused.output
    assert JOB not in google_cloud.vertex.objects
    monkeypatch.setenv(aws.ROLE_VARIABLE, TRAINER)
    done = submit(parameters)
    assert done.exit_code == 0, done.output
    job = google_cloud.vertex.objects[JOB]
    assert CANARY not in str(job) and TRAINER in str(job)

    # On Vertex AI the steps have what their container's environment says, and the identity of their account.
    for name in (*KEYS, aws.ROLE_VARIABLE, "AWS_REGION"):
        monkeypatch.delenv(name)
    amazon.callers.clear()
    with (
        service_account(tmp_path) as identity,
        started_when_asked(tmp_path / "served", amazon.url) as (container, address),
    ):
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(identity))
        amazon.containers[our_image] = address
        executed = execute(job, tmp_path)
        assert executed.state == "succeeded", [(task.name, task.error) for task in executed.tasks if task.error]
        assert {(claims["aud"], claims["sub"]) for claims in amazon.identities} == {(aws.AUDIENCE, UNIQUE_ID)}
        taken_on = amazon.callers - {KEY}
        assert taken_on and all(caller.startswith("ASIA") for caller in taken_on)
        assert len(container.fetched) == 1

        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        runtime = boto3.client("sagemaker-runtime", region_name="us-east-1")
        body = json.dumps({"inputs": ["i love this great day", "this is awful and sad"]})
        answer = runtime.invoke_endpoint(EndpointName="tiny", Body=body, ContentType="application/json")
        responses = json.loads(answer["Body"].read())
        best = [max(response, key=lambda item: item["score"])["label"] for response in responses]
        assert best == ["positive", "negative"]

    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(kept) > 20 and not [file for file in kept if CANARY.encode() in file.read_bytes()]
    assert CANARY not in done.output
