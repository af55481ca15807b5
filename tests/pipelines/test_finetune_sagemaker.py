"""From a file to the answer of an endpoint of SageMaker, over loopback, in each of its modes.

Every mode is a run of the whole pipeline. What answers is this project's server, in a process of its own, with the
model that the run put on S3.
"""

import json
import time

import pytest

from hfpc import aws
from hfpc.submit.local import run
from tests.pipelines.model_container import started_when_asked

boto3 = pytest.importorskip("boto3")
pytestmark = pytest.mark.slow

CANARY = "canary-secret-of-the-caller"
TEXTS = ["i love this great day", "this is awful and sad"]
MODES = {
    "realtime": {"instance_type": "ml.m5.large"},
    "serverless": {"memory_mb": 2048},
    "async": {"instance_type": "ml.m5.large", "min_instances": 0, "max_instances": 2, "scaling_target": 5}
    | {"output_uri": "s3://models/answers"},
}
"""Mode to the parameters that it needs."""


@pytest.fixture(scope="module")
def container(_amazon_server, tmp_path_factory):
    """What stands for our image; models are fetched and loaded once for all tests."""
    with started_when_asked(tmp_path_factory.mktemp("models"), _amazon_server.url) as started:
        yield started


@pytest.fixture
def account(amazon, container, our_image, monkeypatch):
    """An account with a bucket, and our image in its registry; the caller's secrets must go nowhere."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("HF_TOKEN", CANARY)
    aws.client("s3").create_bucket(Bucket="models")
    amazon.containers[our_image] = container[1]
    return amazon


def labels(responses):
    return [max(response, key=lambda item: item["score"])["label"] for response in responses]


def asked_now(name, body):
    runtime = boto3.client("sagemaker-runtime", region_name="us-east-1")
    answer = runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType="application/json")
    return json.loads(answer["Body"].read())


def asked_later(name, body):
    s3, runtime = (boto3.client(service, region_name="us-east-1") for service in ("s3", "sagemaker-runtime"))
    s3.put_object(Bucket="models", Key="question.json", Body=body)
    where = {"InputLocation": "s3://models/question.json", "ContentType": "application/json"}
    bucket, _, key = runtime.invoke_endpoint_async(EndpointName=name, **where)["OutputLocation"][5:].partition("/")
    until = time.monotonic() + 60
    while not s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents"):
        assert time.monotonic() < until, f"no answer at {key}"
        time.sleep(0.05)
    return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def everything(service):
    """The content of all objects of the bucket."""
    listed = service.list_objects_v2(Bucket="models")["Contents"]
    return [service.get_object(Bucket="models", Key=item["Key"])["Body"].read() for item in listed]


@pytest.mark.parametrize("mode", MODES)
def test_what_was_trained_is_what_answers(account, home, sagemaker_parameters, mode, tmp_path):
    done = run("finetune_sagemaker", {**sagemaker_parameters, "mode": mode, **MODES[mode]})
    assert done.state == "succeeded", [(task.name, task.error) for task in done.tasks if task.error]
    tasks = {task.name: task for task in done.tasks}
    assert {task.state for task in tasks.values()} == {"succeeded"}
    assert list(tasks)[-4:] == [
        "compare-models",
        "register-sagemaker-model",
        "deploy-sagemaker-endpoint",
        "test-endpoint",
    ]
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    [package] = sagemaker.list_model_packages(ModelPackageGroupName="tiny")["ModelPackageSummaryList"]
    described = sagemaker.describe_model_package(ModelPackageName=package["ModelPackageArn"])
    assert described["ModelApprovalStatus"] == "Approved" and described["ModelMetrics"]["ModelQuality"]
    endpoint = sagemaker.describe_endpoint(EndpointName="tiny")
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    [variant] = config["ProductionVariants"]
    assert endpoint["EndpointStatus"] == "InService"
    assert ("ServerlessConfig" in variant, "AsyncInferenceConfig" in config) == (mode == "serverless", mode == "async")
    ask = asked_later if mode == "async" else asked_now
    assert labels(ask("tiny", json.dumps({"inputs": TEXTS}))) == ["positive", "negative"]

    kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    objects = everything(boto3.client("s3", region_name="us-east-1"))
    assert len(kept) > 20 and len(objects) > 5
    assert not [content for content in kept + objects if CANARY.encode() in content]
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    assert CANARY not in f"{described}{endpoint}{config}{model}"
