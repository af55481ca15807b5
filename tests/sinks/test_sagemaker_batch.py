"""Batch transform on a SageMaker of this machine; responses are those of this project's own server."""

import json
from dataclasses import replace

import pytest

from hfpc import aws, golden
from hfpc.errors import ArgumentError, HfpcError
from hfpc.sinks.sagemaker_batch import BatchPredictSagemakerConfig, batch_predict, extra_settings
from hfpc.sinks.sagemaker_register import RegisterSagemakerModelConfig, register
from tests.cloud.faults import KINDS
from tests.sinks.sagemaker_place import IMAGE, QUICK, ROLE, client, package, running, told_by


@pytest.fixture
def account(amazon, server, model):
    """An account with the golden requests of the model as two objects of a source."""
    aws.client("s3").create_bucket(Bucket="models")
    amazon.containers[IMAGE] = server
    for number, request in enumerate(golden.read(model)[:2]):
        put(f"in/part-{number}.jsonl", json.dumps({"inputs": request["inputs"]}) + "\n")
    return amazon


@pytest.fixture(scope="module")
def transforming(model):
    """Address of this project's own server, told that a transform job is its client."""
    with running(model, SAGEMAKER_BATCH="true") as address:
        yield address


def put(key, text):
    client("s3").put_object(Bucket="models", Key=key, Body=text.encode())


def lines(uri):
    """The lines of all objects below a URI, by name."""
    prefix = uri.removeprefix("s3://models/")
    listed = client("s3").list_objects_v2(Bucket="models", Prefix=prefix).get("Contents", [])
    read = {item["Key"]: client("s3").get_object(Bucket="models", Key=item["Key"])["Body"].read() for item in listed}
    return {key.removeprefix(prefix): list(map(json.loads, content.splitlines())) for key, content in read.items()}


def batch(**changes):
    settings = {
        "source": "s3://models/in/",
        "output_uri": "s3://models/out",
        "role": ROLE,
        "instance_type": "ml.m5.large",
    }
    return BatchPredictSagemakerConfig(**{**settings, **changes})


def jobs():
    listed = client("sagemaker").list_transform_jobs(SortBy="Name")["TransformJobSummaries"]
    return sorted(item["TransformJobName"] for item in listed)


def models():
    return [item["ModelName"] for item in client("sagemaker").list_models()["Models"]]


@pytest.mark.parametrize("family", ["", "hfpc"], ids=["a request a line", "many lines at once"])
def test_every_line_is_predicted(account, model, family):
    account.control.steps = 2
    put("in/part-1.jsonl", "".join(json.dumps({"inputs": each["inputs"]}) + "\n" for each in golden.read(model)))
    given = replace(package(model, "old", archived=True), family=family)
    done = batch_predict(given, batch(), QUICK)
    found = lines(done.uri)
    assert done.objects == 2 and sorted(found) == ["part-0.jsonl.out", "part-1.jsonl.out"]
    labels = [(line[0] if isinstance(line[0], list) else line)[0]["label"] for line in found["part-1.jsonl.out"]]
    assert labels == [request["response"][0]["label"] for request in golden.read(model)]
    assert len(account.control.jobs[done.job].sent) == (2 if family else 4)
    assert models() == []


def test_as_many_lines_as_fit_are_sent_to_our_server_at_once(account, model, transforming):
    """More, and longer ones, than it takes of clients that share it."""
    requests = golden.read(model)
    given = [requests[number % len(requests)] for number in range(300)]
    put("many/rows.jsonl", "".join(json.dumps({"inputs": each["inputs"] + " " * 5000}) + "\n" for each in given))
    ours = replace(package(model, "old", archived=True), family="hfpc")
    settings = batch(source="s3://models/many/", max_payload_mb=2)
    with pytest.raises(HfpcError, match="413"):
        batch_predict(ours, settings, QUICK)
    account.containers[IMAGE] = transforming
    done = batch_predict(ours, settings, QUICK)
    labels = [line[0]["label"] for line in lines(done.uri)["rows.jsonl.out"]]
    assert labels == [each["response"][0]["label"] for each in given]
    job = account.control.jobs[done.job]
    assert [len(body) > 1 << 20 for body in job.sent] == [True]
    assert job.request["Environment"] == {"HFPC_TIMEOUT": "3600"}


def test_a_model_that_is_a_folder_is_packed_once(account, model):
    settings = RegisterSagemakerModelConfig(
        group="tweets", staging_uri="s3://models/staged", image=IMAGE, instance_type="ml.m5.large"
    )
    given = register(str(model), None, settings)
    assert given.model_data.endswith("/model/")
    first = batch_predict(given, batch(), QUICK)
    assert len(lines(first.uri)) == 2
    account.faults.clear()
    second = batch_predict(given, batch(output_uri="s3://models/out-again"), QUICK)
    assert second.job != first.job and not second.found
    assert {"S3.PUT", "S3.POST"}.isdisjoint(account.faults.calls)
    archives = [item["Key"] for item in client("s3").list_objects_v2(Bucket="models", Prefix="staged/")["Contents"]]
    assert [key for key in archives if key.endswith(".tar.gz")] == [f"staged/{given.fingerprint}/model.tar.gz"]


@pytest.mark.parametrize(
    ("instance_type", "package_of", "told"),
    [
        ("ml.t3.medium", {}, "instance_type='ml.t3.medium': transform jobs run on other types (e.g. ml.m5.large"),
        ("ml.m5.metal", {}, "transform jobs run on other types (ml.m5.large, ml.m5.xlarge, "),
        ("ml.m5d.large", {}, "transform jobs run on other types"),
        ("ml.p4d.24xlarge", {"processor": "gpu"}, "transform jobs run on other types"),
        ("ml.g5.xlarge", {}, "it has gpu and the model was registered for cpu"),
        ("ml.g5.xlarge", {"processor": "gpu", "ami": "al2023-ami-sagemaker-inference-gpu-4-1"}, "needs the machine"),
    ],
)
def test_what_transform_jobs_do_not_have_is_told_before_any_call(account, model, instance_type, package_of, told):
    given = replace(package(model, "old", archived=True), **package_of)
    account.faults.clear()
    with pytest.raises(ArgumentError) as caught:
        batch_predict(given, batch(instance_type=instance_type), QUICK)
    assert told in str(caught.value) and account.faults.calls == []


def test_the_same_batch_is_the_same_job(account, model):
    given = package(model, "old", archived=True)
    first = batch_predict(given, batch(), QUICK)
    again = batch_predict(given, batch(), QUICK)
    assert (first.found, again.found) == (False, True)
    assert again.uri == first.uri and jobs() == [first.job]
    other = batch_predict(package(model, "new", archived=True), batch(), QUICK)
    larger = batch_predict(given, batch(instance_type="ml.m5.xlarge"), QUICK)
    put("in/part-0.jsonl", '{"inputs": "something new"}\n')
    newer = batch_predict(given, batch(), QUICK)
    assert len({first.job, other.job, larger.job, newer.job}) == 4
    assert models() == []


def test_a_job_that_runs_is_waited_for(account, model):
    given = package(model, "old", archived=True)
    account.control.steps = 100_000
    with pytest.raises(HfpcError, match=r"still runs after .* seconds: run this step again"):
        batch_predict(given, batch(), replace(QUICK, total=0.05))
    [job] = jobs()
    [name] = models()
    container = client("sagemaker").describe_model(ModelName=name)["PrimaryContainer"]
    assert container["ModelDataUrl"] == given.model_data and "ModelDataSource" not in container
    account.control.jobs[job].left = 2
    done = batch_predict(given, batch(), QUICK)
    assert done.found and done.job == job and len(lines(done.uri)) == 2
    assert models() == []


def test_a_job_that_failed_says_why_and_is_followed_by_another(account, model):
    put("in/part-1.jsonl", '{"inputs": 5}\n')
    given = package(model, "old", archived=True)
    with pytest.raises(HfpcError, match=r"transform job hfpc-\w+ is Failed: .*400") as caught:
        batch_predict(given, batch(), QUICK)
    assert "\n" not in str(caught.value) and models() == []
    address = account.containers.pop(IMAGE)
    put("in/part-1.jsonl", '{"inputs": "a"}\n')
    with pytest.raises(HfpcError, match="did not pass the ping health check"):
        batch_predict(given, batch(), QUICK)
    account.containers[IMAGE] = address
    done = batch_predict(given, batch(), QUICK)
    assert done.job.endswith("-2") and len(lines(done.uri)) == 2


def test_responses_that_were_removed_are_made_again(account, model):
    given = package(model, "old", archived=True)
    first = batch_predict(given, batch(), QUICK)
    for name in lines(first.uri):
        client("s3").delete_object(Bucket="models", Key=f"out/{first.job}/{name}")
    again = batch_predict(given, batch(), QUICK)
    assert again.job == f"{first.job}-2" and len(lines(again.uri)) == 2


def test_what_is_set_reaches_sagemaker(account, model):
    rare = {"max_payload_mb": 2.0, "max_concurrency": 4, "request_seconds": 60, "request_retries": 0}
    places = {"kms_key": "alias/own", "subnets": ["subnet-0123abcd"], "security_groups": ["sg-0123abcd"]}
    done = batch_predict(
        package(model, "old", archived=True), batch(instances=2, **extra_settings({**rare, **places})), QUICK
    )
    request = account.control.jobs[done.job].request
    assert (request["MaxPayloadInMB"], request["MaxConcurrentTransforms"]) == (2, 4)
    assert request["ModelClientConfig"] == {"InvocationsTimeoutInSeconds": 60, "InvocationsMaxRetries": 0}
    assert request["TransformResources"] == {
        "InstanceType": "ml.m5.large",
        "InstanceCount": 2,
        "VolumeKmsKeyId": "alias/own",
    }
    assert request["TransformOutput"]["KmsKeyId"] == "alias/own"
    assert {"Key": "hfpc:managed", "Value": "true"} in request["Tags"]


def test_nothing_at_the_source_is_told(account, model):
    with pytest.raises(ArgumentError, match="source='s3://models/none/': there is no object"):
        batch_predict(package(model, "old", archived=True), batch(source="s3://models/none/"), QUICK)
    assert jobs() == []


def test_responses_beside_the_source_are_no_source(account, model):
    given, beside = (
        package(model, "old", archived=True),
        batch(source="s3://models/in/", output_uri="s3://models/in-out"),
    )
    first, again = batch_predict(given, beside, QUICK), batch_predict(given, beside, QUICK)
    assert (first.objects, again.objects, again.job) == (2, 2, first.job)


@pytest.mark.slow
def test_fifty_jobs_without_responses_are_the_last(account, model):
    given = package(model, "old", archived=True)
    names = []
    for _ in range(50):
        done = batch_predict(given, batch(), QUICK)
        names.append(done.job)
        for name in lines(done.uri):
            client("s3").delete_object(Bucket="models", Key=f"out/{done.job}/{name}")
    assert names == [names[0], *(f"{names[0]}-{number}" for number in range(2, 51))]
    with pytest.raises(HfpcError, match=f"50 jobs named {names[0]} ended without responses"):
        batch_predict(given, batch(), QUICK)


@pytest.mark.slow
def test_every_call_of_a_batch_may_fail(account, model, capsys):
    """Then the step is run again: there is one job with its responses, and no model."""
    given = package(model, "old", archived=True)
    account.faults.clear()
    batch_predict(given, batch(), QUICK)
    calls, failed, before = list(account.faults.calls), 0, account.faults.injected
    for index, method in enumerate(calls):
        for number, kind in enumerate((*KINDS, "throttled")):
            place = f"s3://models/out/{index}-{number}"  # another job each time
            account.faults.clear()
            account.faults.plan(index, kind)
            error = told_by(lambda place=place: batch_predict(given, batch(output_uri=place), QUICK))
            account.faults.clear()
            where = (index, method, kind, error)
            assert bool(error) == (kind == "error") and "\n" not in error, where
            failed += bool(error)
            done = batch_predict(given, batch(output_uri=place), QUICK)
            assert not done.job.endswith("-2") and len(lines(done.uri)) == 2, where
            assert models() == [], where
    assert len(jobs()) == 1 + 4 * len(calls)
    injected = account.faults.injected - before
    with capsys.disabled():
        print(f"\nsagemaker batch: {injected} faults in {len(calls)} calls, {failed} of them ended the step")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source": "gs://bucket/a"}, "source='gs://bucket/a'"),
        ({"source": "s3://bucket"}, "not a whole bucket"),
        ({"output_uri": "s3://models/in/out"}, "responses would be predicted in turn"),
        ({"output_uri": "s3://models/in"}, "responses would be predicted in turn"),
        ({"source": "s3://models/in", "output_uri": "s3://models/in-out"}, "responses would be predicted in turn"),
        ({"source": "s3://models/out/hfpc"}, "responses would be predicted in turn"),
        ({"role": "me"}, "role='me'"),
        ({"instance_type": ""}, "name an instance type"),
        ({"instances": 0}, "instances=0: give 1 to 100"),
        ({"max_payload_mb": 101}, "max_payload_mb=101"),
        ({"max_concurrency": 20, "max_payload_mb": 6}, "it may be at most 100 MB"),
        ({"request_retries": 4}, "request_retries=4"),
        ({"subnets": ["subnet-0123abcd"]}, "a VPC needs both"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_call(change, told):
    with pytest.raises(ArgumentError) as caught:
        batch(**change)
    assert told in str(caught.value)
