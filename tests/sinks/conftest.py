"""What the tests of all sinks need."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hfpc import registry as local_registry
from hfpc.manifest import Manifest, PredictionsRecord


def save_predictions(folder: Path, fingerprint: str, task: str = "text-classification", **metrics: float) -> Path:
    """A predictions folder of a model on the test split, as far as a sink reads it."""
    folder.mkdir(parents=True)
    record = PredictionsRecord(model=fingerprint, split="test", rows=100, metrics=metrics)
    Manifest(kind="predictions", task=task, predictions=record).write(folder)
    return folder


@pytest.fixture(scope="session")
def predictions(tmp_path_factory, model) -> Path:
    """The predictions of `model`."""
    folder = tmp_path_factory.mktemp("predictions") / "predictions"
    return save_predictions(folder, local_registry.fingerprint(model), accuracy=0.9, macro_f1=0.88, macro_recall=0.87)


@pytest.fixture(scope="module")
def server(model) -> Iterator[str]:
    """Address of this project's own server with `model`."""
    from tests.sinks.sagemaker_place import running

    with running(model) as address:
        yield address


@pytest.fixture
def account(amazon, server):
    """An account of AWS with a bucket, in which our image is what `server` is."""
    from hfpc import aws
    from tests.sinks.sagemaker_place import IMAGE

    aws.client("s3").create_bucket(Bucket="models")
    amazon.containers[IMAGE] = server
    return amazon


@pytest.fixture(scope="session")
def folders(tmp_path_factory, model):
    """Folders of three models: the old one, a new one, and one that answers otherwise than it should."""
    from tests.sinks.vertex_place import other

    folder = tmp_path_factory.mktemp("kserve")
    return {
        "old": other(model, folder / "old", "1" * 64),
        "new": other(model, folder / "new", "2" * 64),
        "wrong": other(model, folder / "wrong", "3" * 64, wrong=True),
    }


@pytest.fixture
def bring(cluster, folders):
    """Deploys one of them with KServe, by its name."""
    from hfpc.sinks.kserve import deploy
    from tests.sinks.kserve_place import QUICK, deployment

    cluster.kserve.containers.volumes["models"] = folders["old"].parent

    def step(name, **changes):
        config = deployment(cluster, storage_uri=f"pvc://models/{name}", **changes)
        return deploy(str(folders[name]), config, QUICK)

    return step
