"""Registering with a SageMaker on this machine; the official client, real files."""

import json
import shutil
from dataclasses import replace

import pytest

from hfpc import aws, manifest, registry
from hfpc.errors import ArgumentError, HfpcError
from hfpc.manifest import Manifest, OptimizationRecord, PredictionsRecord
from hfpc.sinks.sagemaker_register import RegisterSagemakerModelConfig, register, registered
from tests.cloud.faults import KINDS

GROUP, STAGING = "tweets", "s3://models/staged"
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/serving:1"


@pytest.fixture
def bucket(amazon):
    aws.client("s3").create_bucket(Bucket="models")
    return amazon


@pytest.fixture
def predictions(tmp_path, model):
    folder = tmp_path / "predictions"
    folder.mkdir()
    record = PredictionsRecord(
        model=registry.fingerprint(model), split="test", rows=70, metrics={"accuracy": 0.91, "macro_f1": 0.9}
    )
    Manifest(kind="predictions", task="text-classification", predictions=record).write(folder)
    return folder


def config(**settings):
    return RegisterSagemakerModelConfig(**{"group": GROUP, "staging_uri": STAGING, **settings})


def packages():
    """What a user of SageMaker sees in the group."""
    client = aws.client("sagemaker")
    listed = client.list_model_packages(ModelPackageGroupName=GROUP)["ModelPackageSummaryList"]
    return [client.describe_model_package(ModelPackageName=item["ModelPackageArn"]) for item in listed]


def groups():
    return [
        item["ModelPackageGroupName"]
        for item in aws.client("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"]
    ]


def content(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()


def test_a_model_is_registered_with_all_that_it_takes_to_serve_it(bucket, model, predictions):
    given = register(
        str(model),
        predictions,
        config(instance_type="ml.m7i.large", environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "2"}),
    )
    [package] = packages()
    assert package["ModelPackageArn"] == given.arn and str(package["ModelPackageVersion"]) == given.version == "1"
    assert package["ModelApprovalStatus"] == given.approval == "Approved"
    [container] = package["InferenceSpecification"]["Containers"]
    assert container["Image"] == given.image and "huggingface-pytorch-inference" in given.image
    assert container["Environment"] == given.environment
    assert given.environment == {"HF_TASK": "text-classification", "SAGEMAKER_MODEL_SERVER_WORKERS": "2"}
    source = container["ModelDataSource"]["S3DataSource"]
    assert source == {"S3Uri": given.model_data, "S3DataType": "S3Prefix", "CompressionType": "None"}
    assert package["InferenceSpecification"]["SupportedRealtimeInferenceInstanceTypes"] == ["ml.m7i.large"]
    assert package["CustomerMetadataProperties"]["hfpc-fingerprint"] == given.fingerprint == registry.fingerprint(model)
    assert content(f"{given.model_data}model.safetensors") == (model / "model.safetensors").read_bytes()


def test_metrics_and_card_are_attached(bucket, model, predictions):
    given = register(str(model), predictions, config())
    [package] = packages()
    statistics = json.loads(content(package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]))
    own = statistics["multiclass_classification_metrics"]
    assert own["test/accuracy"]["value"] == 0.91
    assert set(own) == {*manifest.read(model).model.metrics, "test/accuracy", "test/macro_f1"}
    card = json.loads(package["ModelCard"]["ModelCardContent"])
    [test] = [evaluation for evaluation in card["evaluation_details"] if evaluation["name"] == "test"]
    assert {metric["name"]: metric["value"] for metric in test["metric_groups"][0]["metric_data"]} == {
        "accuracy": 0.91,
        "macro_f1": 0.9,
    }
    assert card["model_overview"]["model_artifact"] == [given.model_data]


def test_the_same_model_gives_the_same_package_and_another_container_gives_another(bucket, model, predictions):
    first = register(str(model), predictions, config(form="folder"))
    assert register(str(model), predictions, config(form="folder")) == first
    other = register(str(model), predictions, config(form="folder", image=ECR))
    assert (other.version, other.image, other.model_data) == ("2", ECR, first.model_data)
    archive = register(str(model), None, config(form="archive"))
    assert archive.version == "3" and archive.model_data.endswith("/model.tar.gz")
    assert len(packages()) == 3 and groups() == [GROUP]


def test_what_serverless_endpoints_take_is_uploaded_where_no_instance_type_is_named(bucket, model):
    given = register(str(model), None, config())
    [package] = packages()
    [container] = package["InferenceSpecification"]["Containers"]
    assert given.model_data.endswith("/model.tar.gz")
    assert container["ModelDataUrl"] == given.model_data and "ModelDataSource" not in container
    keys = [item["Key"] for item in aws.client("s3").list_objects_v2(Bucket="models")["Contents"]]
    assert [key for key in keys if "/metrics-" not in key] == [given.model_data.removeprefix("s3://models/")]
    assert register(str(model), None, config(form="folder")).model_data.endswith("/model/")


def test_a_package_is_found_among_many(bucket, model):
    first = register(str(model), None, config())
    client = aws.client("sagemaker")
    for _ in range(120):
        client.create_model_package(ModelPackageGroupName=GROUP)
    bucket.faults.clear()
    assert register(str(model), None, config()) == first
    assert bucket.faults.calls.count("ListModelPackages") == 2
    assert "CreateModelPackage" not in bucket.faults.calls


def test_a_language_model_is_registered_for_vllm(bucket, language_model):
    """A plain folder, as Transformers saves it."""
    given = register(str(language_model), None, config(instance_type="ml.g5.xlarge"))
    assert (given.family, given.processor, given.task) == ("vllm", "gpu", "text-generation")
    assert given.ami and given.environment == {"SM_VLLM_MODEL": "/opt/ml/model"}
    [package] = packages()
    assert package["Task"] == "TEXT_GENERATION" and "ModelMetrics" not in package


def test_a_model_that_only_our_server_computes_needs_our_image(bucket, model, tmp_path):
    copy = tmp_path / "optimized"
    shutil.copytree(model, copy)
    kept = OptimizationRecord(
        kept="onnxruntime-int8", backend="onnxruntime", precision="int8", file="", candidates=[], machine={}
    )
    replace(manifest.read(copy), optimization=kept).write(copy)
    bucket.faults.clear()
    with pytest.raises(ArgumentError, match="HFPC_IMAGE_REPOSITORY="):
        register(str(copy), None, config())
    with pytest.raises(ArgumentError, match="runs in our image only"):
        register(str(copy), None, config(image="huggingface"))
    assert bucket.faults.calls == []
    assert register(str(copy), None, config(image=ECR)).image == ECR
    card = json.loads(packages()[0]["ModelCard"]["ModelCardContent"])
    assert card["additional_information"]["custom_details"]["optimized"] == "onnxruntime-int8 (int8)"


def test_what_people_decided_about_a_package_stays(bucket, model):
    first = register(str(model), None, config(approval="PendingManualApproval"))
    assert first.approval == "PendingManualApproval"
    aws.client("sagemaker").update_model_package(ModelPackageArn=first.arn, ModelApprovalStatus="Rejected")
    assert register(str(model), None, config()).approval == "Rejected"


def test_a_package_that_was_removed_is_made_again(bucket, model):
    first = register(str(model), None, config())
    aws.client("sagemaker").delete_model_package(ModelPackageName=first.arn)
    register(str(model), None, config())
    assert len(packages()) == 1


def test_an_artifact_remembers_the_package(bucket, model):
    given = register(str(model), None, config())
    assert registered(json.loads(json.dumps(given.metadata))) == given
    with pytest.raises(ArgumentError, match="give a model from register_sagemaker_model"):
        registered({"name": "tweets", "version": "1"})
    with pytest.raises(ArgumentError) as caught:
        registered({"platform": "sagemaker", "environment": {"LENGTH": "hf_canary"}})
    assert "hf_canary" not in str(caught.value)


def test_predictions_of_another_model_are_refused_before_any_call(bucket, model, tmp_path):
    record = PredictionsRecord(model="0" * 64, split="test", rows=70, metrics={"accuracy": 0.9})
    (tmp_path / "other").mkdir()
    Manifest(kind="predictions", task="text-classification", predictions=record).write(tmp_path / "other")
    bucket.faults.clear()
    with pytest.raises(ArgumentError, match="of another model"):
        register(str(model), tmp_path / "other", config())
    assert bucket.faults.calls == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"group": "my_group"}, "group='my_group': use letters, digits and single hyphens"),
        ({"group": "a" * 64}, "group="),
        ({"staging_uri": "gs://bucket/a"}, "staging_uri='gs://bucket/a': give a place on S3"),
        ({"staging_uri": "s3://Bucket/a"}, "staging_uri="),
        ({"form": "zip"}, "form='zip': give one of folder, archive"),
        ({"approval": "Yes"}, "approval='Yes': give one of Approved"),
        ({"kms_key": "my key"}, "kms_key='my key'"),
        ({"kms_key": "0123"}, "give the id, ARN or alias/NAME"),
        ({"instance_type": "m5.large"}, "instance_type='m5.large': name an instance type"),
        ({"environment": {"HF_TOKEN": "hf_canary"}}, "HF_TOKEN is named like a secret"),
        ({"environment": {"a b": "hf_canary"}}, "environment={'a b': "),
        ({"environment": {"LENGTH": ["hf_canary"]}}, "text of at most 1024"),
        ({"environment": {f"A{number}": "hf_canary" for number in range(91)}}, "give at most 90"),
        ({"tags": {"aws:team": "x"}}, "tags="),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_call(settings, said):
    with pytest.raises(ArgumentError) as caught:
        config(**settings)
    assert said in str(caught.value)
    assert "hf_canary" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_named(amazon, model):
    with pytest.raises(ArgumentError, match="staging_uri='s3://models/staged': there is no such bucket"):
        register(str(model), None, config())


@pytest.mark.parametrize("method", ["CreateModelPackage", "ListModelPackages", "S3.PUT"])
def test_what_is_throttled_is_asked_again(bucket, model, method):
    bucket.faults.clear()
    bucket.faults.plan(0, "throttled", times=3, method=method)
    assert register(str(model), None, config()).version == "1"
    assert len(packages()) == 1


@pytest.mark.slow
def test_whatever_call_fails_there_is_one_package_at_the_end(bucket, model, predictions, capsys):
    """Each call is refused, not answered, or answered in vain; then the step is run again, as a pipeline would."""
    register(str(model), predictions, config())
    calls = list(bucket.faults.calls[1:])
    before, messages = bucket.faults.injected, []
    for index in range(len(calls)):
        for kind in KINDS:
            bucket.reset()
            aws.client("s3").create_bucket(Bucket="models")
            bucket.faults.clear()
            bucket.faults.plan(index, kind)
            try:
                first = register(str(model), predictions, config())
            except HfpcError as error:
                messages.append(str(error))
                first = None
            again = register(str(model), predictions, config())
            assert first in (None, again), (calls[index], kind)
            assert [package["ModelPackageArn"] for package in packages()] == [again.arn], (calls[index], kind)
            assert groups() == [GROUP]
    injected = bucket.faults.injected - before
    with capsys.disabled():
        print(f"\nregister: {injected} faults in {len(calls)} calls, {len(messages)} of them ended the step")
    assert not [message for message in messages if "\n" in message]
    assert injected == len(calls) * len(KINDS)
