"""A loopback Vertex AI with two models, for the tests of deployments."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from hfpc import golden, manifest
from hfpc.errors import HfpcError
from hfpc.sinks.patience import Patience
from hfpc.sinks.vertex_endpoints import DeployVertexEndpointConfig
from hfpc.sinks.vertex_models import RegisterVertexModelConfig, register
from tests.cloud.google_fixtures import LOCATION, PROJECT, PROJECT_NUMBER, SERVING_IMAGE, GoogleCloud

QUICK = Patience(call=5.0, total=120.0, pause=0.01, retry=0.01, settle=0.05, attempts=3)
PARENT = f"projects/{PROJECT_NUMBER}/locations/{LOCATION}"
"""As Vertex AI names it, whatever it is asked by."""
ENDPOINT = f"{PARENT}/endpoints/tweets"


def deployment(**changes) -> DeployVertexEndpointConfig:
    return DeployVertexEndpointConfig(
        **{"endpoint_name": "tweets", "machine_type": "n1-standard-2", "drain_seconds": 0, **changes}
    )


def put(google_cloud: GoogleCloud, model: Path, name: str) -> str:
    """Copies a model to Cloud Storage; its URI."""
    google_cloud.make_bucket("registered")
    return google_cloud.upload(model, f"gs://registered/{name}")


def registered(uri: str) -> str:
    config = RegisterVertexModelConfig(name="tweets", project=PROJECT, location=LOCATION, image=SERVING_IMAGE)
    return register(uri, None, config, QUICK).resource


def other(model: Path, folder: Path, fingerprint: str, *, wrong: bool = False) -> Path:
    """A copy that counts as another model; a wrong one does not answer as its golden requests say."""
    shutil.copytree(model, folder)
    file = folder / manifest.FILE_NAME
    content = json.loads(file.read_text())
    content["model"]["fingerprint"] = fingerprint
    file.write_text(json.dumps(content))
    if wrong:
        requests = golden.read(folder)
        for request in requests:
            labels = [item["label"] for item in request["response"]]
            for item, label in zip(request["response"], reversed(labels), strict=True):
                item["label"] = label
        golden.write(folder, [each["inputs"] for each in requests], [each["response"] for each in requests])
    return folder


def opposite(model: Path, folder: Path, fingerprint: str) -> Path:
    """A copy that calls positive what the model calls negative, as its golden requests say too."""
    other(model, folder, fingerprint, wrong=True)
    file = folder / manifest.FILE_NAME
    content = json.loads(file.read_text())
    content["dataset"]["label_names"].reverse()
    file.write_text(json.dumps(content))
    return folder


def state(google_cloud: GoogleCloud) -> dict[str, tuple[dict[str, str], dict[str, int]]]:
    """Endpoint to its deployed models, by id with the version that each is of, and to its traffic."""
    return {
        name: ({each.id: each.model_version_id for each in item.deployed_models}, dict(item.traffic_split))
        for name, item in google_cloud.vertex.objects.items()
        if "/endpoints/" in name
    }


def default_version(google_cloud: GoogleCloud) -> str:
    """The version of the model that is meant where none is named."""
    return google_cloud.vertex.version(f"{PARENT}/models/tweets").version_id


def told_by(step: Callable[[], object]) -> str:
    """The error that a step ends with; "" where it ends well."""
    try:
        step()
    except HfpcError as error:
        return str(error)
    return ""
