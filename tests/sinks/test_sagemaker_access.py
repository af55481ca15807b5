"""Keys that encrypt what SageMaker and this library write, and permissions that are lacking."""

from dataclasses import replace

import pytest

from hfpc import golden
from hfpc.errors import ArgumentError, EndpointError
from hfpc.sinks.sagemaker import deployed, predict
from hfpc.sinks.sagemaker_batch import BatchPredictSagemakerConfig, batch_predict
from hfpc.sinks.sagemaker_endpoints import deploy
from hfpc.sinks.sagemaker_hosting import volume_key
from hfpc.sinks.sagemaker_staging import StagingConfig
from tests.sinks.sagemaker_place import QUICK, ROLE, Meanwhile, client, deployment, package, state

KEY = "alias/own"
LATER = {"mode": "async", "output_uri": "s3://models/async"}
DISKS = {"instance_type": "ml.g4dn.xlarge"}
WITH_DISKS = set("c5d m5d r5d g4dn g5 g6 g6e g7 g7e p4d p4de p5 p5e p5en p6-b200 p6-b300 trn1 trn1n trn2".split())
WITHOUT_DISKS = set("c4 c5 c6i c6in c7i m4 m5 m6i m7i r5 r6i r7i t2 inf2 p2 p3".split())


@pytest.mark.parametrize(
    "key",
    [
        "mrk-0123456789abcdef0123456789abcdef",
        "01234567-89ab-cdef-0123-456789abcdef",
        "alias/team/own",
        "arn:aws:kms:eu-west-1:123456789012:key/mrk-0123456789abcdef0123456789abcdef",
        "arn:aws-cn:kms:cn-north-1:123456789012:alias/own",
    ],
)
def test_keys_are_the_same_for_a_model_and_its_endpoint(key):
    assert deployment(kms_key=key).kms_key == StagingConfig(uri="s3://models/staged", kms_key=key).kms_key == key


def test_volumes_of_every_instance_type_of_sagemaker_take_a_key_or_are_disks_of_its_own():
    """A family that the client knows and this test does not has to be looked up in EC2's list of instance types."""
    shapes = pytest.importorskip("botocore.session").get_session().get_service_model("sagemaker")
    without, taken = set(), set()
    for shape in ("ProductionVariantInstanceType", "TransformInstanceType"):
        for instance_type in shapes.shape_for(shape).enum:
            try:
                deployment(instance_type=instance_type)
            except ArgumentError:  # none of our images runs there
                continue
            (taken if volume_key(KEY, instance_type) else without).add(instance_type.split(".")[1])
    assert (without - WITH_DISKS, taken - WITHOUT_DISKS) == (set(), set())
    assert {"g4dn", "g5", "p4d", "trn1"} <= without and {"c5", "m5", "inf2"} <= taken


@pytest.mark.parametrize("machine", [{}, DISKS], ids=["volumes with the key", "disks of its own"])
def test_what_an_endpoint_writes_is_encrypted_on_every_machine(account, model, machine):
    given = replace(package(model, "old"), processor="gpu" if machine else "cpu")
    deployed = deploy(given, deployment(kms_key=KEY, capture_uri="s3://models/captured", **LATER, **machine), QUICK)
    config = client("sagemaker").describe_endpoint_config(EndpointConfigName=deployed.config)
    assert config["AsyncInferenceConfig"]["OutputConfig"]["KmsKeyId"] == KEY
    assert config["DataCaptureConfig"]["KmsKeyId"] == KEY
    assert config.get("KmsKeyId") == (None if machine else KEY)


@pytest.mark.parametrize("machine", [{}, DISKS], ids=["volumes with the key", "disks of its own"])
def test_what_a_batch_writes_is_encrypted_on_every_machine(account, model, machine):
    client("s3").put_object(Bucket="models", Key="in/one.jsonl", Body=b'{"inputs": "love"}')
    given = replace(package(model, "old", archived=True), processor="gpu" if machine else "cpu")
    settings = {"source": "s3://models/in/", "output_uri": "s3://models/out", "role": ROLE, "kms_key": KEY}
    done = batch_predict(
        given, BatchPredictSagemakerConfig(**{**settings, "instance_type": "ml.m5.large", **machine}), QUICK
    )
    request = account.control.jobs[done.job].request
    assert request["TransformOutput"]["KmsKeyId"] == KEY
    assert request["TransformResources"].get("VolumeKmsKeyId") == (None if machine else KEY)


@pytest.mark.parametrize("key", ["", KEY], ids=["the bucket's own", "a key"])
def test_requests_that_wait_on_s3_are_encrypted(account, model, key):
    """Those of predictions, which know the endpoint by its artifact alone, and those that test a deployment."""
    found = []

    def look():
        [item] = client("s3").list_objects_v2(Bucket="models", Prefix="async/hfpc-requests/")["Contents"]
        head = client("s3").head_object(Bucket="models", Key=item["Key"])
        found.append((head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")))

    def looking():
        account.faults.clear()
        return Meanwhile(**vars(QUICK), calls=account.faults.calls, method="InvokeEndpointAsync", happens=look)

    endpoint = deploy(package(model, "old"), deployment(kms_key=key, **LATER), looking())
    predict(deployed(endpoint.metadata), [golden.read(model)[0]["inputs"]], patience=looking())
    assert len(found) == 2 and state()["objects"] == []
    assert set(found) == ({("aws:kms", KEY)} if key else {(None, None)})


def test_what_s3_may_not_say_is_told(account, model):
    """S3 answers 403 for what is not there yet, where the caller may not list the bucket."""
    endpoint = deploy(package(model, "old"), deployment(**LATER), QUICK)
    account.faults.clear()
    account.faults.plan(0, "error", method="S3.GET")
    with pytest.raises(
        EndpointError, match=r"AccessDenied.*needs s3:GetObject on s3://.*s3:ListBucket on models"
    ) as told:
        predict(endpoint, ["love"], patience=QUICK)
    assert "\n" not in str(told.value) and state()["objects"] == []
