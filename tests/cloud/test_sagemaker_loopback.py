"""The SageMaker that the tests use keeps to the rules that the real one documents."""

import json
import threading
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hfpc import aws

ROLE = "arn:aws:iam::123456789012:role/serving"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/{}:1"


class Upper(BaseHTTPRequestHandler):
    """A container that answers a text in capitals, and none that holds "bad"."""

    def do_GET(self):
        self._send(200, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(400 if b"bad" in body else 200, body.upper())

    def _send(self, status, content):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def account(amazon):
    """SageMaker with the models "one" and "two", whose containers are healthy, and "ill", whose is not."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upper)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    client = aws.client("sagemaker")
    for name in ("one", "two", "ill"):
        if name != "ill":
            amazon.containers[IMAGE.format(name)] = f"http://127.0.0.1:{server.server_port}"
        client.create_model(ModelName=name, PrimaryContainer={"Image": IMAGE.format(name)}, ExecutionRoleArn=ROLE)
        variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    aws.client("s3").create_bucket(Bucket="data")
    yield client
    server.shutdown()
    thread.join()
    server.server_close()


def state(client, name="tweets"):
    described = client.describe_endpoint(EndpointName=name)
    return described["EndpointStatus"], described["EndpointConfigName"]


def put(key, content):
    aws.client("s3").put_object(Bucket="data", Key=key, Body=content)
    return f"s3://data/{key}"


def get(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()


def test_an_endpoint_comes_up_in_steps_is_updated_and_goes(amazon, account):
    amazon.control.steps = 2
    account.create_endpoint(EndpointName="tweets", EndpointConfigName="one")
    runtime = aws.client("sagemaker-runtime")
    with pytest.raises(runtime.exceptions.ValidationError):
        runtime.invoke_endpoint(EndpointName="tweets", Body=b"a")
    assert [state(account)[0] for _ in range(2)] == ["Creating", "InService"]
    assert runtime.invoke_endpoint(EndpointName="tweets", Body=b"a")["Body"].read() == b"A"
    account.update_endpoint(EndpointName="tweets", EndpointConfigName="two")
    with pytest.raises(account.exceptions.ClientError, match="Cannot update in-progress endpoint"):
        account.update_endpoint(EndpointName="tweets", EndpointConfigName="one")
    assert [state(account) for _ in range(2)] == [("Updating", "one"), ("InService", "two")]
    account.delete_endpoint(EndpointName="tweets")
    with pytest.raises(account.exceptions.ClientError, match="already existing endpoint"):
        account.create_endpoint(EndpointName="tweets", EndpointConfigName="one")
    assert state(account)[0] == "Deleting"
    with pytest.raises(account.exceptions.ClientError, match="Could not find endpoint"):
        state(account)


def test_what_is_not_healthy_is_rolled_back(amazon, account):
    account.create_endpoint(EndpointName="tweets", EndpointConfigName="one")
    account.update_endpoint(EndpointName="tweets", EndpointConfigName="ill")
    assert state(account) == ("InService", "one")
    assert "ping health check" in account.describe_endpoint(EndpointName="tweets")["FailureReason"]
    account.create_endpoint(EndpointName="fresh", EndpointConfigName="ill")
    assert state(account, "fresh")[0] == "Failed"


def test_a_raised_alarm_rolls_back(amazon, account):
    alarms = aws.client("cloudwatch")
    alarms.put_metric_alarm(
        AlarmName="errors",
        MetricName="Invocation5XXErrors",
        Namespace="AWS/SageMaker",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    alarms.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="test")
    account.create_endpoint(EndpointName="tweets", EndpointConfigName="one")
    policy = {
        "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
        "TerminationWaitInSeconds": 0,
    }
    deployment = {
        "BlueGreenUpdatePolicy": policy,
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
    }
    account.update_endpoint(EndpointName="tweets", EndpointConfigName="two", DeploymentConfig=deployment)
    assert state(account) == ("InService", "one")
    assert amazon.control.updates[0]["DeploymentConfig"] == deployment


def test_what_serves_is_not_deleted_unnoticed(amazon, account):
    account.create_endpoint(EndpointName="tweets", EndpointConfigName="one")
    account.delete_endpoint_config(EndpointConfigName="two")
    account.delete_model(ModelName="two")
    assert amazon.control.misuses == []
    account.delete_model(ModelName="one")
    account.delete_endpoint_config(EndpointConfigName="one")
    assert amazon.control.misuses == [
        "DeleteModel one, which tweets serves",
        "DeleteEndpointConfig one, which tweets uses",
    ]


def test_an_asynchronous_endpoint_answers_on_s3(amazon, account):
    variant = {"VariantName": "all", "ModelName": "one", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    output = {"OutputConfig": {"S3OutputPath": "s3://data/out", "S3FailurePath": "s3://data/failed"}}
    account.create_endpoint_config(
        EndpointConfigName="later", ProductionVariants=[variant], AsyncInferenceConfig=output
    )
    account.create_endpoint(EndpointName="tweets", EndpointConfigName="later")
    runtime = aws.client("sagemaker-runtime")
    given = runtime.invoke_endpoint_async(EndpointName="tweets", InputLocation=put("in/a", b"a"), InferenceId="1")
    assert (given["InferenceId"], get(given["OutputLocation"])) == ("1", b"A")
    refused = runtime.invoke_endpoint_async(EndpointName="tweets", InputLocation=put("in/b", b"bad"))
    assert get(refused["FailureLocation"]) == b"BAD"
    with pytest.raises(runtime.exceptions.ValidationError, match="is an asynchronous endpoint"):
        runtime.invoke_endpoint(EndpointName="tweets", Body=b"a")


def transform(client, name, **settings):
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/in/"}}
    request = {
        "ModelName": "one",
        "TransformInput": {"DataSource": source, "ContentType": "text/plain", "SplitType": "Line"},
        "TransformOutput": {"S3OutputPath": "s3://data/out", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    client.create_transform_job(TransformJobName=name, **{**request, **settings})


def test_a_batch_is_transformed_line_by_line_or_in_one(amazon, account):
    put("in/a.txt", b"a\nb\n")
    put("in/sub/b.txt", b"c")
    amazon.control.steps = 2
    transform(account, "single", BatchStrategy="SingleRecord")
    states = [account.describe_transform_job(TransformJobName="single")["TransformJobStatus"] for _ in range(2)]
    assert states == ["InProgress", "Completed"]
    assert (get("s3://data/out/a.txt.out"), get("s3://data/out/sub/b.txt.out")) == (b"A\nB\n", b"C\n")
    assert amazon.control.jobs["single"].sent == [b"a\n", b"b\n", b"c"]
    amazon.control.steps = 0
    transform(account, "multi", BatchStrategy="MultiRecord")
    assert amazon.control.jobs["multi"].sent == [b"a\nb\n", b"c"]


def test_a_batch_that_the_container_refuses_fails(amazon, account):
    put("in/a.txt", b"bad\n")
    transform(account, "failing")
    described = account.describe_transform_job(TransformJobName="failing")
    assert described["TransformJobStatus"] == "Failed" and "400 BAD" in described["FailureReason"]


def test_what_takes_no_model_data_source_refuses_it(amazon, account):
    """As `ContainerDefinition` says of it; and instance types that transform jobs do not run on are refused too."""
    put("in/a.txt", b"a\n")
    source = {"S3Uri": "s3://data/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": IMAGE.format("one"), "ModelDataSource": {"S3DataSource": source}}
    account.create_model(ModelName="folder", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    for name, refused in (("folder", True), ("one", False)):
        serverless = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
        variant = {"VariantName": "all", "ModelName": name, "ServerlessConfig": serverless}
        told = pytest.raises(account.exceptions.ClientError, match="ModelDataSource") if refused else nullcontext()
        with told:
            account.create_endpoint_config(EndpointConfigName=f"{name}-1", ProductionVariants=[variant])
        with told:
            transform(account, name, ModelName=name)
    with pytest.raises(account.exceptions.ClientError, match=r"ml\.t3\.medium"):
        transform(account, "small", TransformResources={"InstanceType": "ml.t3.medium", "InstanceCount": 1})
    assert list(amazon.control.jobs) == ["one"]


def test_names_are_taken_once_and_tokens_give_the_same_package(amazon, account):
    account.create_model_package_group(ModelPackageGroupName="group")
    with pytest.raises(account.exceptions.ClientError, match="already exists"):
        account.create_model_package_group(ModelPackageGroupName="group")
    variant = {"VariantName": "all", "ModelName": "one", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    for create in (
        lambda: account.create_model(ModelName="one", ExecutionRoleArn=ROLE),
        lambda: account.create_endpoint_config(EndpointConfigName="one", ProductionVariants=[variant]),
    ):
        with pytest.raises(account.exceptions.ClientError, match="already existing"):
            create()
    card = {"ModelCardContent": json.dumps({"model_overview": {}}), "ModelCardStatus": "Draft"}
    request = {"ModelPackageGroupName": "group", "ClientToken": "t", "ModelCard": card}
    arns = {account.create_model_package(**request)["ModelPackageArn"] for _ in range(2)}
    assert len(arns) == 1
    assert account.describe_model_package(ModelPackageName=arns.pop())["ModelCard"] == card


@pytest.mark.parametrize(("kind", "done"), [("error", False), ("timeout", False), ("lost", True), ("throttled", False)])
def test_calls_fail_as_planned(amazon, account, kind, done):
    amazon.faults.clear()
    amazon.faults.plan(0, kind, method="CreateModelPackageGroup")
    with pytest.raises(Exception, match=r"injected|closed|Could not connect"):
        account.create_model_package_group(ModelPackageGroupName="group")
    groups = account.list_model_package_groups()["ModelPackageGroupSummaryList"]
    assert bool(groups) == done
    assert amazon.faults.calls == ["CreateModelPackageGroup", "ListModelPackageGroups"]


def test_what_is_scaled_keeps_its_machines_and_its_instances(amazon, account):
    client, scaling = account, aws.client("application-autoscaling")

    def instances():
        return client.describe_endpoint(EndpointName="tweets")["ProductionVariants"][0]["DesiredInstanceCount"]

    for config, machines in (("larger", "ml.m5.xlarge"), ("same", "ml.m5.large")):
        variant = {"VariantName": "all", "ModelName": "two", "InstanceType": machines, "InitialInstanceCount": 1}
        client.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant])
    client.create_endpoint(EndpointName="tweets", EndpointConfigName="one")
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/tweets/variant/all",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(MinCapacity=1, MaxCapacity=4, **target)
    with pytest.raises(client.exceptions.ClientError, match="must be deregistered"):
        client.update_endpoint(EndpointName="tweets", EndpointConfigName="larger")
    amazon.control.load = 3
    with pytest.raises(client.exceptions.ClientError, match="Cannot update in-progress endpoint"):
        client.update_endpoint(EndpointName="tweets", EndpointConfigName="same")
    assert state(client) == ("InService", "one")
    client.update_endpoint(EndpointName="tweets", EndpointConfigName="same", RetainAllVariantProperties=True)
    assert instances() == 3
    client.update_endpoint(EndpointName="tweets", EndpointConfigName="one")
    assert instances() == 1
    client.delete_endpoint(EndpointName="tweets")
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []
