"""From a file to the answer of an endpoint of SageMaker, over loopback, in each of its modes.

Every mode is a run of the whole pipeline. What answers is this project's server, in a process of its own, with the
model that the run put on S3. Who asks is boto3, and the SageMaker Python SDK. That one gets a folder of its own: it
needs an older rich than this project.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

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
SDK = ["sagemaker-core==2.27.0", "cloudpickle==3.1.3", "importlib-metadata==6.11.0", "pytz==2026.6", "zipp==4.1.2"]


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


@pytest.fixture(scope="module")
def sdk(tmp_path_factory):
    """A folder with the SageMaker Python SDK's resources."""
    folder = tmp_path_factory.mktemp("sdk")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *SDK]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def asked_by_sdk(sdk, *arguments):
    """What the SDK says of an endpoint, and what that answers to it."""
    settings = sdk / "settings.yaml"
    settings.write_text("SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n")
    own = {"AWS_DEFAULT_REGION": "us-east-1", "SAGEMAKER_USER_CONFIG_OVERRIDE": str(settings)}
    environment = {**os.environ, **own, "PYTHONPATH": str(sdk)}
    command = [sys.executable, str(Path(__file__).with_name("sagemaker_sdk.py")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=sdk)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


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
    return fetched(runtime.invoke_endpoint_async(EndpointName=name, **where)["OutputLocation"])


def fetched(uri):
    """An answer that an asynchronous endpoint writes."""
    s3 = boto3.client("s3", region_name="us-east-1")
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    until = time.monotonic() + 60
    while not s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents"):
        assert time.monotonic() < until, f"no answer at {key}"
        time.sleep(0.05)
    return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def sagemaker_data(service):
    """The forms of model data that are staged: `model` and `model.tar.gz`."""
    listed = service.list_objects_v2(Bucket="models", Prefix="staged/")["Contents"]
    return {part for item in listed if (part := item["Key"].split("/")[2]).startswith("model")}


def everything(service):
    """The content of all objects of the bucket, and of the files in archives."""
    contents = []
    for item in service.list_objects_v2(Bucket="models")["Contents"]:
        contents.append(service.get_object(Bucket="models", Key=item["Key"])["Body"].read())
        if item["Key"].endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(contents[-1])) as archive:
                contents += [archive.extractfile(name).read() for name in archive.getnames()]
    return contents


@pytest.mark.parametrize("mode", MODES)
def test_what_was_trained_is_what_answers(account, home, sagemaker_parameters, our_image, sdk, mode, tmp_path):
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
    # What is uploaded is what the endpoint takes, and nothing else.
    listed = sagemaker_data(boto3.client("s3", region_name="us-east-1"))
    assert listed == ({"model.tar.gz"} if mode == "serverless" else {"model"})
    ask = asked_later if mode == "async" else asked_now
    assert labels(ask("tiny", json.dumps({"inputs": TEXTS}))) == ["positive", "negative"]

    told = asked_by_sdk(sdk, "tiny", package["ModelPackageArn"], mode, "s3://models/question.json")
    answer = fetched(told["answer"]) if mode == "async" else told["answer"]
    assert labels(answer) == ["positive", "negative"]
    assert (told["status"], told["approval"], told["image"]) == ("InService", "Approved", our_image)

    kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    objects = everything(boto3.client("s3", region_name="us-east-1"))
    assert len(kept) > 20 and len(objects) > 5
    assert not [content for content in kept + objects if CANARY.encode() in content]
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    assert CANARY not in f"{described}{endpoint}{config}{model}"
