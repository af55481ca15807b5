"""Deploying to a SageMaker on this machine: the official clients, and this project's own server behind it."""

import pytest

from hfpc import aws, golden
from hfpc.errors import ArgumentError, DataError, EndpointError
from hfpc.sinks.sagemaker import deployed, predict, undeploy
from hfpc.sinks.sagemaker_endpoints import deploy, extra_settings
from hfpc.sinks.sagemaker_register import RegisterSagemakerModelConfig, register
from tests.sinks.sagemaker_place import EMPTY, IMAGE, NAME, QUICK, ROLE, deployment, package, served, state

CHANGES = {
    *("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint", "DeleteEndpoint"),
    *("DeleteEndpointConfig", "DeleteModel", "PutScalingPolicy", "RegisterScalableTarget", "PutMetricAlarm"),
    "AddTags",
}
SCALED = {"min_instances": 1, "max_instances": 4, "scaling_target": 100}


def registration(instance_type):
    return RegisterSagemakerModelConfig(
        group="tweets", staging_uri="s3://models/staged", image=IMAGE, instance_type=instance_type
    )


def described(endpoint):
    return aws.client("sagemaker").describe_endpoint_config(EndpointConfigName=endpoint.config)


@pytest.mark.parametrize(
    "mode",
    [{}, {"mode": "serverless", "instance_type": ""}, {"mode": "async", "output_uri": "s3://models/async"}],
    ids=["realtime", "serverless", "async"],
)
def test_a_model_is_deployed_asked_replaced_and_taken_away(account, model, mode):
    """As a pipeline does it: registered with its files, then deployed; in steps, as endpoints really change."""
    account.control.steps = 2
    registered = register(str(model), None, registration(deployment(**mode).instance_type))
    first = deploy(registered, deployment(**mode), QUICK)
    assert first.moved and first.previous_config == ""
    assert state() == served(first)
    requests = golden.read(model)
    responses = predict(deployed(first.metadata), [request["inputs"] for request in requests], patience=QUICK)
    assert [response[0]["label"] for response in responses] == [each["response"][0]["label"] for each in requests]
    account.faults.clear()
    again = deploy(registered, deployment(**mode), QUICK)
    assert not again.moved and again.config == first.config
    assert CHANGES.isdisjoint(account.faults.calls)
    second = deploy(package(model, "new", archived="serverless" in mode.values()), deployment(**mode), QUICK)
    assert second.moved and second.previous_config == first.config
    assert state() == served(second)
    assert account.control.misuses == []
    assert undeploy(NAME, patience=QUICK) and state() == EMPTY
    assert not undeploy(NAME, patience=QUICK)


def test_a_serverless_endpoint_gets_an_archive_and_is_updated_at_once(account, model):
    """Also where the model was registered as a folder."""
    registered = register(str(model), None, registration("ml.m5.large"))
    assert registered.model_data.endswith("/model/")
    small = deploy(registered, deployment(mode="serverless", instance_type="", max_concurrency=3), QUICK)
    assert small.model_data.endswith("/model.tar.gz")
    variant = described(small)["ProductionVariants"][0]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 3072, "MaxConcurrency": 3}
    container = aws.client("sagemaker").describe_model(ModelName=small.config)["PrimaryContainer"]
    assert container["ModelDataUrl"] == small.model_data and "ModelDataSource" not in container
    archived = register(str(model), None, registration(""))
    account.faults.clear()
    large = deploy(archived, deployment(mode="serverless", instance_type="", memory_mb=6144), QUICK)
    assert state() == served(large) and "DeploymentConfig" not in account.control.updates[-1]
    assert large.model_data == archived.model_data == small.model_data
    assert {"S3.PUT", "S3.POST"}.isdisjoint(account.faults.calls)


def test_everything_that_is_set_reaches_sagemaker(account, model):
    aws.client("cloudwatch").put_metric_alarm(AlarmName="errors", **alarm())
    rare = {
        "initial_instances": 2.0,
        "traffic_percent": 50.0,
        "traffic_wait_seconds": 60,
        "termination_wait_seconds": 30,
        "capture_uri": "s3://models/captured",
        "capture_percent": 10,
        "kms_key": "alias/own",
        "subnets": ["subnet-0123abcd"],
        "security_groups": ["sg-0123abcd"],
        "startup_seconds": 600,
        "tags": {"team": "a"},
    }
    settings = {**SCALED, "traffic": "canary", "alarms": ["errors"], **extra_settings(rare)}
    first = deploy(package(model, "old"), deployment(**settings), QUICK)
    config = described(first)
    variant = config["ProductionVariants"][0]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.m5.large", 2)
    assert config["KmsKeyId"] == config["DataCaptureConfig"]["KmsKeyId"] == "alias/own"
    assert config["DataCaptureConfig"]["InitialSamplingPercentage"] == 10
    made = aws.client("sagemaker").describe_model(ModelName=first.config)
    assert made["ExecutionRoleArn"] == ROLE
    assert made["VpcConfig"] == {"SecurityGroupIds": ["sg-0123abcd"], "Subnets": ["subnet-0123abcd"]}
    tags = aws.client("sagemaker").list_tags(ResourceArn=first.arn)["Tags"]
    assert {"Key": "team", "Value": "a"} in tags and {"Key": "hfpc:managed", "Value": "true"} in tags
    deploy(package(model, "new"), deployment(**settings), QUICK)
    [update] = account.control.updates
    policy = update["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"] == {
        "Type": "CANARY",
        "WaitIntervalInSeconds": 60,
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
    }
    assert policy["TerminationWaitInSeconds"] == 30
    # Two waits, the old instances, the model's download, the container's start, and an hour for SageMaker itself.
    assert policy["MaximumExecutionTimeoutInSeconds"] == 2 * 60 + 30 + 600 + 600 + 3600
    assert update["DeploymentConfig"]["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "errors"}]}


def test_a_model_that_answers_otherwise_never_serves(account, model):
    wrong = package(model, "wrong", wrong=True)
    with pytest.raises(EndpointError, match=r"does not answer as the model did.*everything is as before"):
        deploy(wrong, deployment(), QUICK)
    assert state() == EMPTY
    first = deploy(package(model, "old"), deployment(**SCALED), QUICK)
    before = state()
    with pytest.raises(EndpointError, match=r"-trial does not answer as the model did.*everything is as before"):
        deploy(wrong, deployment(**SCALED), QUICK)
    assert state() == before and before["configs"] == [first.config]
    assert account.control.updates == []


class Raising(list):
    """Raises the alarm "errors" as soon as an update is accepted."""

    def append(self, update):
        super().append(update)
        aws.client("cloudwatch").set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="test")


def test_a_raised_alarm_puts_everything_back(account, model):
    """SageMaker rolls the update back by itself; the rest is put back here."""
    client = aws.client("cloudwatch")
    client.put_metric_alarm(AlarmName="errors", **alarm())
    old, new = package(model, "old"), package(model, "new")
    deploy(old, deployment(alarms=["errors"], **SCALED), QUICK)
    before = state()
    with pytest.raises(ArgumentError, match=r"alarms=\['latency'\]: there is no such alarm"):
        deploy(new, deployment(alarms=["latency"]), QUICK)
    client.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="test")
    with pytest.raises(ArgumentError, match="it is raised now"):
        deploy(new, deployment(alarms=["errors"]), QUICK)
    client.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="test")
    account.control.updates = Raising()
    with pytest.raises(EndpointError, match=r"Alarm errors was raised.*everything is as before"):
        deploy(new, deployment(alarms=["errors"]), QUICK)
    assert state() == before and len(account.control.updates) == 1


def test_a_container_that_does_not_start(account, model):
    old = package(model, "old")
    address = account.containers.pop(IMAGE)
    with pytest.raises(EndpointError, match=r"did not pass the ping health check.*everything is as before"):
        deploy(old, deployment(), QUICK)
    assert state() == EMPTY
    account.containers[IMAGE] = address
    deploy(old, deployment(), QUICK)
    before = state()
    del account.containers[IMAGE]
    with pytest.raises(EndpointError, match=r"did not pass the ping health check.*everything is as before"):
        deploy(package(model, "new"), deployment(), QUICK)
    account.containers[IMAGE] = address
    assert state() == before


def test_an_endpoint_of_ours_that_failed_is_made_again(account, model):
    first = deploy(package(model, "old"), deployment(), QUICK)
    address = account.containers.pop(IMAGE)
    client = aws.client("sagemaker")
    tags = client.list_tags(ResourceArn=first.arn)["Tags"]
    client.delete_endpoint(EndpointName=NAME)
    client.create_endpoint(EndpointName=NAME, EndpointConfigName=first.config, Tags=tags)
    assert state()["endpoints"][NAME][0] == "Failed"
    account.containers[IMAGE] = address
    second = deploy(package(model, "new"), deployment(), QUICK)
    assert state() == served(second)


def test_what_others_made_is_left_alone(account, model):
    client, old = aws.client("sagemaker"), package(model, "old")
    container = {"Image": IMAGE}
    theirs = f"{NAME}-0123456789abcdef"  # named as if it were ours
    client.create_model(ModelName=theirs, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "all", "ModelName": theirs, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName=theirs, ProductionVariants=[variant])
    client.create_endpoint(EndpointName=NAME, EndpointConfigName=theirs)
    before = state()
    with pytest.raises(EndpointError, match="was not made by this library: give another endpoint_name"):
        deploy(old, deployment(), QUICK)
    with pytest.raises(EndpointError, match="was not made by this library"):
        undeploy(NAME, patience=QUICK)
    assert state() == before
    client.delete_endpoint(EndpointName=NAME)
    deploy(old, deployment(), QUICK)
    undeploy(NAME, patience=QUICK)
    assert state() == {**EMPTY, "configs": [theirs], "models": [theirs]}


def test_what_a_killed_step_left_is_found_or_taken_away(account, model):
    """The step ended with nothing put back: the trial runs, and so does the configuration that was never served."""
    old, new, newer = (package(model, name) for name in ("old", "new", "newer"))
    deploy(old, deployment(), QUICK)
    account.faults.clear()
    account.faults.plan(0, "error", times=10_000, method="DeleteEndpoint")
    with pytest.raises(EndpointError, match="not everything could be put back"):
        deploy(new, deployment(), QUICK)
    assert len(state()["endpoints"]) == 2
    account.faults.clear()
    third = deploy(newer, deployment(), QUICK)
    assert state() == served(third)


def test_an_endpoint_keeps_its_mode(account, model):
    old = package(model, "old")
    first = deploy(old, deployment(), QUICK)
    with pytest.raises(EndpointError, match="endpoint tweets is realtime, and an endpoint keeps its mode"):
        deploy(old, deployment(mode="async", output_uri="s3://models/async"), QUICK)
    assert state() == served(first)


def test_only_an_approved_package_with_golden_requests_is_deployed(account, model):
    old = package(model, "old")
    client = aws.client("sagemaker")
    client.update_model_package(ModelPackageArn=old.arn, ModelApprovalStatus="Rejected")
    with pytest.raises(ArgumentError, match="it is Rejected: approve the package"):
        deploy(old, deployment(), QUICK)
    client.delete_model_package(ModelPackageName=old.arn)
    with pytest.raises(ArgumentError, match="there is no such model package any more"):
        deploy(old, deployment(), QUICK)
    new = package(model, "new")
    aws.client("s3").delete_object(Bucket="models", Key="staged/new/model/golden.json")
    with pytest.raises(DataError, match=r"has no golden\.json"):
        deploy(new, deployment(), QUICK)
    assert state() == EMPTY


@pytest.mark.parametrize("mode", [{}, {"mode": "async", "output_uri": "s3://models/async"}], ids=["realtime", "async"])
def test_what_the_model_refuses_is_told(account, model, mode):
    endpoint = deploy(package(model, "old"), deployment(**mode), QUICK)
    with pytest.raises(EndpointError, match=r"endpoint tweets refused: .*top_k") as caught:
        predict(endpoint, ["a"], {"top_k": "many"}, QUICK)
    assert "\n" not in str(caught.value)
    assert state()["objects"] == []


def alarm():
    return {
        "MetricName": "Invocation5XXErrors",
        "Namespace": "AWS/SageMaker",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }


SERVERLESS = {"mode": "serverless", "instance_type": ""}
SLOW = {"traffic": "linear", "min_instances": 2, "max_instances": 2}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"endpoint_name": "my_endpoint"}, "endpoint_name='my_endpoint'"),
        ({"endpoint_name": "a" * 41}, "at most 40"),
        ({"role": "admin"}, "role='admin'"),
        ({"mode": "batch"}, "give one of realtime, serverless, async"),
        ({"instance_type": ""}, "name the instance type of a realtime endpoint"),
        ({"instance_type": "n1-standard-4"}, "instance_type='n1-standard-4'"),
        ({"min_instances": 0}, "only async endpoints scale to zero"),
        ({"min_instances": 3}, "max_instances=1"),
        ({"initial_instances": 2}, "initial_instances=2"),
        ({"max_instances": 2}, "scaling_target=0"),
        ({"scaling_target": 5}, "scaling_target=5"),
        ({"output_uri": "s3://b/a"}, "a realtime endpoint answers at once"),
        ({"max_concurrency": 2}, "a realtime endpoint takes what its server takes"),
        ({"mode": "async"}, "an async endpoint answers on S3"),
        ({"mode": "async", "output_uri": "gs://b/a"}, "output_uri='gs://b/a'"),
        ({"mode": "async", "output_uri": "s3://bucket/a", "error_topic": "me"}, "error_topic='me'"),
        ({**SERVERLESS, "instance_type": "ml.g5.xlarge"}, "no instances, so no GPUs either"),
        ({**SERVERLESS, "subnets": ["subnet-0123abcd"]}, "cannot be connected to a VPC"),
        ({**SERVERLESS, "capture_uri": "s3://bucket/a"}, "captures no data"),
        ({**SERVERLESS, "traffic": "canary"}, "is updated at once, without shares of traffic"),
        ({**SERVERLESS, "alarms": ["a"]}, "without alarms"),
        ({**SERVERLESS, "max_instances": 2}, "scales by itself"),
        ({**SERVERLESS, "memory_mb": 1000}, "memory_mb=1000"),
        ({**SERVERLESS, "max_concurrency": 201}, "max_concurrency=201"),
        ({"traffic": "half"}, "give one of all_at_once, canary, linear"),
        ({"traffic": "canary"}, "needs at least two instances"),
        ({"traffic": "linear", "traffic_percent": 5}, "give 10 to 50 for linear"),
        ({"traffic_wait_seconds": 3601}, "traffic_wait_seconds=3601"),
        (
            {"traffic": "linear", "min_instances": 2, "max_instances": 2, "traffic_wait_seconds": 3600},
            "SageMaker ends an update after 8 hours",
        ),
        ({**SLOW, "traffic_wait_seconds": 1800, "startup_seconds": 3600}, "these waits take 25320 s: wait less"),
        ({"subnets": ["subnet-0123abcd"]}, "security_groups=[]: a VPC needs both"),
        ({"subnets": ["a"], "security_groups": ["sg-0123abcd"]}, "subnets=['a']: give at most 16 ids like subnet-0123"),
        ({"subnets": ["subnet-0123abcd"], "security_groups": ["a"]}, "give at most 5 ids like sg-0123456789abcdef0"),
        ({"kms_key": "0123"}, "kms_key='0123': give the id, ARN or alias/NAME"),
        ({"startup_seconds": 10}, "startup_seconds=10"),
        ({"tags": {"aws:a": "b"}}, "tags="),
        ({"capture_uri": "s3://bucket/a", "capture_percent": 0}, "capture_percent=0"),
        ({"capture_uri": f"s3://bucket/{'a' * 510}"}, "at most 512 characters"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_call(change, told):
    with pytest.raises(ArgumentError) as caught:
        deployment(**change)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"colour": 1}, "known are capture_percent"),
        ({"startup_seconds": 60.5}, "give int"),
        ({"subnets": "subnet-0123abcd"}, "give list"),
    ],
)
def test_rare_settings_are_known_ones(extra, told):
    with pytest.raises(ArgumentError, match=told):
        extra_settings(extra)


def test_a_container_for_gpus_is_not_put_on_cpus(account, model):
    for_gpu = package(model, "old").__class__(**{**vars(package(model, "old")), "processor": "gpu"})
    account.faults.clear()
    with pytest.raises(
        ArgumentError, match=r"instance_type='ml\.m5\.large': it has cpu and the model was registered for gpu"
    ):
        deploy(for_gpu, deployment(), QUICK)
    with pytest.raises(ArgumentError, match="a serverless endpoint has CPUs only"):
        deploy(for_gpu, deployment(**SERVERLESS), QUICK)
    assert account.faults.calls == []
