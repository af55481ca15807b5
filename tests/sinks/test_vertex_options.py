"""That what is asked of Vertex AI arrives there: each option, read back from the loopback service's objects."""

import re

import pytest

from hfpc.errors import ArgumentError, EndpointError
from hfpc.sinks import vertex_batch, vertex_endpoints, vertex_models
from hfpc.sinks.vertex_batch import BatchPredictVertexConfig, batch_predict
from hfpc.sinks.vertex_endpoints import deploy
from hfpc.sinks.vertex_models import RegisterVertexModelConfig, register
from hfpc.sinks.vertex_rollout import TRIAL_LABEL
from tests.cloud.google_fixtures import LOCATION, PROJECT, SERVING_IMAGE
from tests.cloud.vertex_batches import write_object
from tests.cloud.vertex_wire import VertexError
from tests.sinks.vertex_place import ENDPOINT, PARENT, QUICK, deployment, other, put

pytest.importorskip("google.cloud.aiplatform_v1")

CUDA_IMAGE = "us-docker.pkg.dev/test/images/server-cuda:1"
KEY = f"{PARENT}/keyRings/ring/cryptoKeys/key"
OTHER_KEY = f"{PARENT}/keyRings/ring/cryptoKeys/other"
L4 = {"machine_type": "g2-standard-8", "accelerator_type": "NVIDIA_L4", "accelerator_count": 1}
ACCOUNT = "server@test.iam.gserviceaccount.com"


@pytest.fixture
def uri(google_cloud, model) -> str:
    """Folder of a model on Cloud Storage."""
    return put(google_cloud, model, "model")


def register_with(uri: str, **changes) -> str:
    """Resource name of a version that is registered with some settings."""
    given = {"name": "tweets", "project": PROJECT, "location": LOCATION, "image": SERVING_IMAGE, **changes}
    return register(uri, None, RegisterVertexModelConfig(**given), QUICK).resource


def batch(**changes) -> BatchPredictVertexConfig:
    return BatchPredictVertexConfig(
        **{"source": "gs://registered/rows.jsonl", "destination": "gs://registered/predicted", **changes}
    )


def fields(message) -> dict:
    """A message as a dictionary, with names for numbers, and without what is not set."""
    return type(message).to_dict(message, including_default_value_fields=False, use_integers_for_enums=False)


def deployed(google_cloud, endpoint: str = ENDPOINT):
    """The only model that is deployed at an endpoint."""
    (found,) = google_cloud.vertex.objects[endpoint].deployed_models
    return found


def objects(google_cloud, kind: str) -> list[str]:
    return [name for name in google_cloud.vertex.objects if f"/{kind}/" in name]


def test_the_container_of_a_model_arrives_whole(google_cloud, uri):
    name = register_with(uri, environment={"LEVEL": "info"}, shared_memory_mb=256, startup_seconds=305)
    health = {"http_get": {"path": "/health", "port": 8080}, "period_seconds": 10, "timeout_seconds": 15}
    assert fields(google_cloud.vertex.objects[name].container_spec) == {
        "image_uri": SERVING_IMAGE,
        "env": [{"name": "LEVEL", "value": "info"}],
        "ports": [{"container_port": 8080}],
        "predict_route": "/predict",
        "health_route": "/health",
        "shared_memory_size_mb": "256",
        "startup_probe": {**health, "failure_threshold": 31},
        "health_probe": health,
    }


def test_a_probe_that_breaks_the_rule_is_refused(google_cloud):
    """Or the test above would say nothing of what the service takes."""
    from google.cloud import aiplatform_v1 as v1

    container = {"image_uri": SERVING_IMAGE, "health_probe": {"period_seconds": 10, "timeout_seconds": 5}}
    request = v1.UploadModelRequest(parent=PARENT, model={"display_name": "x", "container_spec": container})
    with pytest.raises(VertexError, match="health_probe: period_seconds must be less than timeout_seconds"):
        google_cloud.vertex.UploadModel(request)


def test_the_machines_of_a_deployment_arrive_whole(google_cloud, uri):
    deploy(register_with(uri), deployment(), QUICK)
    assert fields(deployed(google_cloud).dedicated_resources) == {
        "machine_spec": {"machine_type": "n1-standard-2"},
        "min_replica_count": 1,
        "max_replica_count": 1,
    }
    assert deployed(google_cloud).service_account == ""


@pytest.mark.parametrize(
    ("machine", "metric"),
    [({"machine_type": "n1-standard-8"}, "cpu/utilization"), (L4, "accelerator/duty_cycle")],
    ids=["cpu", "accelerator"],
)
def test_every_option_of_a_deployment_arrives(google_cloud, uri, machine, metric):
    config = deployment(
        **machine, min_replicas=2, max_replicas=5, spot=True, target_utilization=70, service_account=ACCOUNT
    )
    deploy(register_with(uri, image=CUDA_IMAGE), config, QUICK)
    assert fields(deployed(google_cloud).dedicated_resources) == {
        "machine_spec": machine,
        "min_replica_count": 2,
        "max_replica_count": 5,
        "spot": True,
        "autoscaling_metric_specs": [
            {"metric_name": f"aiplatform.googleapis.com/prediction/online/{metric}", "target": 70}
        ],
    }
    assert deployed(google_cloud).service_account == ACCOUNT


def test_the_trial_has_the_machines_and_the_key_of_the_deployment(google_cloud, uri, model, tmp_path):
    deploy(register_with(uri, kms_key=KEY), deployment(kms_key=KEY), QUICK)
    wrong = put(google_cloud, other(model, tmp_path / "wrong", "3" * 64, wrong=True), "wrong")
    config = deployment(**L4, min_replicas=2, max_replicas=5, spot=True, service_account=ACCOUNT, kms_key=KEY)
    # What cannot be undeployed stays to be looked at.
    google_cloud.vertex.faults.plan(0, "error", 1000, method="UndeployModel")
    with pytest.raises(EndpointError, match="not everything could be put back"):
        deploy(register_with(wrong, image=CUDA_IMAGE, kms_key=KEY), config, QUICK)
    (trial,) = [
        name for name in objects(google_cloud, "endpoints") if TRIAL_LABEL in google_cloud.vertex.objects[name].labels
    ]
    assert fields(deployed(google_cloud, trial).dedicated_resources) == {
        "machine_spec": L4,
        "min_replica_count": 1,
        "max_replica_count": 1,
        "spot": True,
    }
    assert deployed(google_cloud, trial).service_account == ACCOUNT
    assert fields(google_cloud.vertex.objects[trial].encryption_spec) == {"kms_key_name": KEY}


def test_a_key_encrypts_version_endpoint_and_job(google_cloud, uri):
    vertex = google_cloud.vertex
    name = register_with(uri, kms_key=KEY)
    assert fields(vertex.objects[name].encryption_spec) == {"kms_key_name": KEY}
    deploy(name, deployment(kms_key=KEY), QUICK)
    assert fields(vertex.objects[ENDPOINT].encryption_spec) == {"kms_key_name": KEY}
    assert not deploy(name, deployment(kms_key=KEY), QUICK).moved
    write_object("gs://registered/rows.jsonl", b'"i love this day"\n')
    plain, keyed = (batch_predict(name, batch(**given), QUICK).resource for given in ({}, {"kms_key": KEY}))
    assert "encryption_spec" not in vertex.objects[plain]
    assert fields(vertex.objects[keyed].encryption_spec) == {"kms_key_name": KEY}


def test_without_a_key_none_is_named(google_cloud, uri):
    name = register_with(uri)
    deploy(name, deployment(), QUICK)
    assert "encryption_spec" not in google_cloud.vertex.objects[name]
    assert "encryption_spec" not in google_cloud.vertex.objects[ENDPOINT]


def test_a_version_with_another_key_is_another_version(google_cloud, uri):
    assert register_with(uri, kms_key=KEY) == register_with(uri, kms_key=KEY) != register_with(uri)


@pytest.mark.parametrize(("first", "told"), [("", "Google's own key"), (OTHER_KEY, OTHER_KEY)])
def test_an_endpoint_that_another_key_encrypts_is_refused(google_cloud, uri, first, told):
    name = register_with(uri)
    deploy(name, deployment(kms_key=first), QUICK)
    before = deployed(google_cloud).id
    with pytest.raises(ArgumentError, match=f"kms_key='{KEY}': {ENDPOINT} was made with {told}, and keeps it"):
        deploy(name, deployment(machine_type="n1-standard-8", kms_key=KEY), QUICK)
    assert deployed(google_cloud).id == before


@pytest.mark.parametrize("image", [SERVING_IMAGE, f"us-docker.pkg.dev/test/images/hfpc-serving-cpu@sha256:{'0' * 64}"])
def test_an_accelerator_that_would_stay_idle_is_refused(google_cloud, uri, image):
    name = register_with(uri, image=image)
    write_object("gs://registered/rows.jsonl", b'"i love this day"\n')
    told = re.escape(f"accelerator_type='NVIDIA_L4': the model is registered with {image}, which computes on CPUs")
    with pytest.raises(ArgumentError, match=f"{told}.*or register it with an image that has CUDA"):
        deploy(name, deployment(**L4), QUICK)
    with pytest.raises(ArgumentError, match=told):
        batch_predict(name, batch(**L4), QUICK)
    assert objects(google_cloud, "endpoints") == objects(google_cloud, "batchPredictionJobs") == []


@pytest.mark.parametrize("key", ["key", f"{KEY}/cryptoKeyVersions/1", KEY.replace(LOCATION, "europe-west4")])
def test_a_key_that_cannot_be_used_is_told_before_any_call(key):
    """Here is no Google Cloud that could be asked."""
    model = f"{PARENT}/models/tweets@1"
    for step in (
        lambda: register_with("gs://registered/model", kms_key=key),
        lambda: deploy(model, deployment(kms_key=key), QUICK),
        lambda: batch_predict(model, batch(kms_key=key), QUICK),
    ):
        with pytest.raises(ArgumentError, match=f"kms_key='{key}': give "):
            step()


@pytest.mark.parametrize("sink", [vertex_models, vertex_endpoints, vertex_batch])
def test_a_key_is_a_rare_setting_of_each_component(sink):
    assert sink.extra_settings({"kms_key": KEY}) == {"kms_key": KEY}
    with pytest.raises(ArgumentError, match="kms_keys"):
        sink.extra_settings({"kms_keys": KEY})
