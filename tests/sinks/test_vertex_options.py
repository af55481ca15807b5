"""That what is asked of Vertex AI arrives there: each option, read back from the loopback service's objects."""

import pytest

from hfpc.sinks.vertex_models import RegisterVertexModelConfig, register
from tests.cloud.google_fixtures import LOCATION, PROJECT, SERVING_IMAGE
from tests.cloud.vertex_wire import VertexError
from tests.sinks.vertex_place import PARENT, QUICK, put

pytest.importorskip("google.cloud.aiplatform_v1")


@pytest.fixture
def uri(google_cloud, model) -> str:
    """Folder of a model on Cloud Storage."""
    return put(google_cloud, model, "model")


def register_with(uri: str, **changes) -> str:
    """Resource name of a version that is registered with some settings."""
    given = {"name": "tweets", "project": PROJECT, "location": LOCATION, "image": SERVING_IMAGE, **changes}
    return register(uri, None, RegisterVertexModelConfig(**given), QUICK).resource


def fields(message) -> dict:
    """A message as a dictionary, without what is not set."""
    return type(message).to_dict(message, including_default_value_fields=False)


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
